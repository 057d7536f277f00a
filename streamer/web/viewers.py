"""Who watches now, and what is made once for all of them.

Everything here runs on one event loop; what takes time runs in the pool.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Final, Literal, TypeAlias

from streamer.status import Status, ViewerStatus, Watching
from streamer.web.live import MAX_WIDTH, MIN_WIDTH, LiveView, Shown, Wish
from streamer.web.readings import status_json, to_bytes

log = logging.getLogger(__name__)

STATUS_EVERY_S: Final = 1.0
_MAX_WIDTHS: Final = 1024
"""Cameras that one message may name."""

DropReason: TypeAlias = Literal["slow", "busy", "paced"]
REASONS: Final[tuple[DropReason, ...]] = ("slow", "busy", "paced")


class Full(Exception):
    """As many watch as may."""


class Viewer:
    """One who watches: ``wake`` is set when there may be something new, ``gone`` at its end.

    ``width`` is what it asked for, pixels, None until it has, 0 for no pictures; ``widths`` are
    its exceptions, by camera. ``in_flight`` is how many pictures may be on the way to it, None
    for any number; ``sent`` and ``drawn`` count pictures, ``dropped`` those it did not get.
    ``held_at`` is when it last had no room for one, seconds of the event loop.
    """

    def __init__(
        self, number: int = 0, kind: Literal["page", "mjpeg"] = "page", entered_at: float = 0.0
    ) -> None:
        """Make a viewer that has just come."""
        self.number = number
        self.kind = kind
        self.entered_at = entered_at
        self.wake = asyncio.Event()
        self.gone = False
        self.farewell = (1001, "streamer is stopping")
        self.width: int | None = None
        self.widths: Mapping[str, int] = {}
        self.in_flight: int | None = None
        self.sent = 0
        self.drawn = 0
        self.held_at = float("-inf")
        self.dropped: dict[str, int] = dict.fromkeys(REASONS, 0)

    @property
    def has_room(self) -> bool:
        """True when one more picture may be sent."""
        return self.in_flight is None or self.sent - self.drawn < self.in_flight

    def width_of(self, camera: str) -> int:
        """The width of the pictures it wants of a camera, pixels; 0 for none."""
        return self.widths.get(camera, self.width or 0)

    def leave(self) -> None:
        """End this viewer's loop."""
        self.gone = True
        self.wake.set()

    async def nap(self, seconds: float) -> None:
        """Wait for something new, at most ``seconds``."""
        timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self.wake.set)
        try:
            await self.wake.wait()
        finally:
            timer.cancel()
        self.wake.clear()

    def hear(self, text: str) -> None:
        """Take one message. Raises ``ValueError`` with a sentence when it is none of ours."""
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError('a message must be JSON, like {"width": 640}') from None
        if not isinstance(message, dict):
            raise ValueError('a message must be a JSON object, like {"width": 640}')
        if "width" in message:
            self.width = _width(message, "width")
        if "widths" in message:
            widths = message["widths"]
            if not isinstance(widths, dict) or len(widths) > _MAX_WIDTHS:
                raise ValueError(f"widths must be an object of at most {_MAX_WIDTHS} cameras")
            self.widths = {camera: _width(widths, camera) for camera in widths}
        if "in_flight" in message:
            self.in_flight = _whole(message, "in_flight", 1, 128)
        if "drawn" in message:
            self.drawn = max(self.drawn, _whole(message, "drawn", 0, self.sent))
        self.wake.set()


def _width(message: dict[str, Any], key: str) -> int:
    if type(message[key]) is int and message[key] == 0:
        return 0
    return _whole(message, key, MIN_WIDTH, MAX_WIDTH, "0 (no pictures) or ")


def _whole(message: dict[str, Any], key: str, low: int, high: int, other: str = "") -> int:
    value = message[key]
    if type(value) is not int or not low <= value <= high:
        name = key if key in ("width", "in_flight", "drawn") else "each of widths"
        raise ValueError(f"{name} must be {other}a whole number from {low} to {high}")
    return value


class Viewers:
    """All who watch now: at most ``max_viewers``, each fed at its own speed."""

    def __init__(
        self,
        live: LiveView,
        status: Callable[[], Status],
        pool: Executor,
        *,
        max_viewers: int,
        read_limit_s: float,
    ) -> None:
        """``read_limit_s``: a viewer that takes longer to take one message is cut off."""
        self.live = live
        self.max_viewers = max_viewers
        self.read_limit_s = read_limit_s
        self._status = status
        self._pool = pool
        self._viewers: set[Viewer] = set()
        self._waking: asyncio.Task[None] | None = None
        self._making: dict[tuple[str, Wish], asyncio.Future[Shown | None]] = {}
        self._reading: asyncio.Future[str] | None = None
        self._read_at = 0.0
        self._complained: set[str] = set()
        self._stopped = False
        self._entered = 0
        self._sent = 0
        self._dropped: dict[str, int] = dict.fromkeys(REASONS, 0)
        self._cut_off = 0

    @property
    def count(self) -> int:
        """How many watch now."""
        return len(self._viewers)

    def stop(self) -> None:
        """End every viewer's loop; nobody new is let in."""
        self._stopped = True
        for viewer in self._viewers:
            viewer.leave()

    def enter(self, kind: Literal["page", "mjpeg"] = "page") -> Viewer:
        """Let one more in; :meth:`leave` must follow. Raises :class:`Full`."""
        if len(self._viewers) >= self.max_viewers or self._stopped:
            raise Full
        self._entered += 1
        viewer = Viewer(self._entered, kind, asyncio.get_running_loop().time())
        self._viewers.add(viewer)
        if self._waking is None:
            self._waking = asyncio.create_task(self._wake_all())
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget the viewer; with the last one the waiting for pictures ends too."""
        self._viewers.discard(viewer)
        if not self._viewers and self._waking is not None:
            self._waking.cancel()
            self._waking = None

    def tally(self, viewer: Viewer, missed: int, reason: DropReason) -> None:
        """Count one picture that goes to the viewer, and those before it that never will."""
        viewer.sent += 1
        self._sent += 1
        viewer.dropped[reason] += missed
        self._dropped[reason] += missed

    def count_cut_off(self) -> None:
        """Count a viewer that is sent away because it does not read."""
        self._cut_off += 1

    def watching(self) -> Watching:
        """Who watches now, and what was sent. From any thread: no dict here changes its size."""
        now = time.monotonic()  # which is what asyncio's loop goes by
        viewers = [
            ViewerStatus(
                viewer.number,
                viewer.kind,
                max(0.0, now - viewer.entered_at),
                viewer.sent,
                viewer.dropped.copy(),
            )
            for viewer in sorted(self._viewers.copy(), key=lambda viewer: viewer.number)
        ]
        return Watching(viewers, self._sent, self._dropped.copy(), self._cut_off)

    async def picture(self, camera: str, wish: Wish) -> Shown | None:
        """The newest picture, made once for all who ask meanwhile.

        None when there is none yet, or when it cannot be converted.
        """
        key = (camera, wish)
        job = self._making.get(key)
        if job is None:
            loop = asyncio.get_running_loop()
            job = loop.run_in_executor(self._pool, self._make, camera, wish)
            self._making[key] = job
            job.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(job)

    async def reading(self) -> str:
        """The status message, made once a second at most for all who ask."""
        loop = asyncio.get_running_loop()
        if self._reading is None or loop.time() - self._read_at > 0.8 * STATUS_EVERY_S:
            self._read_at = loop.time()
            self._reading = loop.run_in_executor(self._pool, self._read)
        return await asyncio.shield(self._reading)

    async def _wake_all(self) -> None:
        """Tell every viewer when there is something new."""
        seen = -1
        while True:
            seen = await self.live.wait(seen)
            for viewer in self._viewers:
                viewer.wake.set()

    def _make(self, camera: str, wish: Wish) -> Shown | None:
        """In the pool. A picture that cannot be converted is no picture; it is logged once."""
        try:
            return self.live.jpeg(
                camera, wish.width, quality=wish.quality, boxes=wish.boxes, marked=wish.marked
            )
        except Exception as error:  # noqa: BLE001 - one bad picture must not end the view
            if camera not in self._complained:
                self._complained.add(camera)
                # The type alone: the text of a decoder's error may hold the camera's URL.
                log.warning("camera %r: a picture cannot be shown (%s)", camera, type(error))
            return None

    def _read(self) -> str:
        """In the pool: the status message."""
        reading = status_json(self._status(), now=self.live.clock())
        message = {"type": "status", "stale_after_s": self.live.stale_after_s, **reading}
        return to_bytes(message).decode()
