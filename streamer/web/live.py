"""The newest picture of every camera, drawn and made a JPEG only when somebody looks.

Writing costs microseconds: a reference is kept. Conversion, drawing and JPEG happen at most
once per camera, frame and :class:`Wish`, when a viewer asks, and every viewer gets the same bytes.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from streamer.types import CameraChange, Failure, Outcome, Tracks
from streamer.vision.annotate import draw
from streamer.vision.jpeg import dim, encode
from streamer.vision.privacy import Mode, mode_of

MIN_WIDTH: Final = 160
MAX_WIDTH: Final = 1920
WIDTH_STEP: Final = 160
"""Widths are rounded up to this step, so that no one can ask for a thousand different ones."""
MIN_QUALITY: Final = 10
MAX_QUALITY: Final = 95
QUALITY_STEP: Final = 5
"""Qualities are rounded up to this step, for the same reason."""
CHANGES_KEPT: Final = 32
"""The newest changes of each camera that are kept for people to see."""

Look: TypeAlias = Literal["live", "stale", "failed"]
"""What a viewer may believe of a picture: true now, true once, or never looked at."""


class Wish(NamedTuple):
    """How a viewer wants its pictures.

    ``width`` pixels, rounded up to a multiple of 160 in 160..1920; ``quality`` of the JPEG,
    rounded up to a multiple of 5 in 10..95; ``boxes``: what was found is drawn in the pixels;
    ``marked``: a picture that is not live is darkened and says so in its pixels.
    """

    width: int = 640
    quality: int = 80
    boxes: bool = True
    marked: bool = True


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture as viewers get it.

    ``sequence`` counts the outcomes of all cameras, so a larger one is newer; ``number`` counts
    this camera's alone, from 1; ``epoch`` and ``frame`` are the camera's; ``captured_at`` is
    monotonic seconds; ``privacy`` is how faces were covered when it was asked for; ``faces`` is
    None where nobody looked (never 0); ``found`` is JSON, what :func:`found_json` makes; ``width``
    and ``height`` are of the JPEG, pixels.
    """

    camera: str
    sequence: int
    number: int
    frame: int
    captured_at: float
    faces: int | None
    found: bytes
    width: int
    height: int
    jpeg: bytes
    epoch: int = 0
    privacy: Mode = "none"


@dataclass(slots=True)
class _Slot:
    """One camera: its newest outcome, and the JPEGs already made of it."""

    newest: tuple[int, int, Outcome] | None = None
    """Its number among the outcomes of all cameras, and among this camera's; itself."""
    changes: deque[CameraChange] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    changed: int = 0
    down_at: float | None = None
    drawing: threading.Lock = field(default_factory=threading.Lock)
    made_of: int = 0
    made: dict[tuple[int, int, bool, str, Mode], Shown] = field(default_factory=dict)


class LiveView:
    """A :class:`streamer.protocols.ChangeSink` that keeps the newest outcome of each camera."""

    def __init__(
        self,
        camera_names: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        stale_after_s: float = 3.0,
    ) -> None:
        """Show ``camera_names``, in this order.

        ``clock`` is the one frames are stamped with, monotonic seconds. A picture that is
        ``stale_after_s`` seconds old is never shown as live.
        """
        self.stale_after_s = stale_after_s
        self.clock = clock
        self._slots = {name: _Slot() for name in camera_names}
        self._lock = threading.Lock()
        self._written = 0
        self._bells: dict[asyncio.AbstractEventLoop, asyncio.Future[None]] = {}

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras shown now, in order."""
        return tuple(self._slots)

    def show(self, camera_names: Sequence[str]) -> None:
        """Show these cameras from now on; those that were shown already keep their pictures."""
        with self._lock:
            before = self._slots
            self._slots = {name: before.get(name) or _Slot() for name in camera_names}

    def write(self, outcome: Outcome) -> None:
        """Keep ``outcome`` as its camera's newest; wake whoever waits. Costs microseconds.

        What comes late of a camera that is shown no more is let go.
        """
        with self._lock:
            slot = self._slots.get(outcome.frame.camera)
            if slot is None:
                return
            self._written += 1
            slot.newest = (self._written, slot.newest[1] + 1 if slot.newest else 1, outcome)
            bells, self._bells = self._bells, {}
        for loop, bell in bells.items():
            try:
                loop.call_soon_threadsafe(_ring, bell)
            except RuntimeError:
                pass  # that loop has closed: nobody waits there any more

    def write_change(self, change: CameraChange) -> None:
        """Keep what a camera does from now on, among the newest few.

        A camera that is dialled again and again, and fails in the same way, is told once.
        """
        with self._lock:
            slot = self._slots.get(change.camera)
            if slot is None:
                return
            if change.state == "live":
                slot.down_at = None
            elif slot.down_at is None:
                slot.down_at = change.since_at
            if not slot.changes or not _same(slot.changes[-1], change):
                slot.changes.append(change)
                slot.changed += 1

    def changes(self, camera: str) -> tuple[int, float | None, list[CameraChange]]:
        """What the camera did: how many changes there were, and the newest 32, oldest first.

        Between them: since when it is not live, monotonic seconds; None while it is.
        """
        with self._lock:
            slot = self._slots.get(camera)
            return (slot.changed, slot.down_at, list(slot.changes)) if slot else (0, None, [])

    def close(self) -> None:
        """Let go of every picture."""
        with self._lock:
            for slot in self._slots.values():
                slot.newest = None
        for slot in self._slots.values():
            with slot.drawing:
                slot.made.clear()

    async def wait(self, seen: int) -> int:
        """Wait until more than ``seen`` outcomes were written; return how many were.

        All who wait on one event loop share one wake-up, so that a write costs the same with
        one viewer and with thirty. Begin with ``seen=-1``.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._written > seen:
                return self._written
            bell = self._bells.get(loop)
            if bell is None:
                bell = self._bells[loop] = loop.create_future()
        await asyncio.wait((bell,))  # unlike "await bell", cancelling this leaves the bell whole
        return self._written

    def _newest(self, camera: str) -> tuple[int, int, Outcome] | None:
        slot = self._slots.get(camera)
        return slot.newest if slot else None

    def sequence(self, camera: str) -> int:
        """The number of the camera's newest outcome; 0 before the first."""
        newest = self._newest(camera)
        return newest[0] if newest else 0

    def privacy(self, camera: str) -> Mode:
        """How faces are covered now in the camera's newest picture; "none" before the first."""
        newest = self._newest(camera)
        return mode_of(newest[2].frame.picture) if newest else "none"

    def age_s(self, shown: Shown) -> float:
        """How old the picture is now, seconds since capture."""
        return max(0.0, self.clock() - shown.captured_at)

    def look(self, shown: Shown) -> Look:
        """What a viewer may believe of ``shown`` at this instant."""
        if self.age_s(shown) >= self.stale_after_s:
            return "stale"
        return "live" if shown.faces is not None else "failed"

    def stale_in_s(self, camera: str) -> float | None:
        """Seconds until the newest picture goes stale; None when it is stale or there is none."""
        newest = self._newest(camera)
        if newest is None:
            return None
        left_s = self.stale_after_s - (self.clock() - newest[2].frame.captured_at)
        return left_s if left_s > 0 else None

    def words(self, camera: str) -> str:
        """What must be written on the newest picture where only pixels are seen; "" if live."""
        newest = self._newest(camera)
        return self._words(newest[2]) if newest else ""

    def jpeg(
        self,
        camera: str,
        width: int,
        *,
        quality: int = 80,
        boxes: bool = True,
        marked: bool = False,
    ) -> Shown | None:
        """The camera's newest picture as a :class:`Wish` says, or None before the first.

        It is never wider than the original; the aspect is kept. Safe from any thread;
        whoever asks for what is being made waits and gets the same bytes. Whatever the picture
        raises on conversion comes through.
        """
        slot = self._slots.get(camera)
        if slot is None:
            return None
        with slot.drawing:
            newest = slot.newest
            if newest is None:
                return None
            sequence, number, outcome = newest
            if slot.made_of != sequence:
                slot.made.clear()
                slot.made_of = sequence
            width = min(
                _stepped(width, WIDTH_STEP, MIN_WIDTH, MAX_WIDTH), outcome.frame.picture.width
            )
            quality = _stepped(quality, QUALITY_STEP, MIN_QUALITY, MAX_QUALITY)
            words = self._words(outcome) if marked else ""
            key = width, quality, boxes, words, mode_of(outcome.frame.picture)
            shown = slot.made.get(key)
            if shown is None:
                shown = replace(
                    _make(sequence, number, outcome, width, quality, boxes, words), privacy=key[-1]
                )
                slot.made[key] = shown
            return shown

    def _words(self, outcome: Outcome) -> str:
        frame = outcome.frame
        taken = datetime.fromtimestamp(frame.wall_at, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        if self.clock() - frame.captured_at >= self.stale_after_s:
            return f"NOT LIVE since {taken}"
        return f"NOT LOOKED AT {taken}" if isinstance(outcome, Failure) else ""


def _make(
    sequence: int, number: int, outcome: Outcome, width: int, quality: int, boxes: bool, words: str
) -> Shown:
    frame = outcome.frame
    height = max(1, round(frame.picture.height * width / frame.picture.width))
    scale = width / frame.picture.width, height / frame.picture.height
    image = frame.picture.bgr(width, height).copy()
    tracks = None if isinstance(outcome, Failure) else outcome.tracks
    if boxes and tracks is not None:
        draw(image, tracks, *scale, covered=mode_of(frame.picture) != "none")
    if words:
        dim(image, words)
    return Shown(
        camera=frame.camera,
        sequence=sequence,
        number=number,
        frame=frame.index,
        captured_at=frame.captured_at,
        faces=None if tracks is None else len(tracks),
        found=b"null" if tracks is None else found_json(tracks, *scale),
        width=width,
        height=height,
        jpeg=encode(image, quality),
        epoch=frame.epoch,
    )


def found_json(tracks: Tracks, scale_x: float, scale_y: float) -> bytes:
    """The faces as a JSON array of rows of 17 numbers, for who draws them himself.

    A row: id; confidence, 0..1; milliseconds since the face was found (0: in this picture; else
    it was predicted); x1, y1, x2, y2; then x and y of the five points in the order of
    :data:`streamer.types.LANDMARKS`. Pixels of the original times ``scale_x`` and ``scale_y``.
    """
    scale = np.array([scale_x, scale_y], np.float32)
    corners = (tracks.faces.boxes.reshape(-1, 2, 2) * scale).reshape(-1, 4)
    points = (tracks.faces.landmarks * scale).reshape(-1, 10)
    places = np.round(np.hstack([corners, points]).astype(np.float64), 1).tolist()
    scores = np.round(tracks.faces.scores.astype(np.float64), 3).tolist()
    ages_ms = np.round(tracks.ages_s.astype(np.float64) * 1e3).astype(int).tolist()
    heads = zip(tracks.ids.tolist(), scores, ages_ms, strict=True)
    rows = [[*head, *place] for head, place in zip(heads, places, strict=True)]
    return json.dumps(rows, allow_nan=False, separators=(",", ":")).encode()


def _same(before: CameraChange, change: CameraChange) -> bool:
    """Whether ``change`` says no more than that the camera is still lost."""
    if "live" in (before.state, change.state):
        return False
    return change.state == "connecting" or (
        (before.state, before.reason) == (change.state, change.reason)
    )


def _stepped(value: int, step: int, least: int, most: int) -> int:
    return min(most, max(least, -(-value // step) * step))


def _ring(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)
