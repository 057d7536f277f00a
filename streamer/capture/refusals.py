"""Sources that were refused, and until when they are left alone: it outlives their cameras.

Cameras lock an account after a few wrong passwords. So the wait that
:mod:`streamer.capture.backoff` promises belongs to the source, which is address, login and path,
and not to the camera of that name: whoever pauses and resumes it, edits something else of it, or
removes it and adds it again, under whatever name, waits for the rest. With another user name or
password it is another source, which is dialled at once: a person has just written it.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from streamer.capture.urls import BadUrl, canonical_url
from streamer.errors import SourceLost
from streamer.types import SourceUrl

LOOK_S: Final = 0.1
"""How often it is looked whether a wait for another's dial is to end, seconds."""

MOST: Final = 1024
"""So many refusals are remembered; beyond them the one whose wait is over first is forgotten."""


class Refusal(NamedTuple):
    """Why a source was refused, how many seconds it is left alone yet, how often it was, from 1."""

    lost: SourceLost
    wait_s: float
    times: int


class Refusals:
    """Which sources may not be dialled yet, by :meth:`key`; from any thread."""

    def __init__(self, *, clock: Callable[[], float], most: int = MOST) -> None:
        """Nothing was refused yet; ``most`` refusals are remembered, above 0."""
        self._clock = clock
        self._most = most
        self._salt = os.urandom(16)  # what is kept after a camera is gone tells no password
        self._lock = threading.Lock()
        self._decided = threading.Condition(self._lock)
        self._held: dict[bytes, tuple[float, SourceLost, int]] = {}  # the first: when it is due
        self._dialling: dict[bytes, set[threading.Event]] = {}

    def key(self, url: SourceUrl) -> bytes:
        """What stands for a source here: the same however its host and port are written."""
        text = url.reveal()
        try:
            text = canonical_url(text)
        except BadUrl:
            pass  # no camera of the network: its text is all there is
        known = text.encode(errors="replace")
        return hashlib.blake2b(known, key=self._salt, digest_size=16).digest()

    @contextmanager
    def dial(self, key: bytes, stop: threading.Event) -> Iterator[None]:
        """One dial of a source by a camera that ends by ``stop``.

        In it the camera tells by :meth:`hold` or :meth:`let_in` what came of the dial.
        """
        with self._lock:
            self._dialling.setdefault(key, set()).add(stop)
        try:
            yield
        finally:
            with self._lock:
                self._decide(key, stop)

    def let_in(self, key: bytes, stop: threading.Event) -> None:
        """A picture came of the dial: nothing is held against the source any more."""
        with self._lock:
            self._held.pop(key, None)
            self._decide(key, stop)

    def _decide(self, key: bytes, stop: threading.Event) -> None:
        dialling = self._dialling.get(key, set())
        dialling.discard(stop)
        if not dialling:
            self._dialling.pop(key, None)
        self._decided.notify_all()

    def hold(self, key: bytes, lost: SourceLost, wait_s: float, times: int) -> None:
        """The source was refused, the ``times``-th time: leave it alone for ``wait_s`` seconds."""
        now = self._clock()
        with self._lock:
            kept = {k: held for k, held in self._held.items() if held[0] > now and k != key}
            while len(kept) >= self._most:
                del kept[min(kept, key=lambda k: kept[k][0])]
            self._held = {**kept, key: (now + wait_s, lost, times)}

    def held(self, key: bytes) -> Refusal | None:
        """The refusal whose wait is not over; None where the source may be dialled."""
        with self._lock:
            due_at, lost, times = self._held.get(key, (-math.inf, None, 0))
        left_s = due_at - self._clock()
        return Refusal(lost, left_s, times) if lost is not None and left_s > 0 else None

    def await_verdict(self, key: bytes, stop: threading.Event, most_s: float) -> None:
        """Wait for dials of cameras that have been stopped, ``most_s`` seconds at most.

        A dial cannot be interrupted: that of a camera that was paused or removed may yet be
        refused. Cameras that go on are not waited for. It ends soon after ``stop``.
        """
        until = time.monotonic() + most_s
        with self._lock:
            while any(other.is_set() for other in self._dialling.get(key, ())):
                if stop.is_set() or time.monotonic() >= until:
                    return
                self._decided.wait(LOOK_S)
