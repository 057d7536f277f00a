"""How many cameras two cores hold while every result stays fresh. Run it by `make bench-cameras`.

Recorded cameras of 1280x720 at 15 frames a second, each at its own phase. A number of cameras is
held when, of the results that really came out, the 95th percentile of their age is at most 300 ms,
each camera has at least 2 a second, Jain's index of the cameras' rates is at least 0.95, and the
age does not grow. The age is from the capture of a frame to the arrival of its event in another
process, which subscribes as anybody would.

The number is sought by short runs and proved by a long one (``--seconds``). The same rule is put to
a plain loop of OpenCV and uniface (see benchmarks/peers.py, which makes its environment). All
programs get the same two cores. Written to ``build/bench/cameras.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
import zmq
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.peers import SIDES, PeerFailed, call, python_of
from streamer.config import load_config
from streamer.inference.registry import locate
from streamer.resources import resource
from tests.faults.slope import theil_sen

FPS = 15.0
MOST_AGE_MS, LEAST_RATE, LEAST_JAIN = 300.0, 2.0, 0.95
MOST_GROWTH_MS = 10.0
"""Growth of the age over a run, by Theil-Sen, that is still called none: 10 ms in 5 minutes."""
WARM_S, TRY_S, PEER_S = 6.0, 12.0, 10.0
WINDOWS = 20
RESULTS = Path("build/bench/cameras.json")


class Look(NamedTuple):
    """A result that came out: of which camera, when (seconds), and how old it was (ms)."""

    camera: str
    at: float
    age_ms: float


@dataclass(frozen=True)
class Held:
    """What a run with so many cameras gave, and whether they were held."""

    cameras: int
    seconds: float
    p50_age_ms: float
    p95_age_ms: float
    max_age_ms: float
    min_detections_per_s: float
    detections_per_s: float
    jain: float
    growth_ms: float
    held: bool


def jain(rates: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything.

    Jain, Chiu and Hawe, DEC-TR-301 (1984). All zeros give 0.
    """
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 0.0


def judge(looks: Sequence[Look], names: Sequence[str], began: float, seconds: float) -> Held:
    """Judge the looks from ``began`` on for ``seconds``; cameras without any count as 0."""
    kept = [look for look in looks if began <= look.at < began + seconds]
    counts = dict.fromkeys(names, 0)
    windows: defaultdict[int, list[float]] = defaultdict(list)
    for look in kept:
        counts[look.camera] += 1
        windows[int((look.at - began) / seconds * WINDOWS)].append(look.age_ms)
    rates = [count / seconds for count in counts.values()]
    ages = sorted(look.age_ms for look in kept) or [float("inf")]
    p95 = ages[max(0, -(-95 * len(ages) // 100) - 1)]
    growth = 0.0
    if len(windows) >= 8:
        middles = {n: statistics.median(each) for n, each in windows.items()}
        growth = theil_sen(list(middles), list(middles.values())).middle * WINDOWS
    fair = jain(rates)
    held = p95 <= MOST_AGE_MS and min(rates) >= LEAST_RATE and fair >= LEAST_JAIN
    return Held(
        len(names), seconds, ages[len(ages) // 2], p95, ages[-1], min(rates), sum(rates), fair,
        growth, held and growth <= MOST_GROWTH_MS,
    )  # fmt: skip


def run_streamer(cameras: int, seconds: float, settings: dict[str, Any]) -> Held:
    """Run the real program with so many cameras and subscribe to it."""
    names = [f"cam{n}" for n in range(cameras)]
    with tempfile.TemporaryDirectory() as folder:
        endpoint = f"ipc://{folder}/events"
        config = Path(folder) / "streamer.yaml"
        values = {
            "cameras": {
                # Multiples of the golden ratio's fraction: no two cameras are in step.
                name: {"source": f"demo:?fps={FPS:g}&delay={n * 0.618034 % 1.0:.3f}", **settings}
                for n, name in enumerate(names)
            },
            "http": None,
            "device": "cpu",
            "publish": {"zeromq": {"bind": endpoint}},
        }
        config.write_text(yaml.safe_dump(values))
        load_config(config, {})
        context = zmq.Context()
        socket = context.socket(zmq.SUB)
        socket.rcvhwm = 0
        socket.connect(endpoint)
        socket.subscribe(b"faces/")
        program = subprocess.Popen(
            [sys.executable, "-m", "streamer", "run", str(config)], stdout=subprocess.DEVNULL
        )
        looks: list[Look] = []
        try:
            began = None
            while began is None or time.monotonic() < began + WARM_S + seconds:
                if program.poll() is not None:
                    raise SystemExit(f"streamer ended by itself with {program.returncode}")
                if not socket.poll(1000):
                    continue
                event = json.loads(socket.recv_multipart()[1])
                now = time.monotonic()
                began = now if began is None else began
                if event["status"] == "detected":
                    # Both ends read one machine's wall clock; its steps are rounded to 1 ms.
                    age_ms = max(event["age_ms"], (time.time() - event["wall_at"]) * 1e3)
                    looks.append(Look(event["camera"], now, age_ms))
        finally:
            program.terminate()
            program.wait(30)
            context.destroy(linger=0)
    return judge(looks, names, began + WARM_S, seconds)


def run_uniface(cameras: int, seconds: float, python: Path, model: str) -> Held:
    """The plain loop, in its own environment."""
    runner = Path(__file__).parent / "peers" / "uniface_cameras.py"
    clip, cache = str(resource("demo.mp4")), str(python.parent.parent / "cache")
    size = ("640", "360", str(cameras), str(FPS), str(WARM_S + seconds))
    said = call([str(python), str(runner), clip, model, cache, *size], 300.0, os.environ)
    found = json.loads(said.strip().splitlines()[-1])
    looks = [Look(f"cam{n}", at, age_s * 1e3) for n, at, age_s in found["looks"]]
    return judge(looks, [f"cam{n}" for n in range(cameras)], WARM_S, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=300.0, help="of the run that proves")
    parser.add_argument("--counts", default="16,20,24,28,32,36,40", help="numbers to try, rising")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--set", default="{}", help="JSON: settings of every camera")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)
    console = Console(stderr=True)
    load = os.getloadavg()[0]
    settings = json.loads(options.set)
    tries: list[Held] = []
    peers: dict[str, Any] = {}
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("cameras", total=None)
        best = None
        for count in map(int, options.counts.split(",")):
            tries.append(run_streamer(count, TRY_S, settings))
            console.print(_line(tries[-1]))
            progress.advance(bar)
            if not tries[-1].held:
                break
            best = count
        proof = None
        for count in [t.cameras for t in reversed(tries) if t.held]:
            proof = run_streamer(count, options.seconds, settings)
            console.print(_line(proof))
            if proof.held:
                break
        if not options.no_peers:
            side = next(s for s in SIDES if s.name == "OpenCV + uniface, 640x360")
            try:
                python = python_of(side, Path("build/peers"))
                model = str(locate("retinaface_mnet025", environ=os.environ))
                runs = []
                for count in (1, 2, 3, 4):
                    runs.append(run_uniface(count, PEER_S, python, model))
                    console.print("uniface: " + _line(runs[-1]))
                    if not runs[-1].held:
                        break
                held = [r.cameras for r in runs if r.held]
                peers[side.name] = {
                    "cameras_held": max(held, default=0),
                    "tries": [asdict(r) for r in runs],
                }
            except PeerFailed as error:
                peers[side.name] = {"failed": str(error)}
    last = proof or tries[-1]
    result = {
        "cameras_held": last.cameras if last.held else 0,
        **{name: value for name, value in asdict(last).items() if name not in ("cameras", "held")},
        "most_in_short_runs": best,
        "tries": [asdict(each) for each in tries],
        "peers": peers,
        "settings": settings,
        "cores": len(cores),
        "load_before": load,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    table = Table(title=f"Cameras of 1280x720 at {FPS:g} fps on {len(cores)} cores; {RESULTS}")
    for column in ("program", "cameras held", "p95 age", "least rate", "Jain", "growth"):
        table.add_column(column)
    table.add_row("streamer", str(result["cameras_held"]), *_figures(last))
    for name, peer in peers.items():
        if "failed" in peer:
            table.add_row(name, f"not run: {peer['failed']}", "", "", "", "")
        else:
            table.add_row(name, str(peer["cameras_held"]), *_figures(Held(**peer["tries"][-1])))
    Console(width=110).print(table)
    if not last.held:
        sys.exit("bench-cameras: not held")


def _figures(run: Held) -> tuple[str, str, str, str]:
    return (
        f"{run.p95_age_ms:.0f} ms with {run.cameras}",
        f"{run.min_detections_per_s:.2f}/s",
        f"{run.jain:.3f}",
        f"{run.growth_ms:+.1f} ms",
    )


def _line(run: Held) -> str:
    held = "held" if run.held else "NOT held"
    return f"{run.cameras} cameras, {run.seconds:.0f} s: {', '.join(_figures(run))}: {held}"


if __name__ == "__main__":
    main()
