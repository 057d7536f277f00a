"""Streaming accuracy: speed and accuracy as one figure, by input size, skip and number of cameras.

``python -m benchmarks.streaming`` takes about six minutes on two cores that are otherwise idle;
``--quick`` one, for a look. At the instant of every frame of the demo clip, the newest result that
was published by then is scored against the truth of that frame (Li, Wang and Ramanan, "Towards
Streaming Perception", ECCV 2020): F1 at IoU 0.5 over all frames and cameras of 1280x720 at 25
frames a second.

* ``simulated``: the faces that the default model finds in every frame at each input size, looked
  at when the simulation says so; it takes as long as was measured here, before anything else;
* ``real``: the program itself in real time, and what came out of it, for some of the same
  settings; ``agreement`` is how far the simulation is from them;
* ``foretold``: simulated, as if whoever listens moved the faces on to the instant by the tracker;
* ``scenes``: made-up people who walk, cross and hide (benchmarks/tracking_scenes.py), whose truth
  is exact and whose detector is made up too, with the times of the default input size.

The truth of the clip is its own, which was made with it and by no detector; ``--truth 1280`` takes
what the default model finds at that input size instead, as the paper does where it has no other.
What was found is kept in build/streaming. Written to build/bench/streaming.json, with a plot.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.streaming_plot import Line, Panel, plot_svg
from benchmarks.streaming_real import Real, replay
from benchmarks.streaming_scenes import scenes
from benchmarks.tracking_scenes import FPS
from streamer.config import parse_config
from streamer.cores import usable_cores
from streamer.inference.measure import machine as about_machine
from streamer.inference.registry import locate
from streamer.inference.retelling import foretell
from streamer.inference.simulation import Machine, SimulatedCamera, simulate
from streamer.resources import resource
from streamer.tune.measure import CLIP_FRAMES, CLIP_SIZE, SizeMeasured, measure_size
from streamer.tune.settings import MOST_BUSY, WARM_S, Clip, Expected, Setting, expect, machine_of
from streamer.vision.streaming_score import score_stream

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "streaming"
OUTPUT = ROOT / "build" / "bench" / "streaming.json"
PLOT = ROOT / "docs" / "images" / "streaming.svg"
SIZES = (320, 480, 640, 960, 1280)
SKIPS = (1, 2, 3, 5, 8, 12)
COUNTS = (1, 2, 4, 8, 16, 32)
USUAL = 640
QUIET = 0.15
"""Cores that other programs may take while a real run is still called undisturbed."""

ROUND_S = CLIP_FRAMES / FPS

Case = tuple[int, int, int]
"""Input size, one frame in how many, and number of cameras."""

REAL: tuple[Case, ...] = (
    (320, 1, 1), (640, 1, 1), (960, 1, 1), (1280, 1, 1),
    (320, 1, 4), (640, 1, 4), (960, 1, 4),
    (640, 3, 4), (640, 5, 4), (640, 8, 4),
    (640, 3, 8), (640, 5, 8), (640, 5, 16),
)  # fmt: skip
QUICK: tuple[Case, ...] = ((640, 1, 1), (640, 5, 4))


def cameras(case: Case, *, fill: bool = True) -> list[SimulatedCamera]:
    """The cameras of a case, each at another place of its second."""
    size, every, count = case
    return [
        SimulatedCamera(FPS, size, phase_s=n * 0.618034 % 1.0, every=every, fill=fill)
        for n in range(count)
    ]


def measure(size: int, count: int, seconds: float) -> SizeMeasured:
    """What an input size costs with so many cameras, and what it finds in each frame of the clip.

    What it finds is kept for as long as clip and model are the same; what it costs is not.
    """
    parts = (resource("demo.mp4"), locate("retinaface_mnet025", environ=os.environ))
    stamp = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:16]
    kept = BUILD / f"found-{stamp}-{size}.json"
    config = parse_config(
        {"cameras": {f"cam{n}": {"source": "demo:"} for n in range(count)}, "device": "cpu"}, {}
    )
    pictures = range(0, CLIP_FRAMES, 10) if kept.exists() else range(CLIP_FRAMES)
    found = measure_size(
        config, size, cameras=count, base_folder=ROOT, pictures=pictures, seconds=seconds,
        look_s=300.0,
    )  # fmt: skip
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found.found), encoding="utf-8")
    rows = json.loads(kept.read_text(encoding="utf-8"))
    return replace(found, found={int(number): faces for number, faces in rows.items()})


class Bench:
    """What was measured: one machine for one camera, which has all cores, and one for more."""

    def __init__(self, one: Sequence[SizeMeasured], many: Sequence[SizeMeasured], truth: str):
        rows = None
        if truth != "own":
            best = next(each for each in many if each.input_size == int(truth))
            rows = [[row[:4] for row in best.found[n]] for n in range(CLIP_FRAMES)]
        self.clip = Clip(many, fps=FPS, truth=rows)
        self._one, self._many = machine_of(one), machine_of(many)

    def machine(self, count: int) -> Machine:
        """The machine that so many cameras have."""
        return self._one if count == 1 else self._many

    def simulated(self, case: Case, *, fill: bool = True) -> Expected:
        """What the simulation says of a case."""
        size, _, count = case
        setting = Setting(size, None)
        return expect(cameras(case, fill=fill), self.machine(count), self.clip, setting)

    def foretold(self, case: Case) -> float:
        """The score if faces were moved on to each instant, of the first camera."""
        size, _, count = case
        run = simulate(cameras(case), self.machine(count), seconds=WARM_S + ROUND_S).cameras[0]
        truth = self.clip.truth(run.captured_at, since=WARM_S)
        told = foretell(
            run.looks, self.clip.faces(size), [true.at for true in truth], within=CLIP_SIZE
        )
        return score_stream(told, truth).f1


def panels(bench: Bench, real: dict[Case, Real]) -> list[Panel]:
    """The score over each of the three axes, the others held."""
    ran = {case: one.score.f1 for case, one in real.items()}

    def line(name: str, cases: dict[float, Case], *, fill: bool = True) -> Line:
        points = {x: bench.simulated(case, fill=fill).score for x, case in cases.items()}
        rings = {x: ran[case] for x, case in cases.items() if fill and case in ran}
        return Line(name, points, not fill, rings)

    def some(count: int) -> str:
        return "1 camera" if count == 1 else f"{count} cameras"

    return [
        Panel(
            "every frame looked at", "input size, pixels",
            [line(some(n), {size: (size, 1, n) for size in SIZES}) for n in (1, 2, 4, 8)],
        ),
        Panel(
            f"input size {USUAL}", "one frame in so many is looked at",
            [line(some(n), {skip: (USUAL, skip, n) for skip in SKIPS}) for n in (1, 4, 8)]
            + [line("4 cameras, no fill", {s: (USUAL, s, 4) for s in SKIPS}, fill=False)],
        ),
        Panel(
            f"input size {USUAL}", "cameras",
            [line(f"every {skip}", {n: (USUAL, skip, n) for n in COUNTS}) for skip in (1, 3, 5, 12)]
            + [line("every 5, no fill", {n: (USUAL, 5, n) for n in COUNTS}, fill=False)],
        ),
    ]  # fmt: skip


def agreement(bench: Bench, real: dict[Case, Real]) -> dict[str, Any]:
    """How far the simulation is from real runs, by case: it minus what was run.

    The summary is of cases that other programs did not disturb: those that the simulation says
    leave room, and those that do not, where threads that wait for each other count as well.
    """
    cases = []
    apart: dict[str, list[float]] = {"with_room": [], "without_room": []}
    for case, one in real.items():
        expected = bench.simulated(case)
        off = expected.score - one.score.f1
        if one.others <= QUIET:
            apart["with_room" if expected.busy_share <= MOST_BUSY else "without_room"].append(off)
        simulated = {
            "score": round(expected.score, 4),
            "detections_per_s": round(expected.detections_per_s, 2),
            "latency_ms": round(expected.latency_ms or 0.0, 1),
            "busy_share": round(expected.busy_share, 3),
        }
        names = dict(zip(("input_size", "every", "cameras"), case, strict=True))
        cases.append({**names, "real": one.figures(), "simulated": simulated,
                      "score_off": round(off, 4)})  # fmt: skip
    summary = {name: _middle_and_worst(off) for name, off in apart.items()}
    disturbed = len(real) - sum(len(off) for off in apart.values())
    return {"cases": cases, "score_off": summary, "disturbed": disturbed}


def _middle_and_worst(off: Sequence[float]) -> dict[str, float]:
    if not off:
        return {"cases": 0}
    worst = max(off, key=lambda each: abs(each))
    return {"cases": len(off), "median": round(statistics.median(off), 4), "worst": round(worst, 4)}


def show(found: dict[str, Any], console: Console) -> None:
    """Simulation beside reality, and where everything is."""
    table = Table(title="real runs beside the simulation", title_justify="left")
    for heading in ("input", "every", "cameras", "score", "simulated", "detections/s", "simulated",
                    "latency ms", "simulated", "processor", "others"):  # fmt: skip
        table.add_column(heading, justify="right")
    for case in found["agreement"]["cases"]:
        real, simulated = case["real"], case["simulated"]
        table.add_row(
            *(str(case[key]) for key in ("input_size", "every", "cameras")),
            f"{real['score']:.3f}", f"{simulated['score']:.3f}",
            f"{real['detections_per_s']:.1f}", f"{simulated['detections_per_s']:.1f}",
            f"{real['latency_ms']:.0f}", f"{simulated['latency_ms']:.0f}",
            f"{simulated['busy_share']:.0%}", f"{real['others']:.2f}",
        )  # fmt: skip
    console.print(table)
    both = found["agreement"]
    console.print(f"simulated minus run, of the score: {both['score_off']}")
    if both["disturbed"]:
        console.print(
            f"{both['disturbed']} runs were disturbed by other programs and are left out of that"
        )


def main() -> None:
    """Read the command line, measure, simulate, run, write and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two short real runs, no document")
    parser.add_argument("--no-real", action="store_true", help="simulate only")
    parser.add_argument("--truth", choices=("own", *map(str, SIZES)), default="own")
    parser.add_argument("--seconds", type=float, default=ROUND_S, help="of each real run")
    parser.add_argument("--output", type=Path, help=f"{OUTPUT.relative_to(ROOT)}, or build/")
    parser.add_argument("--plot", type=Path, help=f"{PLOT.relative_to(ROOT)}, or build/")
    options = parser.parse_args()
    partly = options.quick or options.no_real or options.truth != "own"
    output = options.output or (BUILD / "streaming.json" if partly else OUTPUT)
    plot = options.plot or (BUILD / "streaming.svg" if partly else PLOT)
    cases = () if options.no_real else QUICK if options.quick else REAL
    console = Console(width=120)
    load = os.getloadavg()[0]
    if load > 0.5:
        console.print(f"the load is {load:.1f}: other work will disturb the figures")
    bar = Console(stderr=True)
    with Progress(console=bar, disable=not bar.is_terminal) as progress:
        task = progress.add_task("", total=2 * len(SIZES) + len(cases) + 2)
        measured: dict[int, list[SizeMeasured]] = {}
        for count in (1, max(2, usable_cores())):
            for size in SIZES:
                progress.update(task, description=f"measuring {size}, {count} at once", advance=1)
                seconds = 0.3 if options.quick else 2.0
                measured.setdefault(count, []).append(measure(size, count, seconds))
        one, many = measured.values()
        bench = Bench(one, many, options.truth)
        real: dict[Case, Real] = {}
        for case in cases:
            progress.update(task, description=f"running {case}", advance=1)
            seconds = min(options.seconds, 4.0) if options.quick else options.seconds
            real[case] = replay(cameras(case), bench.clip, seconds=seconds)
        progress.update(task, description="simulating", advance=1)
        drawn = panels(bench, real)
        found = {
            "machine": about_machine(),
            "load_before": load,
            "truth": options.truth,
            "service_ms": {
                str(each.input_size): round(statistics.median(each.service_s[1]) * 1e3, 2)
                for each in many
            },
            "service_ms_one_camera": {
                str(each.input_size): round(statistics.median(each.service_s[1]) * 1e3, 2)
                for each in one
            },
            "decode_ms": round(bench.machine(2).decode_s * 1e3, 3),
            "track_ms": round(bench.machine(2).track_s * 1e3, 3),
            "predict_ms": round(bench.machine(2).predict_s * 1e3, 3),
            "agreement": agreement(bench, real),
            "simulated": {
                f"{panel.title}, by {panel.words}": {line.name: line.points for line in panel.lines}
                for panel in drawn
            },
            "foretold": {str(skip): round(bench.foretold((USUAL, skip, 4)), 4) for skip in SKIPS},
        }
        progress.update(task, description="scenes", advance=1)
        found["scenes"] = scenes(
            bench.machine(1), (21,) if options.quick else (21, 22, 23), (1, 3, 5), size=USUAL
        )
    about = found["machine"]
    truth = "its own truth" if options.truth == "own" else f"what is found at {options.truth}"
    note = (
        f"F1 of the newest published result at the instant of each frame, against {truth}; "
        "lines are simulated, rings were run; no fill: nothing is predicted"
    )
    title = f"Streaming accuracy on {about['processor']}, {about['cores']} cores; 1280x720, 25 fps"
    for path, text in (
        (output, json.dumps(found, indent=1) + "\n"),
        (plot, plot_svg(drawn, title=title, note=note)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    show(found, console)
    console.print(f"written to {output} and {plot}")


if __name__ == "__main__":
    main()
