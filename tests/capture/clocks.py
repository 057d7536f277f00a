"""Time that passes only when somebody waits."""

from __future__ import annotations

import threading


class Clock:
    """Reads 100.0 seconds until moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Stop(threading.Event):
    """A stop whose waits move ``clock`` and are written down; it sets itself after ``most``."""

    def __init__(self, clock: Clock, *, most: int = 10_000) -> None:
        super().__init__()
        self.clock = clock
        self.most = most
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if timeout > 0:
            self.waits.append(timeout)
            self.clock.now += timeout
        if len(self.waits) >= self.most:
            self.set()
        return self.is_set()
