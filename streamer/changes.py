"""News of cameras and of faces, beside the results themselves: what changed, and when.

Conventions as in :mod:`streamer.types`, where these are to be had too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

State: TypeAlias = Literal[
    "connecting", "live", "stalled", "backing_off", "refused", "ended", "stopped"
]
"""What a camera is doing: a closed set, used as a metric label.

``stalled`` is live without a picture for too long; ``backing_off`` waits up to half a minute to
dial again; ``refused`` waits minutes, because dialling sooner would not help or would harm.
"""

STATES: Final[tuple[State, ...]] = get_args(State)


@dataclass(frozen=True, slots=True)
class CameraChange:
    """What a camera does from now on, and why.

    ``frozen``: its pictures have not changed for long.
    ``since_at`` is when it began to (monotonic seconds) and ``wall_at`` about the same in Unix
    seconds, for people. ``reason`` (of :data:`streamer.errors.LossReason`) and ``detail`` are
    empty while all is well; ``epoch`` is the number of its newest life, None before the first;
    ``retry_at`` is when it is dialled again, where that is known.
    """

    camera: str
    state: State
    since_at: float
    wall_at: float
    reason: str = ""
    detail: str = ""
    epoch: int | None = None
    retry_at: float | None = None
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life at the instant ``at`` (monotonic), ``wall_at`` in Unix seconds for people.

    ``cameras`` has each camera's ledger: captured = detected + tracked + skipped + dropped +
    in_flight, frames since the start. ``states`` says what each does; ``sinks`` has what waits
    for each sink (depth, capacity) and was written and dropped since the start.
    """

    at: float
    wall_at: float
    cameras: Mapping[str, Mapping[str, int]]
    states: Mapping[str, State] = field(default_factory=dict)
    sinks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quality:
    """How good one picture of a face is.

    ``size_px``: square root of the box's area, pixels. ``sharpness``: variance of the Laplacian of
    the face at 64 x 64 pixels (:func:`streamer.vision.quality.face_sharpness`), None where the
    picture's brightness cannot be had. ``frontality``: 0 (in profile) to 1 (looks at the camera).
    ``score``: all three in one, 0..1 (:func:`streamer.vision.quality.score`).
    """

    size_px: float
    sharpness: float | None
    frontality: float
    score: float


@dataclass(frozen=True, slots=True)
class TrackChange:
    """A face that appeared, was seen better than before, or left.

    All of it is of one frame, in which the face was found: for "appeared" and "best" the one that
    made it so, for "left" the last. ``at`` is its capture (monotonic seconds), ``wall_at`` the
    same in Unix seconds, for people; ``width`` and ``height`` are its size, ``box`` (x1, y1, x2,
    y2) and ``landmarks`` (five x, y) pixels in it. ``quality`` is of the best picture until then,
    which is in frame ``best_frame``. ``seen_s``: seconds from the first sighting to this one.
    ``reason`` of "left": "unseen" when it was looked for and not found, "camera" when nobody
    could look (the camera was lost, replaced, stopped, or is not looked at now); else empty.
    """

    kind: Literal["appeared", "best", "left"]
    camera: str
    id: int
    epoch: int
    frame: int
    at: float
    wall_at: float
    width: int
    height: int
    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    confidence: float
    quality: Quality
    best_frame: int
    seen_s: float
    reason: Literal["", "unseen", "camera"] = ""
