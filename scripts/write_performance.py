"""Writes docs/performance.md from docs/performance.json; `--check` only looks.

``make bench``, ``make bench-peers`` and ``make bench-cameras`` leave what they measured in
``build/bench``. With ``--take`` what is there goes into ``docs/performance.json`` and
``docs/images`` first; what is not stays as it was taken before.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from streamer.models.plot import sheet

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "build" / "bench"
PARTS = ("bench", "peers", "cameras")
"""Names of the files there, and of the parts of what is kept."""

KEPT = ROOT / "docs" / "performance.json"
IMAGES = ROOT / "docs" / "images"
PAGE = ROOT / "docs" / "performance.md"

HEAD = """# Performance

*Measured on a CPU. No figure here is from a GPU: nobody has lent us one yet
([devices.md](devices.md)). Yours will differ: `make bench bench-peers` measures your machine,
`streamer bench` tells how many cameras it carries, `streamer models bench` what each model costs.*

Ratios are of one round each, since machines change their pace; figures are least / **median** /
largest of the rounds. The clip is the demonstration's: 1280x720, H.264, 25 frames a second, ten
seconds; the model RetinaFace MobileNet-0.25 at input 640 (640x384).
"""

ROWS = (
    ("decode_ms", "decoding alone, one thread", "ms"),
    ("convert_ms", "one conversion to the model's size alone", "ms"),
    ("run_ms", "`session.run` alone, the model as it was published", "ms"),
    ("nms_ms", "decoding of the candidates and NMS alone", "ms"),
    ("floor_ms", "the floor: these four", "ms"),
    ("pipeline_ms", "the whole pipeline, per detected frame", "ms"),
    ("cpu_over_floor", "pipeline over floor", ""),
    ("bare_per_s", "bare runs a second, a worker on each core", ""),
    ("pipeline_per_s", "frames a second with four cameras", ""),
    ("throughput_over_bare", "frames over bare runs", ""),
    ("ceiling", "what that can be, if the same cores decode and convert", ""),
    ("throughput_over_ceiling", "how much of it is reached", ""),
    ("loop_per_s", "frames a second of a bare loop: decode, convert, run", ""),
    ("throughput_over_loop", "pipeline over that loop", ""),
    ("bare_latency_ms", "one bare run with all cores, 25 a second, median", "ms"),
    ("bare_p99_over_p50", "its 99th percentile over its median", ""),
    ("latency_p50_ms", "capture to event, one camera at 25 fps, median", "ms"),
    ("latency_p99_ms", "the same, 99th percentile", "ms"),
    ("latency_p99_over_p50", "99th percentile over median", ""),
    ("latency_over_bare_ms", "its median over the bare run", "ms"),
)
"""Keys of the bench's summary, what they are, and their unit."""

NOTES = {
    "cpu_over_floor": "The pipeline can be below the floor, because what it runs is the model "
    "rewritten for the CPU ([ADR 9](adr/0009-rewritten-network.md)); the floor runs it as it came.",
    "ceiling": "Why frames cannot be as many as bare runs: "
    "[ADR 13](adr/0013-where-the-time-goes.md).",
}


def three(figures: Mapping[str, float], digits: int, unit: str = "") -> str:
    """Least, median and largest as a cell of a table."""
    low, middle, high = (f"{figures[key]:.{digits}f}" for key in ("min", "median", "max"))
    return f"{low} / **{middle}** / {high}{unit and ' ' + unit}"


def page(kept: Mapping[str, Any]) -> str:
    """The whole document."""
    lines = [HEAD, f"Taken on {kept['machine']}."]
    loads = [kept[part]["load_before"] for part in PARTS if part in kept]
    if max(loads, default=0.0) > 2.0:
        lines[-1] += (
            " The machine did other work meanwhile, which the load says: absolute figures are worse"
            " than those of a quiet one, ratios scatter more."
        )
    if bench := kept.get("bench"):
        lines += [
            "",
            "## Against what cannot be avoided",
            "",
            f"`make bench`, {bench['date']}: CPU-milliseconds and rates, "
            f"{len(bench['rounds'])} rounds, {bench['workers']} cores, "
            f"load before {bench['load_before']:.1f}"
            + (
                "; latencies with real-time priority, as on a machine that does nothing else "
                "(`ARGS=--ahead`)."
                if bench["ahead"]
                else "."
            ),
            "",
            "| what | measured |",
            "|---|---|",
        ]
        for key, words, unit in ROWS:
            lines.append(f"| {words} | {three(bench['summary'][key], 2, unit)} |")
        lines += ["", " ".join(NOTES.values())]
    if peers := kept.get("peers"):
        lines += [
            "",
            "## Beside others",
            "",
            f"`make bench-peers`, {peers['date']}: the same clip, weights, confidence and machine, "
            f"{len(peers['rounds'])} rounds in turn, each in an environment of its own, every "
            f"frame looked at. {peers['cores']} cores, load before {peers['load_before']:.1f}.",
            "",
            "![Frames a second and CPU per frame](images/peers.svg)",
            "",
            "| | frames a second | CPU-ms a frame | streamer is faster by | recall | precision "
            "| same faces |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, one in peers["summary"].items():
            four = one.get("four_cameras")
            cells = (
                name,
                three(one["fps"], 0),
                three(one["cpu_ms"], 1),
                three(four["fps_ratio"], 2) if four else "",
                f"{one['recall']:.3f}",
                f"{one['precision']:.3f}",
                f"{one['same_faces']:.3f}",
            )
            lines.append("| " + " | ".join(cells) + " |")
        lines += [
            "",
            "*Faster by*: frames a second of streamer with four cameras over the peer's, each "
            "round for itself. *Same faces*: the share that both found. Versions: "
            + "; ".join(sorted({one["about"] for one in peers["summary"].values()}))
            + ".",
        ]
        lines += [f"Not measured: {name} ({error})." for name, error in peers["failed"].items()]
    if cameras := kept.get("cameras"):
        lines += held_lines(cameras)
    return "\n".join([*lines, ""])


def held_lines(cameras: Mapping[str, Any]) -> list[str]:
    """How many cameras are held, of us and of others, as lines of the document."""
    lines = [
        "",
        "## Cameras held",
        "",
        "`make bench-cameras`: recorded cameras of 1280x720 at 15 frames a second on "
        f"{cameras['cores']} cores, load before {cameras['load_before']:.1f}. A number is held "
        "when the 95th percentile of the results' age (from the instant the frame was due at the "
        "camera to its arrival in another process) is at most 300 ms, each camera has at least 2 "
        "detections a second, Jain's index is at least 0.95 and the age does not grow. streamer's "
        "number was proved by a run of "
        f"{max(run['seconds'] for run in cameras['runs']) / 60:.0f} minutes, the others' by short "
        "runs.",
        "",
        "![Cameras held](images/cameras.svg)",
        "",
        "| | cameras held | age p95 | least detections a second | Jain | why no more |",
        "|---|---|---|---|---|---|",
    ]
    sides = {"streamer": cameras, **cameras["peers"]}
    for name, side in sides.items():
        held = side["cameras_held"]
        beyond = min(
            (run for run in side["runs"] if not run["held"] and run["cameras"] > held),
            key=lambda run: int(run["cameras"]),
            default=None,
        )
        why = f"{beyond['cameras']}: " + "; ".join(beyond["faults"]) if beyond else ""
        cells = (
            name, f"**{held}**", f"{side['p95_age_ms']:.0f} ms",
            f"{side['min_detections_per_s']:.2f}", f"{side['jain']:.3f}", why,
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Every run, in the order of the search:",
        "",
        "| | cameras | seconds | age p95 | least detections a second | Jain | held |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, side in sides.items():
        for run in side["runs"]:
            age = run["p95_age_ms"]
            cells = (
                name, str(run["cameras"]), f"{run['seconds']:.0f}",
                "nothing came" if age is None else f"{age:.0f} ms",
                f"{run['min_detections_per_s']:.2f}", f"{run['jain']:.3f}",
                "yes" if run["held"] else "no: " + "; ".join(run["faults"]),
            )  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    lines += [f"Not measured: {name} ({error})." for name, error in cameras["failed"].items()]
    return lines


def held_svg(cameras: Mapping[str, Any]) -> str:
    """Bars of how many cameras each side holds."""
    sides = {"streamer": cameras, **cameras["peers"]}
    row, top, left, panel = 34, 60, 230, 420  # pixels
    height, width = top + row * len(sides) + 20, left + panel + 70
    title = f"720p cameras at {cameras['fps']} fps that {cameras['cores']} cores hold"
    parts = [
        *sheet(width, height, title),
    ]
    scale = panel / max(1, *(side["cameras_held"] for side in sides.values()))
    for n, (name, side) in enumerate(sides.items()):
        y, held = top + row * (n + 0.5), side["cameras_held"]
        colour = "#b9c2ca" if n else "#1b6ca8"
        parts += [
            f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y - 9}" width="{held * scale:.1f}" height="18" '
            f'fill="{colour}"/>',
            f'<text x="{left + held * scale + 6:.1f}" y="{y + 4}">{held}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def taken(kept: Mapping[str, Any]) -> dict[str, Any]:
    """What the last runs left in build/, and of ``kept`` what they did not measure.

    Raises ``SystemExit`` when they left nothing.
    """
    files = {part: BENCH / f"{part}.json" for part in PARTS}
    if not any(file.is_file() for file in files.values()):
        sys.exit("build/bench is empty; run `make bench bench-peers` first")
    found: dict[str, Any] = {
        **kept,
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
    for part, file in files.items():
        if file.is_file():
            date = datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat()
            found[part] = {"date": date, **json.loads(file.read_text(encoding="utf-8"))}
    if "cameras" in found:
        found["cameras"]["peers"] |= _left_out(kept.get("cameras", {}), found["cameras"]["peers"])
    return found


def _left_out(before: Mapping[str, Any], peers: Mapping[str, Any]) -> dict[str, Any]:
    """Programs whose cameras were counted in an earlier run and not in this one, with its day."""
    measured = {name.partition(" (on ")[0] for name in peers}
    return {
        name if " (on " in name else f"{name} (on {before['date']})": side
        for name, side in before.get("peers", {}).items()
        if name.partition(" (on ")[0] not in measured
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--take", action="store_true", help="take the last run's results first")
    parser.add_argument("--check", action="store_true", help="fail when the page would change")
    arguments = parser.parse_args()
    if arguments.take:
        before = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
        KEPT.write_text(json.dumps(taken(before), indent=1) + "\n", encoding="utf-8")
        if (plot := BENCH / "peers.svg").is_file():
            (IMAGES / "peers.svg").write_text(plot.read_text(encoding="utf-8"), encoding="utf-8")
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    text = page(kept)
    if "cameras" in kept and not arguments.check:
        (IMAGES / "cameras.svg").write_text(held_svg(kept["cameras"]), encoding="utf-8")
    if arguments.check and (not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text):
        sys.exit("docs/performance.md does not agree with docs/performance.json; run `make docs`")
    if not arguments.check:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
