"""What cameras that come do to those that are there, by the running program.

``python -m benchmarks.load`` takes under two minutes on a machine that does nothing else. Cameras
of 1280x720 (the demo clip) are looked at as `streamer run` does, in a process of its own, and heard
over ZeroMQ here:

* ``doubled``: four cameras, then eight for half a minute, then the same four. How old the oldest
  result ever was when it was heard, and the newest one of a camera while the next was awaited;
  what was dropped, and why; how long after the four are alone again until all of their frames are
  looked at (a whole second of them, but for three in a hundred);
* ``uneven``: one camera of 60 frames a second beside three of 5, and what each of them loses.

Written to ``build/bench/load.json``; it ends with 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks.load_run import Heard, Step, hear
from streamer.inference.measure import machine

OUTPUT: Final = Path(__file__).resolve().parent.parent / "build" / "bench" / "load.json"
WARM_S: Final = 4.0
"""From the start until anything counts: cameras begin, and times are learned."""
MOST_AGE_S: Final = 1.0
"""``max_age_s`` of a camera, by default."""
BACK_WITHIN_S: Final = 3.0
MISSING: Final = 0.03
"""Share of frames that may be missing when the full rate is back: a clock is not that exact."""


def oldest_result_s(heard: Sequence[Heard]) -> float:
    """The age of the result that was oldest when it was heard, s; 0 of none."""
    return max((one.at - one.captured_at for one in heard), default=0.0)


def oldest_news_s(heard: Sequence[Heard]) -> float:
    """The most that the newest result of any camera was old before the next was heard, s."""
    newest: dict[str, float] = {}
    oldest = 0.0
    for one in heard:
        if one.camera in newest:
            oldest = max(oldest, one.at - newest[one.camera])
        newest[one.camera] = max(one.captured_at, newest.get(one.camera, one.captured_at))
    return oldest


def per_s(heard: Sequence[Heard], since: float, until: float) -> float:
    """Frames looked at a second, of those captured from ``since`` to ``until``."""
    return sum(since <= one.captured_at < until for one in heard) / (until - since)


def back_after_s(heard: Sequence[Heard], since: float, until: float, fps: float) -> float | None:
    """Seconds from ``since`` until ``fps`` frames a second are looked at for a second.

    None: never before ``until``.
    """
    for tenth in range(int((until - since - 1.0) * 10) + 1):
        begin = since + tenth / 10
        if per_s(heard, begin, begin + 1.0) >= (1 - MISSING) * fps:
            return tenth / 10
    return None


def doubled(count: int, fps: float, plain_s: float, doubled_s: float) -> dict[str, Any]:
    """The load of ``count`` cameras doubles for ``doubled_s`` and halves again."""
    names = [f"cam{n}" for n in range(2 * count)]
    cameras = {
        name: {"source": f"demo:?fps={fps:g}&delay={n * 0.618034 % 1.0 / fps:.3f}"}
        for n, name in enumerate(names)
    }
    stay, more = names[:count], names[count:]
    up = WARM_S + plain_s
    steps: list[Step] = [(up, more, []), (up + doubled_s, [], more)]
    seconds = up + doubled_s + plain_s
    heard, told = hear(cameras, stay, steps, seconds)
    more_at, less_at = told["at"]
    ends_at = max(one.captured_at for one in heard)
    since = more_at - plain_s
    counted = [one for one in heard if one.captured_at >= since]
    of_stay = [one for one in counted if one.camera in stay]
    phases = [(since, more_at), (more_at + 1.0, less_at), (less_at + 1.0, ends_at)]
    back_s = back_after_s(of_stay, less_at, ends_at, count * fps)
    return {
        "cameras": count,
        "fps": fps,
        "detections_per_s": [round(per_s(counted, *phase), 1) for phase in phases],
        "oldest_result_ms": round(oldest_result_s(counted) * 1e3, 1),
        "oldest_news_ms": round(oldest_news_s(of_stay) * 1e3, 1),
        "back_after_s": back_s,
        "frames": told["frames"],
        "held": oldest_result_s(counted) <= MOST_AGE_S
        and back_s is not None
        and back_s <= BACK_WITHIN_S
        and all(frames["closes"] for frames in told["frames"].values()),
    }


def uneven(fast: float, slow: float, count: int, seconds: float) -> dict[str, Any]:
    """One camera of ``fast`` frames a second beside ``count`` of ``slow``."""
    rates = {"fast": fast} | {f"slow{n}": slow for n in range(count)}
    cameras = {
        name: {"source": f"demo:?fps={fps:g}&delay={n * 0.0137:.3f}"}
        for n, (name, fps) in enumerate(rates.items())
    }
    heard, told = hear(cameras, list(cameras), [], WARM_S + seconds)
    rows = {}
    for name, frames in told["frames"].items():
        looked = frames["settled"].get("detected", 0)
        rows[name] = {
            "captured": frames["captured"],
            "detected": looked,
            "lost": frames["captured"] - looked - frames["in_flight"],
            "dropped": frames["dropped"],
            "oldest_result_ms": round(
                oldest_result_s([one for one in heard if one.camera == name]) * 1e3, 1
            ),
        }
    return {
        "cameras": rows,
        "held": all(row["lost"] == 0 for name, row in rows.items() if name != "fast"),
    }


def main() -> None:
    """Read the command line, measure, write and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cameras", type=int, default=4, help="before the load doubles")
    parser.add_argument("--fps", type=float, default=15.0, help="of each of them")
    parser.add_argument("--plain", type=float, default=10.0, help="seconds before and after")
    parser.add_argument("--doubled", type=float, default=30.0, help="seconds of twice the load")
    parser.add_argument("--uneven", type=float, default=20.0, help="seconds of the uneven load")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    console = Console(width=120)
    load = os.getloadavg()[0]
    found = {
        "machine": machine(),
        "load_before": load,
        "doubled": doubled(options.cameras, options.fps, options.plain, options.doubled),
        "uneven": uneven(60.0, 5.0, 3, options.uneven),
    }
    one = found["doubled"]
    before, during, after = one["detections_per_s"]
    console.print(
        f"{one['cameras']} cameras of {one['fps']:g} a second, then twice as many, then as before: "
        f"{before}, {during} and {after} looked at a second; the oldest result was "
        f"{one['oldest_result_ms']} ms old when heard, the newest of a camera at most "
        f"{one['oldest_news_ms']} ms; the full rate was back after {one['back_after_s']} s"
    )
    dropped: dict[str, int] = {}
    for frames in one["frames"].values():
        for reason, number in frames["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + number
    console.print(f"dropped meanwhile: {dropped}")
    for name, row in found["uneven"]["cameras"].items():
        console.print(f"{name}: {row}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console.print(f"written to {options.output}; the load before was {load:.1f}")
    if not (one["held"] and found["uneven"]["held"]):
        sys.exit("benchmarks.load: a promise is broken; see above")


if __name__ == "__main__":
    main()
