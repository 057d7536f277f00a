"""What the stages count, for each camera and for all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from streamer.flow.meters import Durations, Rate
from streamer.types import Result

STATIONS = ("wait", "infer", "publish")
"""Where a frame spends time: in the lane, in the detector, and from there until it is written."""

BATCH_BOUNDS = (1, 2, 4, 8, 16, 32)
"""Buckets of how many frames share a run of the model."""


@dataclass(slots=True)
class CameraMeters:
    """What the stages count for one camera, besides the lane's ledger."""

    captured: Rate
    detected: Rate
    latency: Durations
    published: Rate = field(default_factory=partial(Rate, time.monotonic))
    spent: Mapping[str, Durations] = field(
        default_factory=lambda: {s: Durations(bounds=(), recent=0) for s in STATIONS}
    )
    faces_total: int = 0
    faces_now: int = 0
    newest_captured_at: float | None = None
    """When the frame was captured that was looked at last, or last seen to be still."""
    published_captured_at: float | None = None
    """The same of those that were published."""
    view: tuple[int, int, int] | None = None
    """Epoch, width and height of the frame looked at last: what was tracked is good for these."""
    newest: Result | None = None
    """What was found in that frame, without its picture."""
    newest_at: float = 0.0
    """When that was, by the clock that the camera's faces move by."""
    still: int = 0
    """Frames that were not looked at because nothing moved."""
    wakes: int = 0
    """How often something began to move."""
    max_age_s: float | None = None
    """How old a result may be when it is written, from capture, seconds; None: any age."""
    late: int = 0
    """Results, of frames that were looked at, that were older."""


@dataclass(slots=True)
class Position:
    """Where the numbers of a camera's frames go on: after the last that was captured."""

    epoch: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True)
class StageMeters:
    """Time spent by station: in the lane, in the detector, and from there to each sink's end.

    ``batches`` counts, in the place of seconds, the frames of each run of the model.
    """

    wait: Durations
    infer: Durations
    publish: Durations
    batches: Durations = field(default_factory=partial(Durations, bounds=BATCH_BOUNDS, recent=0))
