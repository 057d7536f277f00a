"""How many cameras two cores hold while every result stays fresh, and how many others hold.

Recorded cameras of 1280x720 at 15 frames a second come in real time, each at its own phase, and
wait for nobody. So many are held when the 95th percentile of the age of all results is at most
300 ms, every camera gets at least 2 detections a second, Jain's index of their rates is at least
0.95 and the age does not grow. The age is counted from the instant a frame was due at its camera
until its result was heard in another process: of streamer by its ZeroMQ client, of the others by
a line of text, which costs them less.

The number is sought by runs of a few seconds, and for streamer one a sixteenth less is proved by
a run of five minutes. The others are not asked for that: a plain loop of OpenCV around uniface
that reads the next frame of each camera in turn, the same with the newest, and, with ``--heavy``,
Roboflow's InferencePipeline with the same detector (see ``benchmarks/peers.py``; the environments
are shared). All run on the same two cores, and so does what hears them. Written to
``build/bench/cameras.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from benchmarks.cameras_run import FPS, WARM_S, Run, measure, recorded_clip
from benchmarks.cameras_score import (
    LEAST_JAIN,
    LEAST_PER_S,
    MOST_AGE_MS,
    MOST_GROWTH_MS,
    MOST_SHORT_GROWTH_MS,
    Search,
    step_down,
    to_prove,
)
from benchmarks.peers import ROBOFLOW, SIDES, PeerFailed, Side, python_of
from streamer.errors import StreamerError
from streamer.inference.registry import locate
from streamer.resources import resource

CORES: Final = 2
LOAD_S: Final = 6.0
"""What a run takes beside its seconds and its warm-up, about: loading, and ending."""
LEAST_PROOF_S: Final = 60.0
HEAVY_S: Final = 240.0
"""InferencePipeline may take so much longer: it alone needs half a minute to load."""

_GIVEN = ("{clip}", "{fps}", "{cameras}", "{model}")
_DETECTOR = ("{cache}", "640", "360")  # what streamer looks at; uniface's own 640x640 costs more
_UNIFACE = next(side for side in SIDES if side.environment == "uniface")
_ROBOFLOW = next(side for side in SIDES if side.name == ROBOFLOW)
STREAMER: Final = Side("streamer", "streamer_cameras.py", _GIVEN)
OTHERS: Final = (
    *(
        replace(
            _UNIFACE,
            name=f"OpenCV + uniface, {mode} frame",
            runner="opencv_cameras.py",
            arguments=(*_GIVEN, *_DETECTOR, mode),
        )
        for mode in ("next", "newest")
    ),
    replace(_ROBOFLOW, runner="inference_cameras.py", arguments=(*_GIVEN, *_DETECTOR)),
)
_FIRST: Final = dict(zip((side.name for side in OTHERS), (2, 12, 6), strict=True))
"""What to try first of each: about what two cores hold, which saves runs."""


@dataclass
class Outcome:
    """All runs of one side in order, and the one that its number rests on.

    ``held`` is the run with the most cameras that were held, None when there was none.
    """

    runs: list[Run] = field(default_factory=list)
    held: Run | None = None

    @property
    def shown(self) -> Run:
        """The run whose figures are shown: where none held, the one with the fewest cameras."""
        return self.held or min(self.runs, key=lambda run: run.score.cameras)

    @property
    def beyond(self) -> Run | None:
        """The run with the fewest cameras, more than were held, that were not."""
        held = self.held.score.cameras if self.held else 0
        more = [run for run in self.runs if not run.held and run.score.cameras > held]
        return min(more, key=lambda run: run.score.cameras, default=None)


Measure = Callable[[int, float], Run]
"""Runs so many cameras for so many seconds."""


def seek(run: Measure, search: Search, seconds: float, left_s: Callable[[], float]) -> Outcome:
    """Seek the largest number by runs of ``seconds``, as long as there is time left for one."""
    found = Outcome()
    while (number := search.next) is not None:
        if found.runs and left_s() < LOAD_S + WARM_S + seconds:
            break
        one = run(number, seconds)
        found.runs.append(one)
        search.learn(number, one.held)
        if one.held:
            found.held = one
    return found


def prove(
    run: Measure, found: Outcome, seconds: float, least_s: float, left_s: Callable[[], float]
) -> None:
    """Put a little less than short runs found to a long one, and less where that does not hold.

    After it, ``found.held`` is the long run that held; None when there is none, or no time.
    """
    number = to_prove(found.held.score.cameras) if found.held else 0
    found.held = None
    while number and (time_s := min(seconds, left_s() - LOAD_S - WARM_S)) >= least_s:
        one = run(number, time_s)
        found.runs.append(one)
        if one.held:
            found.held = one
            return
        number = step_down(number)


def figures(found: Outcome) -> dict[str, Any]:
    """What is written of one side."""
    shown = asdict(found.shown.score)
    slope = found.shown.score.slope_ms_per_min
    return {
        "cameras_held": found.held.score.cameras if found.held else 0,
        **{name: shown[name] for name in ("p95_age_ms", "min_detections_per_s", "jain")},
        "slope_ms_per_min": slope._asdict() if slope else None,
        **_of(found.shown),
        **{name: shown[name] for name in shown if name.startswith(("p50", "worst", "max"))},
        "per_camera": shown["per_camera"],
        "runs": [_of(run) for run in found.runs],
    }


def _of(run: Run) -> dict[str, Any]:
    score = run.score
    return {
        "about": run.about,
        "cameras": score.cameras,
        "seconds": round(score.seconds, 1),
        "held": run.held,
        "faults": run.faults,
        "cut_short": run.cut_short,
        "detections_per_s": round(score.detections / score.seconds, 1),
        "p95_age_ms": score.p95_age_ms,
        "min_detections_per_s": score.min_detections_per_s,
        "jain": score.jain,
        "cores_used": run.used,
        "cores_of_others": run.others,
        "ended": run.ended,
    }


def table(found: Mapping[str, Outcome], failed: Mapping[str, str], title: str) -> Table:
    """One row for each side, and why it held no more."""
    shown = Table(title=title)
    for column in (
        "", "cameras held", "p95 age", "worst", "least /s", "Jain", "growth, ms/min", "for",
        "no more",
    ):  # fmt: skip
        shown.add_column(column, justify="left" if column in ("", "no more") else "right")

    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f} ms"

    for name, one in found.items():
        run, beyond = one.shown, one.beyond
        score, slope = run.score, run.score.slope_ms_per_min
        shown.add_row(
            name,
            str(score.cameras) if one.held else "0",
            ms(score.p95_age_ms),
            ms(score.worst_camera_p95_age_ms),
            f"{score.min_detections_per_s:.2f}",
            f"{score.jain:.3f}",
            f"{slope.middle:+.1f}" if slope else "-",
            f"{score.seconds:.0f} s",
            f"{beyond.score.cameras}: {', '.join(beyond.faults)}" if beyond else "",
        )
    for name, error in failed.items():
        shown.add_row(name, f"[red]{escape(error)}[/red]")
    return shown


def machine() -> str:
    """The processor's name, for people."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heavy", action="store_true", help="InferencePipeline too (gigabytes)")
    parser.add_argument("--no-peers", action="store_true", help="streamer alone")
    parser.add_argument("--only", type=int, metavar="N", help="N cameras each, for --seconds")
    parser.add_argument("--seconds", type=float, default=300.0, help="of the proof")
    parser.add_argument("--search-seconds", type=float, default=12.0, help="of each other run")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all, about")
    parser.add_argument("--first", type=int, default=24, help="cameras of ours to try first")
    parser.add_argument("--most", type=int, default=96, help="cameras to try at most")
    parser.add_argument("--output", type=Path, default=Path("build/bench/cameras.json"))
    parser.add_argument("--environments", type=Path, default=Path("build/peers"))
    options = parser.parse_args()
    if not 1 <= options.first <= options.most or (options.only or 1) < 1:
        parser.error("--only and --first are 1 or more, and --first at most --most")
    if min(options.seconds, options.search_seconds) < 4 or options.minutes <= 0:
        parser.error("--seconds and --search-seconds are 4 or more, and --minutes above 0")
    return options


def main() -> None:
    options = arguments()
    began = time.monotonic()
    load = os.getloadavg()[0]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # all that follow inherit it
    cores = len(os.sched_getaffinity(0))
    console = Console(stderr=True)
    if cores < CORES or load > 0.5:
        console.print(f"{cores} core(s), a load of {load:.1f}: the figures will be too low")
    folder = options.environments.resolve()
    try:
        model = locate("retinaface_mnet025", environ=os.environ)
    except StreamerError as error:
        sys.exit(f"bench-cameras: {error}")
    clip = recorded_clip(resource("demo.mp4"), options.output.resolve().parent)
    given = {
        "clip": str(clip), "fps": str(FPS), "model": str(model), "cache": str(folder / "weights"),
    }  # fmt: skip
    found: dict[str, Outcome] = {}
    failed: dict[str, str] = {}

    def left_s(kept: float = 0.0) -> float:
        ends_at = began + options.minutes * 60 + (HEAVY_S if options.heavy else 0.0)
        return float(ends_at - kept - time.monotonic())

    with Progress(console=console, disable=not console.is_terminal, refresh_per_second=1) as bars:
        bar = bars.add_task("", total=1.0)

        def runs(side: Side) -> Measure:
            python = python_of(side, folder)

            def run(cameras: int, seconds: float) -> Run:
                bars.reset(bar, total=seconds, description=f"{side.name}: {cameras} cameras")
                one = measure(
                    side, python, given, cameras=cameras, seconds=seconds,
                    tick=lambda done: bars.update(bar, completed=done),
                )  # fmt: skip
                console.print(line(side.name, one), highlight=False, markup=False, soft_wrap=True)
                return one

            return run

        def search(side: Side, first: int, kept: float) -> None:
            try:
                run = runs(side)
                if options.only:
                    one = run(options.only, options.seconds)
                    found[side.name] = Outcome([one], one if one.held else None)
                else:
                    wanted = Search(min(first, options.most), options.most)
                    found[side.name] = seek(
                        run, wanted, options.search_seconds, lambda: left_s(kept)
                    )
            except PeerFailed as error:
                failed[side.name] = str(error)

        folder.mkdir(parents=True, exist_ok=True)
        proof_s = options.seconds + LOAD_S + WARM_S
        search(STREAMER, options.first, proof_s)
        if STREAMER.name in failed:
            sys.exit(f"bench-cameras: streamer {failed[STREAMER.name]}; run 'make test'")
        others = [side for side in OTHERS if options.heavy or not side.heavy]
        for side in () if options.no_peers else others:
            search(side, _FIRST[side.name], proof_s)
        ours = found[STREAMER.name]
        if not options.only:
            try:
                least_s = min(options.seconds, LEAST_PROOF_S)
                prove(runs(STREAMER), ours, options.seconds, least_s, left_s)
            except PeerFailed as error:
                sys.exit(f"bench-cameras: streamer {error}; run 'make test'")
    result = {
        **figures(ours),
        "peers": {name: figures(one) for name, one in found.items() if name != STREAMER.name},
        "failed": failed,
        "limits": {
            "p95_age_ms": MOST_AGE_MS,
            "detections_per_s": LEAST_PER_S,
            "jain": LEAST_JAIN,
            "growth_ms_in_a_long_run": MOST_GROWTH_MS,
            "growth_ms_in_a_short_run": MOST_SHORT_GROWTH_MS,
        },
        "fps": FPS,
        "cores": cores,
        "machine": machine(),
        "load_before": load,
        "took_s": round(time.monotonic() - began),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    title = f"720p cameras at {FPS} fps that {cores} cores hold; also in {options.output}"
    Console(width=130).print(table(found, failed, title))
    if not ours.held:
        sys.exit(f"bench-cameras: none held; {', '.join(ours.shown.faults)}")


def line(name: str, run: Run) -> str:
    """One run in one line."""
    score = run.score
    age = "-" if score.p95_age_ms is None else f"{score.p95_age_ms:.0f} ms"
    verdict = "held" if run.held else ", ".join(run.faults)
    return (
        f"{name}: {score.cameras} cameras for {score.seconds:.0f} s: p95 age {age}, "
        f"{score.min_detections_per_s:.2f}/s at least, Jain {score.jain:.3f}, {run.used} cores"
        f" (others {run.others}): {verdict}"
    )


if __name__ == "__main__":
    main()
