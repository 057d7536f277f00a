"""The newest picture of every camera, drawn and made a JPEG only when somebody looks.

Writing costs microseconds: a reference is kept. Conversion, drawing and JPEG happen at most
once per camera, frame and width, when a viewer asks, and every viewer gets the same bytes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from streamer.types import Failure, Outcome
from streamer.vision.annotate import draw
from streamer.vision.jpeg import dim, encode

MIN_WIDTH: Final = 160
MAX_WIDTH: Final = 1920
WIDTH_STEP: Final = 160
"""Widths are rounded up to this step, so that no one can ask for a thousand different ones."""

Look: TypeAlias = Literal["live", "stale", "failed"]
"""What a viewer may believe of a picture: true now, true once, or never looked at."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture as viewers get it.

    ``sequence`` counts the outcomes of all cameras, so a larger one is newer; ``frame`` is the
    camera's frame index; ``captured_at`` is monotonic seconds; ``faces`` is None where nobody
    looked (never 0); ``width`` and ``height`` are of the JPEG, pixels.
    """

    camera: str
    sequence: int
    frame: int
    captured_at: float
    faces: int | None
    width: int
    height: int
    jpeg: bytes


@dataclass(slots=True)
class _Slot:
    """One camera: its newest outcome, and the JPEGs already made of it."""

    newest: tuple[int, Outcome] | None = None
    drawing: threading.Lock = field(default_factory=threading.Lock)
    made_of: int = 0
    made: dict[tuple[int, str], Shown] = field(default_factory=dict)


class LiveView:
    """A :class:`streamer.protocols.Sink` that keeps the newest outcome of each camera."""

    def __init__(
        self,
        camera_names: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        stale_after_s: float = 3.0,
        quality: int = 80,
    ) -> None:
        """Show ``camera_names``, in this order.

        ``clock`` is the one frames are stamped with, monotonic seconds. A picture that is
        ``stale_after_s`` seconds old is never shown as live. ``quality`` is of the JPEG, 1..100.
        """
        self.stale_after_s = stale_after_s
        self.clock = clock
        self._quality = quality
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
            slot.newest = (self._written, outcome)
            bells, self._bells = self._bells, {}
        for loop, bell in bells.items():
            try:
                loop.call_soon_threadsafe(_ring, bell)
            except RuntimeError:
                pass  # that loop has closed: nobody waits there any more

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

    def _newest(self, camera: str) -> tuple[int, Outcome] | None:
        slot = self._slots.get(camera)
        return slot.newest if slot else None

    def sequence(self, camera: str) -> int:
        """The number of the camera's newest outcome; 0 before the first."""
        newest = self._newest(camera)
        return newest[0] if newest else 0

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
        left_s = self.stale_after_s - (self.clock() - newest[1].frame.captured_at)
        return left_s if left_s > 0 else None

    def words(self, camera: str) -> str:
        """What must be written on the newest picture where only pixels are seen; "" if live."""
        newest = self._newest(camera)
        return self._words(newest[1]) if newest else ""

    def jpeg(self, camera: str, width: int, *, marked: bool = False) -> Shown | None:
        """The camera's newest picture with its faces drawn, or None before the first.

        ``width`` is rounded up to a multiple of 160 in 160..1920 and is never more than the
        original's; the aspect is kept. With ``marked``, a picture that is not live is darkened
        and says so in its pixels: for viewers that see nothing else. Safe from any thread;
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
            sequence, outcome = newest
            if slot.made_of != sequence:
                slot.made.clear()
                slot.made_of = sequence
            picture = outcome.frame.picture
            width = min(_stepped(width), picture.width)
            words = self._words(outcome) if marked else ""
            shown = slot.made.get((width, words))
            if shown is None:
                height = max(1, round(picture.height * width / picture.width))
                shown = self._make(sequence, outcome, width, height, words)
                slot.made[width, words] = shown
            return shown

    def _make(self, sequence: int, outcome: Outcome, width: int, height: int, words: str) -> Shown:
        frame = outcome.frame
        image = frame.picture.bgr(width, height).copy()
        faces: int | None = None
        if not isinstance(outcome, Failure):
            faces = len(outcome.tracks)
            draw(image, outcome.tracks, width / frame.picture.width, height / frame.picture.height)
        if words:
            dim(image, words)
        return Shown(
            camera=frame.camera,
            sequence=sequence,
            frame=frame.index,
            captured_at=frame.captured_at,
            faces=faces,
            width=width,
            height=height,
            jpeg=encode(image, self._quality),
        )

    def _words(self, outcome: Outcome) -> str:
        frame = outcome.frame
        taken = datetime.fromtimestamp(frame.wall_at, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        if self.clock() - frame.captured_at >= self.stale_after_s:
            return f"NOT LIVE since {taken}"
        return f"NOT LOOKED AT {taken}" if isinstance(outcome, Failure) else ""


def _stepped(width: int) -> int:
    return min(MAX_WIDTH, max(MIN_WIDTH, -(-width // WIDTH_STEP) * WIDTH_STEP))


def _ring(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)
