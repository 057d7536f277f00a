"""The running program with cameras that come and go, for benchmarks/load.py, and what it told."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.listening import listen
from streamer.apart import run_apart
from streamer.app import App
from streamer.capture.memory import limit_arenas
from streamer.config import Camera, Config

START_S: Final = 60.0


class Heard(NamedTuple):
    """A frame that was looked at: when it was captured and heard, seconds of one clock."""

    camera: str
    captured_at: float
    at: float


Step = tuple[float, list[str], list[str]]
"""After so many seconds: names of cameras that come, and of those that go."""


def run(
    _payload: bytes,
    *,
    endpoint: str,
    cameras: dict[str, dict[str, Any]],
    first: list[str],
    steps: list[Step],
    seconds: float,
) -> dict[str, Any]:
    """In a process of its own: the program for ``seconds``, from ``first`` on by ``steps``.

    Returns when each step was taken (``at``, s, monotonic) and what became of the frames of each
    camera by the end, or until it went.
    """
    limit_arenas()  # as `streamer run` does
    known = {name: Camera(**each) for name, each in cameras.items()}
    config = Config(
        cameras={name: known[name] for name in first},
        device="cpu", http=None, publish={"zeromq": {"bind": endpoint}},
    )  # fmt: skip
    app = App(config, base_folder=Path.cwd(), environ=os.environ)
    frames: dict[str, Any] = {}
    instants: list[float] = []
    over = threading.Event()

    def take(names: Sequence[str]) -> None:
        for camera in app.status().cameras:
            if camera.name in names:
                ledger = camera.ledger
                frames[camera.name] = {
                    "captured": ledger.captured,
                    "settled": dict(ledger.settled),
                    "dropped": {"/".join(of): n for of, n in ledger.dropped.items()},
                    "in_flight": ledger.in_flight,
                    "closes": ledger.closes,
                }

    def follow() -> None:
        began = time.monotonic()
        for after_s, come, go in steps:
            if over.wait(max(0.0, began + after_s - time.monotonic())):
                return
            instants.append(time.monotonic())
            for name in come:
                app.roster.add(name, known[name])
            take(go)
            for name in go:
                app.roster.remove(name)

    following = threading.Thread(target=follow)
    following.start()
    try:
        app.run(seconds=seconds)
    finally:
        over.set()
        following.join()
    take(list(known))
    return {"at": instants, "frames": frames}


def hear(
    cameras: Mapping[str, Mapping[str, Any]], first: Sequence[str], steps: Sequence[Step],
    seconds: float,
) -> tuple[list[Heard], dict[str, Any]]:  # fmt: skip
    """Run such cameras and hear them: all frames that were looked at, and what :func:`run` says."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:
        endpoint = f"ipc://{folder}/events"
        program = beside.submit(
            run_apart, run, timeout_s=START_S + seconds, endpoint=endpoint, cameras=cameras,
            first=first, steps=steps, seconds=seconds,
        )  # fmt: skip
        wall_minus_monotonic = time.time() - time.monotonic()
        heard = [
            Heard(event.camera, event.wall_at - wall_minus_monotonic, at)
            for event, at in listen(endpoint, program)
            if event.status == "detected"
        ]
    return heard, program.result()
