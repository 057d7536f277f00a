"""Results, changes and beats for the tests of bridges."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from streamer.changes import Quality
from streamer.types import (
    Beat,
    CameraChange,
    Faces,
    Failure,
    Frame,
    NoPicture,
    Outcome,
    Result,
    Stamps,
    State,
    TrackChange,
    Tracks,
)


def frame(camera: str, index: int = 0) -> Frame:
    return Frame(camera, 0, index, time.monotonic(), time.time(), None, NoPicture(1280, 720))


def result(camera: str, ids: Sequence[int] = (), index: int = 0) -> Outcome:
    n = len(ids)
    faces = Faces(np.ones((n, 4), "f4"), np.ones(n, "f4"), np.ones((n, 5, 2), "f4"))
    return Result(frame(camera, index), Tracks(np.array(ids, np.int64), faces), Stamps(0, 0, 0))


def failure(camera: str) -> Outcome:
    return Failure(frame(camera), Stamps(0, 0, 0), "broken")


def change(camera: str, state: State = "live") -> CameraChange:
    return CameraChange(camera, state, time.monotonic(), time.time())


def track(camera: str, kind: str = "appeared", number: int = 7) -> TrackChange:
    point = (1.0, 2.0)
    return TrackChange(
        kind, camera, number, 0, 5, time.monotonic(), time.time(), 640, 480,  # type: ignore[arg-type]
        (1.0, 2.0, 30.0, 40.0), (point,) * 5, 0.9, Quality(30.0, 5.0, 0.5, 0.4), 5, 0.0,
        "unseen" if kind == "left" else "",
    )  # fmt: skip


def beat(*cameras: str) -> Beat:
    return Beat(time.monotonic(), time.time(), {camera: {} for camera in cameras})
