"""Streaming accuracy on made-up people who walk, cross and hide, for benchmarks/streaming.py.

Their truth is exact, and so is the moment at which a frame is looked at; the detector is made up
too (benchmarks/tracking_scenes.py), and takes as long as was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from benchmarks.tracking_scenes import FPS, HEIGHT, SETTINGS, WIDTH, Seen, scene
from streamer.inference.retelling import foretell, retell
from streamer.inference.simulation import Machine, Simulated, SimulatedCamera, simulate
from streamer.types import Faces
from streamer.vision.streaming_score import StreamingScore, Truth, score_stream

CONFIDENT: Final = 0.6
"""Least confidence of a face, as the configuration has it by default."""


def scenes(
    machine: Machine, seeds: Sequence[int], skips: Iterable[int], *, size: int
) -> dict[str, Any]:
    """Scores of one camera on made-up scenes: as published, and moved on to each instant."""
    figures: dict[str, Any] = {}
    for setting in SETTINGS:
        if setting.uneven:  # its frames are not at a camera's pace
            continue
        for skip in skips:
            told, moved = StreamingScore(), StreamingScore()
            for seed in seeds:
                frames = scene(setting, seed)
                seconds = len(frames) / FPS - 0.5 / FPS
                plan = SimulatedCamera(FPS, size, every=skip)
                run = simulate([plan], machine, seconds=seconds).cameras[0]
                one, other = score_scene(frames, run)
                told, moved = told + one, moved + other
            figures.setdefault(setting.name, {})[str(skip)] = {
                "score": round(told.f1, 4), "recall": round(told.recall, 4),
                "foretold": round(moved.f1, 4),
            }  # fmt: skip
    return figures


def score_scene(frames: Sequence[Seen], run: Simulated) -> tuple[StreamingScore, StreamingScore]:
    """One scene, as published and moved on, after the first second."""

    def faces(frame: int) -> Faces:
        found = frames[frame].faces
        sure = found.scores >= CONFIDENT
        return Faces(found.boxes[sure], found.scores[sure], found.landmarks[sure])

    truth = [
        Truth.of(at, seen.boxes, seen.doubtful)
        for seen, at in zip(frames, run.captured_at, strict=False)
        if at >= 1.0
    ]
    within = (WIDTH, HEIGHT)
    told = retell(run.looks, faces, within=within)
    moved = foretell(run.looks, faces, [true.at for true in truth], within=within)
    return score_stream(told, truth), score_stream(moved, truth)
