"""What the motion gate saves, how soon it wakes, and what it costs.

Run it by ``nice python -m benchmarks.motion`` (four minutes; ``--only WORD`` runs the scenes whose
names hold it, ``--still`` or ``--coming`` one kind). Every scene is made and encoded as a camera
would, decoded, and shown to the gate as capture shows it. Written to ``build/bench/motion.json``:

* ``looked_at``: share of pictures the gate wants, and ``wakes_per_s``: how often it woke though
  nobody came, the first second (when everything is new) not counted; the floor is 1 a second;
* ``delay_ms`` for each face that comes: from the first picture in which the detector finds it,
  when it looks at all, to the first in which it finds it among those that the gate wants;
* ``gate_us``: microseconds a picture of averaging the plane and of deciding, the least and the
  median.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.motion_scenes import COMING, FPS, STAY_S, STILL, Scene, encode, in_order
from streamer.capture.av_picture import AvPicture, ColourConverter
from streamer.inference.detector import RetinaFace
from streamer.inference.registry import load_model
from streamer.inference.session import open_session
from streamer.types import Floats
from streamer.vision.motion import MotionGate, small_luma
from streamer.vision.picture import use_one_thread

OUTPUT = Path(__file__).resolve().parent.parent / "build" / "bench" / "motion.json"
CONFIDENCE = 0.4
"""Below the program's own 0.6, so that "the detector finds it" is early: harder for the gate."""


class Watched:
    """A clip as the gate sees it: which pictures it wants, and which have a face when asked."""

    def __init__(self, scene: Scene, detector: RetinaFace | None) -> None:
        """Decode and gate all of ``scene``; the detector looks where the gate wants."""
        self.wanted: list[bool] = []
        self.wakes_at: list[int] = []
        self.luma_us: list[float] = []
        self.gate_us: list[float] = []
        self._detector = detector
        self.found: dict[int, bool] = {}
        self._pictures: list[AvPicture] = []
        gate = MotionGate()
        converter = ColourConverter()
        width_height = np.array([1280, 720, 1280, 720], np.float32)
        faces: Floats | None = None
        spans = [(round(a * FPS), round(b * FPS)) for a, b in spans_of(scene)]
        with av.open(io.BytesIO(encode(scene))) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            for index, frame in enumerate(container.decode(stream)):
                picture = AvPicture(frame, converter)
                began = time.perf_counter()
                cells = small_luma(picture)
                shrunk = time.perf_counter()
                wakes = gate.wakes
                wanted = gate.wants(cells, index / FPS, faces)
                decided = time.perf_counter()
                self.luma_us.append((shrunk - began) * 1e6)
                self.gate_us.append((decided - shrunk) * 1e6)
                self.wanted.append(wanted)
                if gate.wakes > wakes:
                    self.wakes_at.append(index)
                if detector is None or not any(a <= index < b for a, b in spans):
                    faces = None
                    continue
                found = detector.detect([picture])[0]
                self.found[index] = len(found) > 0
                if wanted:
                    faces = found.boxes / width_height

    def delays(self, scene: Scene) -> list[tuple[int, int] | None]:
        """(pictures late, pictures found at all) for each visit; None: the gate missed it."""
        delays: list[tuple[int, int] | None] = []
        for begin, end in spans_of(scene):
            span = [i for i in range(round(begin * FPS), round(end * FPS)) if self.found.get(i)]
            if not span:
                raise SystemExit(
                    f"{scene.name}: the detector finds no face from {begin:.1f} s; mend the scene"
                )
            seen = next((i for i in span if self.wanted[i]), None)
            delays.append(None if seen is None else (seen - span[0], len(span)))
        return delays


def spans_of(scene: Scene) -> list[tuple[float, float]]:
    """From when to when each visit of ``scene`` is there, seconds."""
    starts = in_order(scene.visits)
    return [
        (start, start + visit.comes_s + STAY_S)
        for start, visit in zip(starts, scene.visits, strict=False)
    ]


def still(scene: Scene) -> dict[str, Any]:
    """A scene in which nobody comes."""
    watched = Watched(scene, None)
    after = watched.wanted[FPS:]
    seconds = len(after) / FPS
    return {
        "scene": scene.name,
        "looked_at": sum(after) / len(after),
        "per_s": sum(after) / seconds,
        "last_5_s": sum(after[-5 * FPS :]) / 5,
        "wakes_per_s": len(watched.wakes_at) / seconds,
        "luma_us": spread(watched.luma_us),
        "gate_us": spread(watched.gate_us),
    }


def coming(scene: Scene, detector: RetinaFace) -> dict[str, Any]:
    """A scene in which faces come."""
    watched = Watched(scene, detector)
    delays = watched.delays(scene)
    return {
        "scene": scene.name,
        "looked_at": sum(watched.wanted) / len(watched.wanted),
        "missed": sum(delay is None for delay in delays),
        "delay_ms": [delay[0] * 1000 / FPS for delay in delays if delay is not None],
    }


def spread(values: list[float]) -> tuple[float, float]:
    """(least, median) of ``values``."""
    return min(values), statistics.median(values)


def main() -> None:
    """Run the scenes, print two tables and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="scenes whose names hold this")
    parser.add_argument("--still", action="store_true", help="only scenes where nobody comes")
    parser.add_argument("--coming", action="store_true", help="only scenes where faces come")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument(
        "--live",
        action="store_true",
        help="the running program instead (motion_live.py)",
    )
    options = parser.parse_args()
    if options.live:
        from benchmarks.motion_live import live

        live(options.only or "noise 3", OUTPUT.with_name("motion_live.json"))
        return
    use_one_thread()
    console = Console()
    report: dict[str, Any] = {"still": [], "coming": []}
    if not options.coming:
        table = Table("nobody comes", "saved", "looked at / s", "last 5 s", "false wakes / s",
                      "luma µs min, median", "gate µs min, median")  # fmt: skip
        for scene in (s for s in STILL if options.only in s.name):
            row = still(scene)
            report["still"].append(row)
            table.add_row(
                scene.name, f"{1 - row['looked_at']:.1%}", f"{row['per_s']:.2f}",
                f"{row['last_5_s']:.1f}", f"{row['wakes_per_s']:.2f}",
                "{:.0f}, {:.0f}".format(*row["luma_us"]), "{:.0f}, {:.0f}".format(*row["gate_us"]),
            )  # fmt: skip
        console.print(table)
    if not options.still:
        model = load_model("retinaface_mnet025", environ=os.environ)
        session = open_session(model.content, device="cpu", threads=1, spin=False)
        detector = RetinaFace(session, confidence=CONFIDENCE)
        table = Table("a face", "visits", "missed", "delay ms, each", "looked at")
        for scene in (s for s in COMING if options.only in s.name):
            row = coming(scene, detector)
            report["coming"].append(row)
            each = " ".join(f"{ms:.0f}" for ms in row["delay_ms"])
            table.add_row(
                scene.name, str(len(scene.visits)), str(row["missed"]), each,
                f"{row['looked_at']:.0%}",
            )  # fmt: skip
        console.print(table)
        delays = sorted(ms for row in report["coming"] for ms in row["delay_ms"])
        if delays:
            report["delay_p50_ms"] = statistics.median(delays)
            report["delay_p95_ms"] = delays[min(len(delays) - 1, round(0.95 * len(delays)))]
            console.print(
                f"{len(delays)} faces: delay p50 {report['delay_p50_ms']:.0f} ms, "
                f"p95 {report['delay_p95_ms']:.0f} ms, worst {delays[-1]:.0f} ms"
            )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
