"""The real program in real time, for benchmarks/streaming.py: what was told, and when."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamer.apart import run_apart
from streamer.app import App
from streamer.capture.memory import limit_arenas
from streamer.config import Config
from streamer.inference.simulation import SimulatedCamera
from streamer.tune import Clip
from streamer.types import Outcome
from streamer.vision.streaming_score import StreamingScore, Told, score_stream

WARM_S = 2.5
"""Seconds from the first result of all cameras until anything counts."""

_START_S = 120.0


@dataclass(frozen=True)
class Real:
    """What a real run gave. ``age_ms`` is p95 from capture to publishing of frames looked at."""

    score: StreamingScore
    detections_per_s: float
    latency_ms: float
    lost: int

    def figures(self) -> dict[str, float]:
        """For people and for JSON."""
        return {
            "score": round(self.score.f1, 4),
            "recall": round(self.score.recall, 4),
            "precision": round(self.score.precision, 4),
            "detections_per_s": round(self.detections_per_s, 2),
            "latency_ms": round(self.latency_ms, 1),
            "results_lost_on_the_way_to_us": self.lost,
        }


class _Recorder:
    """A sink that notes what it is given, and when."""

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []

    def write(self, outcome: Outcome) -> None:
        at = time.monotonic()
        if outcome.status == "failed":
            return
        faces, frame = outcome.tracks.faces, outcome.frame
        self.rows.append(
            [
                frame.camera, frame.index, frame.captured_at, at, outcome.status == "detected",
                faces.boxes.tolist(), faces.scores.tolist(),
            ]
        )  # fmt: skip

    def close(self) -> None:
        pass


def replay(cameras: Sequence[SimulatedCamera], clip: Clip, *, seconds: float) -> Real:
    """Run such cameras on the demo clip for ``seconds`` and score what they told."""
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
        "publish": {"zeromq": {"bind": "tcp://127.0.0.1:*"}},
    }
    rows, lost = run_apart(
        record, timeout_s=_START_S + seconds, values=values, seconds=seconds + WARM_S
    )
    return score(rows, clip, lost)


def record(_payload: bytes, *, values: dict[str, Any], seconds: float) -> tuple[list[Any], int]:
    """In a process of its own: run the program for ``seconds`` from its first result on."""
    limit_arenas()  # as `streamer run` does
    recorder = _Recorder()
    app = App(
        Config(**values), base_folder=Path.cwd(), environ=os.environ,
        extra_sinks={"score": recorder},
    )  # fmt: skip
    app.run(seconds=seconds + 1.0)  # all cameras have begun within the first second
    lost = sum(sum(s.channel.dropped.values()) for s in app.status().sinks if s.name == "score")
    return recorder.rows, lost


def score(rows: Sequence[Sequence[Any]], clip: Clip, lost: int) -> Real:
    """Compare what was recorded with the truth, after the warm-up."""
    told: defaultdict[str, list[Told]] = defaultdict(list)
    instants: defaultdict[str, dict[int, float]] = defaultdict(dict)
    looks: list[tuple[float, float]] = []
    for camera, frame, captured_at, at, detected, boxes, scores in rows:
        told[camera].append(
            Told(at, captured_at, np.array(boxes, np.float32).reshape(-1, 4),
                 np.array(scores, np.float32))
        )  # fmt: skip
        instants[camera][frame] = captured_at
        if detected:
            looks.append((captured_at, at))
    since = max(min(known.values()) for known in instants.values()) + WARM_S
    until = min(max(known.values()) for known in instants.values())
    total = StreamingScore()
    for camera, known in instants.items():
        # Frames that were dropped were never told of; they came at the camera's own pace.
        numbers = sorted(known)
        captured_at = np.interp(range(numbers[-1] + 1), numbers, [known[n] for n in numbers])
        truth = [true for true in clip.truth(captured_at.tolist(), since=since) if true.at <= until]
        total += score_stream(told[camera], truth)
    counted = [at - captured_at for captured_at, at in looks if since <= captured_at <= until]
    return Real(
        total,
        len(counted) / (until - since) / len(told),
        float(np.quantile(counted, 0.95)) * 1e3 if counted else float("nan"),
        lost,
    )
