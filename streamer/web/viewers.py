"""Who watches now, and what is made once for all of them.

Everything here runs on one event loop; what takes time runs in the pool.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final

from streamer.status import Status
from streamer.web.live import MAX_WIDTH, MIN_WIDTH, LiveView, Shown
from streamer.web.readings import status_json, to_bytes

log = logging.getLogger(__name__)

STATUS_EVERY_S: Final = 1.0


class Full(Exception):
    """As many watch as may."""


class Viewer:
    """One who watches: ``wake`` is set when there may be something new, ``gone`` at its end.

    ``width`` is what it asked for, pixels, None until it has. ``in_flight`` is how many pictures
    may be on the way to it, None for any number; ``sent`` and ``drawn`` count pictures.
    """

    def __init__(self) -> None:
        """Make a viewer that has just come."""
        self.wake = asyncio.Event()
        self.gone = False
        self.farewell = (1001, "streamer is stopping")
        self.width: int | None = None
        self.in_flight: int | None = None
        self.sent = 0
        self.drawn = 0

    @property
    def has_room(self) -> bool:
        """True when one more picture may be sent."""
        return self.in_flight is None or self.sent - self.drawn < self.in_flight

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
            self.width = _whole(message, "width", MIN_WIDTH, MAX_WIDTH)
        if "in_flight" in message:
            self.in_flight = _whole(message, "in_flight", 1, 64)
        if "drawn" in message:
            self.drawn = max(self.drawn, _whole(message, "drawn", 0, self.sent))
        self.wake.set()


def _whole(message: dict[str, Any], key: str, low: int, high: int) -> int:
    value = message[key]
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{key} must be a whole number from {low} to {high}")
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
        self._making: dict[tuple[str, int, bool], asyncio.Future[Shown | None]] = {}
        self._reading: asyncio.Future[str] | None = None
        self._read_at = 0.0
        self._complained: set[str] = set()
        self._stopped = False

    @property
    def count(self) -> int:
        """How many watch now."""
        return len(self._viewers)

    def stop(self) -> None:
        """End every viewer's loop; nobody new is let in."""
        self._stopped = True
        for viewer in self._viewers:
            viewer.leave()

    def enter(self) -> Viewer:
        """Let one more in; :meth:`leave` must follow. Raises :class:`Full`."""
        if len(self._viewers) >= self.max_viewers or self._stopped:
            raise Full
        viewer = Viewer()
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

    async def picture(self, camera: str, width: int, *, marked: bool) -> Shown | None:
        """The newest picture, made once for all who ask meanwhile.

        None when there is none yet, or when it cannot be converted.
        """
        key = (camera, width, marked)
        job = self._making.get(key)
        if job is None:
            loop = asyncio.get_running_loop()
            job = loop.run_in_executor(self._pool, self._make, camera, width, marked)
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

    def _make(self, camera: str, width: int, marked: bool) -> Shown | None:
        """In the pool. A picture that cannot be converted is no picture; it is logged once."""
        try:
            return self.live.jpeg(camera, width, marked=marked)
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
