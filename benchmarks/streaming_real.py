"""The real program in real time, for benchmarks/streaming.py: what was heard of it, and when.

It runs in a process of its own and is heard by ZeroMQ, as by any subscriber: a result counts from
the instant it was heard.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.listening import listen
from streamer.apart import run_apart
from streamer.app import App
from streamer.capture.memory import limit_arenas
from streamer.config import Config
from streamer.events import FacesEvent
from streamer.inference.simulation import SimulatedCamera
from streamer.tune.settings import Clip
from streamer.vision.streaming_score import StreamingScore, Told, score_stream

WARM_S = 2.5
"""Seconds from the instant at which all cameras were heard until anything counts."""

_START_S = 60.0


@dataclass(frozen=True)
class Heard:
    """One result: ``captured_at`` and ``at`` are seconds of the monotonic clock here."""

    camera: str
    frame: int
    captured_at: float
    at: float
    detected: bool
    boxes: list[tuple[float, float, float, float]]
    scores: list[float]
    seq: int


@dataclass(frozen=True)
class Real:
    """What a real run gave.

    ``latency_ms`` is the 95th percentile from capture to being heard of frames looked at, and
    ``lost`` counts results that were published and not heard. ``others``: cores that programs
    other than this one and what it started kept busy meanwhile.
    """

    score: StreamingScore
    detections_per_s: float
    latency_ms: float
    lost: int
    others: float = 0.0

    def figures(self) -> dict[str, float]:
        """For people and for JSON."""
        return {
            "score": round(self.score.f1, 4),
            "recall": round(self.score.recall, 4),
            "precision": round(self.score.precision, 4),
            "detections_per_s": round(self.detections_per_s, 2),
            "latency_ms": round(self.latency_ms, 1),
            "lost": self.lost,
            "others": round(self.others, 2),
        }


def replay(cameras: Sequence[SimulatedCamera], clip: Clip, *, seconds: float) -> Real:
    """Run such cameras on the demo clip, hear them for ``seconds``, and score what was heard."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:
        endpoint = f"ipc://{folder}/events"
        values = {
            "cameras": {
                f"cam{n}": {
                    "source": f"demo:?fps={camera.fps:g}&delay={camera.phase_s:.3f}",
                    "input_size": camera.size,
                    "every": camera.every,
                    "max_fps": camera.max_fps,
                    "fill": camera.fill,
                }
                for n, camera in enumerate(cameras)
            },
            "device": "cpu",
            "http": None,
            "publish": {"zeromq": {"bind": endpoint}},
        }
        program = beside.submit(
            run_apart,
            run,
            timeout_s=_START_S + seconds,
            values=values,
            seconds=seconds + WARM_S + 1.0,  # all cameras have begun within the first second
        )
        heard: list[Heard] = []
        began, others_began = time.monotonic(), _others_s()
        wall_minus_monotonic = time.time() - time.monotonic()
        for event, at in listen(endpoint, program):
            heard += _heard(event, at, wall_minus_monotonic)
        others = (_others_s() - others_began) / (time.monotonic() - began)
    return replace(score(heard, clip), others=max(0.0, others))


def _others_s() -> float:
    """Seconds so far that cores were busy, but for what this process and its dead children used.

    Source: proc(5), ``/proc/stat``: user, nice, system, idle, iowait, irq, softirq, steal.
    """
    words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    busy = sum(int(ticks) for n, ticks in enumerate(words) if n not in (3, 4))
    ours = os.times()
    used = ours.user + ours.system + ours.children_user + ours.children_system
    return busy / os.sysconf("SC_CLK_TCK") - used


def run(_payload: bytes, *, values: dict[str, Any], seconds: float) -> None:
    """In a process of its own: the program, for ``seconds``."""
    limit_arenas()  # as `streamer run` does
    App(Config(**values), base_folder=Path.cwd(), environ=os.environ).run(seconds=seconds)


def _heard(event: FacesEvent, at: float, wall_minus_monotonic: float) -> list[Heard]:
    if event.faces is None:
        return []
    return [
        Heard(
            event.camera, event.frame, event.wall_at - wall_minus_monotonic, at,
            event.status == "detected", [face.bbox for face in event.faces],
            [face.confidence for face in event.faces], event.seq,
        )
    ]  # fmt: skip


def score(heard: Sequence[Heard], clip: Clip) -> Real:
    """Compare what was heard with the truth at the instant of every frame, after the warm-up."""
    told: defaultdict[str, list[Told]] = defaultdict(list)
    captured: defaultdict[str, dict[int, float]] = defaultdict(dict)
    seqs: defaultdict[str, list[int]] = defaultdict(list)
    for one in heard:
        boxes = np.array(one.boxes, np.float32).reshape(-1, 4)
        scores = np.array(one.scores, np.float32)
        told[one.camera].append(Told(one.at, one.captured_at, boxes, scores))
        captured[one.camera][one.frame] = one.captured_at
        seqs[one.camera].append(one.seq)
    since = max(min(known.values()) for known in captured.values()) + WARM_S
    until = min(max(known.values()) for known in captured.values())
    total = StreamingScore()
    for camera, known in captured.items():
        # Frames that were dropped were never told of; they came at the camera's own pace.
        numbers = sorted(known)
        instants = np.interp(range(numbers[-1] + 1), numbers, [known[n] for n in numbers])
        truth = clip.truth(instants.tolist(), since=since)
        total += score_stream(told[camera], [true for true in truth if true.at <= until])
    looks = [one for one in heard if one.detected and since <= one.captured_at <= until]
    return Real(
        total,
        len(looks) / (until - since) / len(told),
        float(np.quantile([one.at - one.captured_at for one in looks], 0.95)) * 1e3,
        sum(max(each) - min(each) + 1 - len(each) for each in seqs.values()),
    )
