"""The wire: what streamer says to other programs, apart from its own types and versioned.

One message for each outcome of each camera (:class:`FacesEvent`), one for each change of what
the camera itself does (:class:`CameraEvent`), and one for each face that comes or goes
(:mod:`streamer.track_events`). A ZeroMQ message is two parts, the topic
(:func:`topic`, :func:`camera_topic`) and JSON, or MessagePack where that was chosen; a line of
JSON lines is that JSON alone.
Readers ignore fields they do not know, so a field may be added within version 1; a field that
changes or goes makes version 2.

Coordinates are pixels of the original frame, left and right as seen in the picture. Pixels are
rounded to 2 decimals and confidences to 5, far finer than a detector is right.

Nothing here loads numpy, so that a subscriber need not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from streamer.errors import StreamerError

if TYPE_CHECKING:
    from streamer.types import CameraChange, Outcome, Tracks

SCHEMA: Final = "streamer.faces/1"
"""Name and version of the wire's schema."""

CAMERA_SCHEMA: Final = "streamer.camera/1"
"""Name and version of the schema of changes of cameras."""

TOPICS: Final = b"faces/"
"""What the topics of faces begin with: subscribe to it to hear all cameras."""

CAMERA_TOPICS: Final = b"camera/"
"""What the topics of changes begin with."""

MAX_MESSAGE_BYTES: Final = 4 * 2**20
"""Longest message: 1000 faces with pictures, or a heartbeat of 1000 cameras, have half of it."""

_EXACT = 2**53 - 1  # the largest whole number that every JSON reader keeps exactly
Count = Annotated[int, Meta(ge=0, le=_EXACT)]
Size = Annotated[int, Meta(ge=1, le=_EXACT)]
Point = tuple[float, float]


class MalformedEvent(StreamerError, ValueError):
    """Bytes that are not one event of this schema. The text is one sentence and says why."""


class Keypoints(msgspec.Struct, frozen=True, gc=False):
    """Five points of a face, each x, y in pixels of the original frame.

    In the order of :data:`streamer.types.LANDMARKS`; left and right as seen in the picture.
    """

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point


class Face(msgspec.Struct, frozen=True, gc=False):
    """One face. ``bbox`` is x1, y1, x2, y2 in pixels of the original frame.

    ``id`` stays with a face over frames and is never reused by the camera in this run. ``source``
    "detected": found in this frame; "predicted": expected here from the frames before, and last
    found ``age_ms`` milliseconds ago (0 where detected): half a second at most, or since the last
    look at a scene in which nothing moved. ``expected``, where asked for: the box where the face
    is expected at the instant of publishing, ``age_ms`` of the event after the frame.
    """

    id: Annotated[int, Meta(ge=-_EXACT, le=_EXACT)]
    bbox: tuple[float, float, float, float]
    confidence: Annotated[float, Meta(ge=0, le=1)]
    keypoints: Keypoints
    source: Literal["detected", "predicted"] = "detected"
    age_ms: Annotated[float, Meta(ge=0)] = 0.0
    expected: tuple[float, float, float, float] | msgspec.UnsetType = msgspec.UNSET


class Attached(msgspec.Struct, frozen=True, gc=False):
    """A JPEG (base64 in JSON) of the face ``id``, or of the frame where that is null; pixels."""

    id: Annotated[int, Meta(ge=-_EXACT, le=_EXACT)] | None
    width: Size
    height: Size
    jpeg: bytes


class FacesEvent(msgspec.Struct, frozen=True):
    """What was found in one frame of one camera.

    ``status`` "detected" comes with ``faces``, best first and perhaps empty; so does "tracked",
    of a frame that was not looked at, whose faces are all predicted; "failed" means that
    the frame could not be looked at and comes with ``faces`` None, so that no failure looks like
    "nobody there". ``seq`` counts the messages of one topic from 1 without a gap: a gap means
    lost messages. A new ``boot_id`` means a new run, which counts from 1 again.

    ``wall_at`` is Unix seconds (UTC) of capture, for people; ``age_ms`` is milliseconds from
    capture to publishing by a clock that never jumps. ``epoch`` grows by one at each reconnection
    of the camera; ``frame`` counts its frames from 0. ``width`` and ``height`` are pixels
    of the original frame. ``pictures`` is there only where pictures are attached to this event.
    Raises ``ValueError`` when ``status`` and ``faces`` disagree.
    """

    schema: Literal["streamer.faces/1"]
    boot_id: str
    camera: Annotated[str, Meta(min_length=1)]
    epoch: Count
    frame: Count
    seq: Size
    wall_at: float
    age_ms: float
    status: Literal["detected", "tracked", "failed"]
    width: Size
    height: Size
    model: str
    faces: tuple[Face, ...] | None
    pictures: tuple[Attached, ...] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        """Check that a failure has no faces and anything else has a list of them."""
        if (self.status == "failed") != (self.faces is None):
            raise ValueError("faces must be null when status is failed, and a list otherwise")


class CameraEvent(msgspec.Struct, frozen=True):
    """What a camera does from now on; only ``live`` means that pictures come.

    ``reason`` is one of a closed set and ``detail`` one sentence for people; both are empty while
    all is well. ``frozen``: pictures come, but have not changed for long.
    ``epoch`` is the number of the camera's newest life, null before the first.
    ``retry_in_ms`` is when it will be dialled again, where that is known.

    ``seq`` counts the messages of one topic from 1 without a gap. ``wall_at`` is Unix seconds
    (UTC) of the change, for people; ``age_ms`` is milliseconds from the change to publishing.
    Changes are looked for four times a second: what lasts less may be passed over, what lasts is
    always told.
    """

    schema: Literal["streamer.camera/1"]
    boot_id: str
    camera: Annotated[str, Meta(min_length=1)]
    seq: Size
    wall_at: float
    age_ms: float
    state: Literal["connecting", "live", "stalled", "backing_off", "refused", "ended", "stopped"]
    reason: str
    detail: str
    frozen: bool
    epoch: Count | None
    retry_in_ms: float | None


E = TypeVar("E", bound=msgspec.Struct)

Format: TypeAlias = Literal["json", "msgpack"]
"""How events are written. The first byte of a message tells: ``{`` begins JSON, and 0x80 or above a
map of MessagePack with the same fields."""

_ENCODERS: Final[dict[Format, Callable[[Any], bytes]]] = {
    "json": msgspec.json.Encoder().encode,
    "msgpack": msgspec.msgpack.Encoder().encode,
}


def topic(camera: str) -> bytes:
    """The topic of one camera's faces: ``b"faces/<camera>/"``.

    The slash at the end keeps ``cam1`` from hearing ``cam10``, for ZeroMQ matches by prefix.
    Raises ``ValueError`` for an empty name or one that holds a slash.
    """
    return topic_under(TOPICS, camera)


def camera_topic(camera: str) -> bytes:
    """The topic of one camera's changes: ``b"camera/<camera>/"``. Raises as :func:`topic`."""
    return topic_under(CAMERA_TOPICS, camera)


@lru_cache(maxsize=4096)
def topic_under(topics: bytes, camera: str) -> bytes:
    """The topic of a camera among those that begin with ``topics``. Raises as :func:`topic`."""
    if not camera or "/" in camera:
        raise ValueError(f"a camera's name must not be empty or hold a slash, as {camera!r} does")
    return b"%s%s/" % (topics, camera.encode())


def faces_event(
    outcome: Outcome, *, seq: int, boot_id: str, model: str, now_at: float,
    pictures: tuple[Attached, ...] = (),
) -> FacesEvent:  # fmt: skip
    """The event that tells ``outcome``, with ``pictures`` where there are any.

    ``now_at`` is the instant of publishing, seconds of the clock that stamped the frame. Raises
    ``ValueError`` when a number in the result is not finite: JSON cannot say it.
    """
    frame = outcome.frame
    return FacesEvent(
        SCHEMA,
        boot_id,
        frame.camera,
        frame.epoch,
        frame.index,
        seq,
        round(frame.wall_at, 3),
        round((now_at - frame.captured_at) * 1000, 3),
        outcome.status,
        frame.picture.width,
        frame.picture.height,
        model,
        None if outcome.status == "failed" else _faces(outcome.tracks),
        pictures or msgspec.UNSET,
    )


def camera_event(change: CameraChange, *, seq: int, boot_id: str, now_at: float) -> CameraEvent:
    """The event that tells ``change``; ``now_at`` is the instant of publishing, as above."""
    retry_at = change.retry_at
    return CameraEvent(
        CAMERA_SCHEMA,
        boot_id,
        change.camera,
        seq,
        round(change.wall_at, 3),
        round((now_at - change.since_at) * 1000, 3),
        change.state,
        change.reason,
        change.detail,
        change.frozen,
        change.epoch,
        None if retry_at is None else round(max(0.0, retry_at - now_at) * 1000, 3),
    )


def _faces(tracks: Tracks) -> tuple[Face, ...]:
    """The faces of a result, rounded.

    Number by number, not as arrays: after a pause, when nothing of numpy is in the processor's
    caches, that takes half the time (22 us for five faces), and a third more without one (12 us).
    """
    faces = tracks.faces
    rows = zip(
        tracks.ids.tolist(), faces.boxes.tolist(), faces.scores.tolist(),
        faces.landmarks.tolist(), tracks.ages_s.tolist(), strict=True,
    )  # fmt: skip
    try:
        return tuple(
            [
                Face(
                    number,
                    (
                        round(x1 * 100) / 100,
                        round(y1 * 100) / 100,
                        round(x2 * 100) / 100,
                        round(y2 * 100) / 100,
                    ),
                    round(score * 100_000) / 100_000,
                    Keypoints(
                        (round(ax * 100) / 100, round(ay * 100) / 100),
                        (round(bx * 100) / 100, round(by * 100) / 100),
                        (round(cx * 100) / 100, round(cy * 100) / 100),
                        (round(dx * 100) / 100, round(dy * 100) / 100),
                        (round(ex * 100) / 100, round(ey * 100) / 100),
                    ),
                    "predicted" if age_s else "detected",
                    round(age_s * 10_000) / 10,
                )
                for number, (x1, y1, x2, y2), score, points, age_s in rows
                for (ax, ay), (bx, by), (cx, cy), (dx, dy), (ex, ey) in (points,)
            ]
        )
    except (ValueError, OverflowError):  # so round() says it
        raise ValueError(
            "a box, a score or a landmark is not a finite number; it is not published"
        ) from None


def encode(event: msgspec.Struct | dict[str, Any], form: Format = "json") -> bytes:
    """The event of the wire, or its fields, as one line of UTF-8 JSON, or as MessagePack."""
    return _ENCODERS[form](event)


class Reader(Generic[E]):
    """Reads events of one ``kind``, whose schema is ``schema``, in either format."""

    def __init__(self, kind: type[E], schema: str) -> None:
        """Read nothing yet."""
        self._schema = schema
        self._json = msgspec.json.Decoder(kind)
        self._msgpack = msgspec.msgpack.Decoder(kind)

    def __call__(self, data: bytes) -> E:
        """The event in ``data``, checked; fields that the schema does not name are ignored.

        The caller bounds the length of ``data``. Of a key given twice the last one counts. Raises
        :class:`MalformedEvent`, and nothing else, for any other bytes.
        """
        try:
            if data[:1] < b"\x80":
                return self._json.decode(data)
            # What MessagePack can say and JSON cannot, such as NaN, is refused on the way.
            return self._json.decode(encode(self._msgpack.decode(data)))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            said = str(error)  # it may quote the data: keep it short and safe to print
            reason = "".join(c if c.isprintable() else "?" for c in said[:200])
            if said.endswith("`$.schema`"):
                reason += "; use the client that came with the streamer that publishes"
            raise MalformedEvent(f"not an event of {self._schema}: {reason}") from None


decode: Final = Reader(FacesEvent, SCHEMA)
"""Reads a :class:`FacesEvent`; see :meth:`Reader.__call__`."""

decode_camera: Final = Reader(CameraEvent, CAMERA_SCHEMA)
"""Reads a :class:`CameraEvent`."""


def camera_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of one :class:`CameraEvent`."""
    return json_schema(CameraEvent, CAMERA_SCHEMA)


def json_schema(event: type[msgspec.Struct], title: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``event``, named ``title``."""
    described = msgspec.json.schema(event)
    for definition in described["$defs"].values():
        definition["description"] = cleandoc(definition["description"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **described}


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of one :class:`FacesEvent`, for other languages."""
    described = json_schema(FacesEvent, SCHEMA)
    definition = described["$defs"]["FacesEvent"]
    # The types alone do not say that null faces and a failure are the same thing.
    definition["if"] = {"properties": {"status": {"const": "failed"}}}
    definition["then"] = {"properties": {"faces": {"type": "null"}}}
    definition["else"] = {"properties": {"faces": {"type": "array"}}}
    return described
