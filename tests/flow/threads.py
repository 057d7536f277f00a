"""Threads that wait inside what is tested, and what is polled because it gives no event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from streamer.flow.channel import Closed

WAIT_S = 10.0


class Item:
    """Something that can be watched while it dies."""


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ended(thread: threading.Thread) -> bool:
    thread.join(WAIT_S)
    return not thread.is_alive()


def wait_until(true: Callable[[], object]) -> None:
    """Poll for a state that gives no event (a thread that waits inside a lock)."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.001)


class Blocked:
    """A thread inside ``put`` of a channel or a lane; how it ended is read after :meth:`join`."""

    def __init__(self, way: Any, item: object) -> None:
        self.item = item
        self.closed = False

        def work() -> None:
            try:
                way.put(item)
            except Closed:
                self.closed = True

        self._thread = in_thread(work)

    def join(self) -> None:
        assert ended(self._thread), "a writer waits although nothing is in its way"

    @property
    def waits(self) -> bool:
        return self._thread.is_alive()
