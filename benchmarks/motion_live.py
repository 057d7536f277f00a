"""How soon the running program publishes a face that comes into a still scene, with the gate.

Run it by ``python -m benchmarks.motion --live`` (three minutes). The scenes of
``benchmarks/motion_scenes.py`` in which faces come are played as a camera plays them, the program
runs in a process of its own as `streamer run` does, and is heard over ZeroMQ here. For each face
``delay_ms`` is from the capture of the first picture in which the detector finds it, when it looks
at all, until an event with it was heard. The same without the gate stands beside it. Written to
``build/bench/motion_live.json``.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.listening import listen
from benchmarks.motion import Watched, spans_of
from benchmarks.motion_scenes import COMING, FPS, Scene, encode
from streamer.apart import run_apart
from streamer.app import App
from streamer.capture.memory import limit_arenas
from streamer.client import FacesEvent
from streamer.config import Config
from streamer.inference.detector import RetinaFace
from streamer.inference.registry import load_model
from streamer.inference.session import open_session

CONFIDENCE = 0.6


def run(_payload: bytes, *, values: dict[str, Any], clip: str, seconds: float) -> None:
    """In a process of its own: the program, with ``clip`` in the place of the demo's."""
    limit_arenas()
    with patch("streamer.capture.schemes.resource", lambda _name: Path(clip)):
        App(Config(**values), base_folder=Path.cwd(), environ=os.environ).run(seconds=seconds)


def played(scene: Scene, clip: Path, *, motion: bool) -> tuple[list[tuple[FacesEvent, float]], int]:
    """Every event heard of ``scene``, with the Unix time at which, and how many were looked at."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:
        endpoint = f"ipc://{folder}/events"
        values = {
            "cameras": {"cam": {"source": "demo:?delay=1", "motion": motion}},
            "device": "cpu", "http": None, "publish": {"zeromq": {"bind": endpoint}},
            "model": {"confidence": CONFIDENCE},
        }  # fmt: skip
        program = beside.submit(
            run_apart, run, timeout_s=60 + scene.seconds, values=values, clip=str(clip),
            seconds=scene.seconds + 1.5,
        )  # fmt: skip
        wall_minus_monotonic = time.time() - time.monotonic()
        heard = [(event, at + wall_minus_monotonic) for event, at in listen(endpoint, program)]
    return heard, sum(event.status == "detected" for event, _ in heard)


def delays_of(scene: Scene, found: dict[int, bool], heard: list[tuple[FacesEvent, float]]) -> Any:
    """Milliseconds for each visit of ``scene``; None: it was never heard of."""
    delays: list[float | None] = []
    for begin, end in spans_of(scene):
        span = [n for n in range(round(begin * FPS), round(end * FPS)) if found.get(n)]
        told = [
            at for event, at in heard
            if event.faces and any(face.source == "detected" for face in event.faces)
            and span[0] <= event.frame <= span[-1] + FPS
        ]  # fmt: skip
        # Of a picture that was dropped nothing was heard: the next to it says when it came.
        near = min((event for event, _ in heard), key=lambda event: abs(event.frame - span[0]))
        captured_at = near.wall_at + (span[0] - near.frame) / FPS
        delays.append((min(told) - captured_at) * 1000 if told else None)
    return delays


def live(only: str, output: Path) -> None:
    """Play the scenes whose names hold ``only``, print a line for each and write the JSON."""
    model = load_model("retinaface_mnet025", environ=os.environ)
    session = open_session(model.content, device="cpu", threads=1, spin=False)
    detector = RetinaFace(session, confidence=CONFIDENCE)
    report: dict[str, Any] = {}
    for scene in (s for s in COMING if only in s.name):
        found = Watched(scene, detector).found
        with tempfile.NamedTemporaryFile(suffix=".mkv") as file:
            file.write(encode(scene))
            file.flush()
            for motion in (False, True):
                heard, looks = played(scene, Path(file.name), motion=motion)
                delays = delays_of(scene, found, heard)
                row = {"scene": scene.name, "motion": motion, "delay_ms": delays, "looks": looks}
                report.setdefault("with" if motion else "without", []).append(row)
                print(json.dumps(row), flush=True)
    for kind, rows in report.items():
        all_ms = [ms for row in rows for ms in row["delay_ms"]]
        heard_ms = sorted(ms for ms in all_ms if ms is not None)
        p95 = heard_ms[min(len(heard_ms) - 1, round(0.95 * len(heard_ms)))]
        print(
            f"{kind} the gate: {len(all_ms)} faces, {len(all_ms) - len(heard_ms)} never heard of, "
            f"p50 {statistics.median(heard_ms):.0f} ms, p95 {p95:.0f} ms, "
            f"worst {heard_ms[-1]:.0f} ms"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
