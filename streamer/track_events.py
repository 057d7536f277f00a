"""The wire of faces that come and go: one message when a face appears, looks best, or leaves.

Beside the results of every frame (:mod:`streamer.events`), whose conventions hold here too, for
programs that want to know who is there and not where in each picture.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from streamer.changes import TrackChange
from streamer.events import (
    Count,
    Keypoints,
    Reader,
    Size,
    json_schema,
    topic_under,
)

TRACK_SCHEMA: Final = "streamer.track/1"
"""Name and version of the schema of faces that come and go."""

TRACK_TOPICS: Final = b"track/"
"""What the topics of faces that come and go begin with."""

_Share = Annotated[float, Meta(ge=0, le=1)]
_Positive = Annotated[float, Meta(ge=0)]


class Quality(msgspec.Struct, frozen=True, gc=False):
    """How good a picture of a face is.

    ``size_px``: square root of the box's area, pixels. ``sharpness``: variance of the Laplacian of
    the face scaled to 64 x 64 pixels, null where it could not be told; below some 100 it is
    blurred. ``frontality``: 0 (in profile) to 1 (looks at the camera), from the five points.
    ``score``: all three in one, 0 to 1; size counts up to 112 pixels.
    """

    size_px: _Positive
    sharpness: _Positive | None
    frontality: _Share
    score: _Share


class TrackEvent(msgspec.Struct, frozen=True):
    """A face that appeared, was seen clearly better than before, or left.

    ``id`` is that of :class:`streamer.events.Face`. "appeared" is told when a face is found a
    second time, or at once where it is sure; "best" at most once a second, and once more before
    "left". "left" comes when it was not found for 2 s (``reason`` "unseen") or when nobody could
    look (``reason`` "camera": the camera was lost, replaced, stopped or is not looked at now).
    Each is followed by "left" in the end, and a face that comes back after that has a new id.

    ``epoch``, ``frame``, ``wall_at`` (Unix seconds), ``width``, ``height``, ``bbox``,
    ``confidence`` and ``keypoints`` are of one frame, in which the face was found: of "left" the
    last such. ``age_ms`` is milliseconds from its capture to publishing, ``seen_s`` seconds from
    the first sighting to it. ``quality`` is of the best picture until then, in frame
    ``best_frame``. ``seq`` counts the messages of one topic from 1 without a gap.
    """

    schema: Literal["streamer.track/1"]
    boot_id: str
    camera: Annotated[str, Meta(min_length=1)]
    epoch: Count
    seq: Size
    kind: Literal["appeared", "best", "left"]
    id: Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)]
    frame: Count
    wall_at: float
    age_ms: float
    seen_s: _Positive
    reason: Literal["", "unseen", "camera"]
    width: Size
    height: Size
    bbox: tuple[float, float, float, float]
    confidence: _Share
    keypoints: Keypoints
    best_frame: Count
    quality: Quality


def track_topic(camera: str) -> bytes:
    """The topic of one camera's comings and goings. Raises as :func:`streamer.events.topic`."""
    return topic_under(TRACK_TOPICS, camera)


def track_event(change: TrackChange, *, seq: int, boot_id: str, now_at: float) -> TrackEvent:
    """The event that tells ``change``.

    ``now_at`` is the instant of publishing, seconds of the clock that stamped the frame.
    """
    x1, y1, x2, y2 = change.box
    quality, sharpness = change.quality, change.quality.sharpness
    return TrackEvent(
        schema=TRACK_SCHEMA,
        boot_id=boot_id,
        camera=change.camera,
        epoch=change.epoch,
        seq=seq,
        kind=change.kind,
        id=change.id,
        frame=change.frame,
        wall_at=round(change.wall_at, 3),
        age_ms=round((now_at - change.at) * 1000, 3),
        seen_s=round(change.seen_s, 3),
        reason=change.reason,
        width=change.width,
        height=change.height,
        bbox=(round(x1, 2), round(y1, 2), round(x2, 2), round(y2, 2)),
        confidence=round(change.confidence, 5),
        keypoints=Keypoints(*[(round(x, 2), round(y, 2)) for x, y in change.landmarks]),
        best_frame=change.best_frame,
        quality=Quality(
            round(quality.size_px, 1),
            None if sharpness is None else round(sharpness, 1),
            round(quality.frontality, 3),
            round(quality.score, 3),
        ),
    )


decode_track: Final = Reader(TrackEvent, TRACK_SCHEMA)
"""Reads a :class:`TrackEvent`; see :meth:`streamer.events.Reader.__call__`."""


def track_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of one :class:`TrackEvent`."""
    return json_schema(TrackEvent, TRACK_SCHEMA)
