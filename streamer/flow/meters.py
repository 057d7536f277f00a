"""Numbers that stages write and others read: rates, counts and durations."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

BUCKETS_S: Final = (
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 2.0, 5.0,
)  # fmt: skip
"""Upper bounds in seconds of the buckets of every duration histogram, 1 ms to 5 s."""

MOST_TICKS: Final = 4096
"""Ticks that a :class:`Rate` remembers, 32 KiB; more a window shorten the window, not the rate."""


@dataclass(frozen=True, slots=True)
class DurationStats:
    """One consistent reading of :class:`Durations`: per-bucket counts (not cumulative)."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float

    @property
    def count(self) -> int:
        """How many durations were observed."""
        return sum(self.counts)


NO_DURATIONS: Final = DurationStats((), (0,), 0.0)
"""A reading before anything was observed, without buckets."""


class Durations:
    """A histogram of durations for ever, and the exact last ``recent`` ones for quantiles."""

    def __init__(self, *, bounds: Sequence[float] = BUCKETS_S, recent: int = 512) -> None:
        """``bounds`` are ascending upper bounds in seconds; the last bucket is beyond them."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum_s = 0.0
        self._recent: deque[float] = deque(maxlen=recent)
        self._lock = threading.Lock()

    def observe(self, seconds: float) -> None:
        """Add one duration."""
        with self._lock:
            self._counts[bisect_left(self._bounds, seconds)] += 1
            self._sum_s += seconds
            self._recent.append(seconds)

    def stats(self) -> DurationStats:
        """A consistent reading of the histogram."""
        with self._lock:
            return DurationStats(self._bounds, tuple(self._counts), self._sum_s)

    def quantile(self, q: float) -> float | None:
        """The ``q`` quantile (0..1) of the recent durations; None without any.

        By nearest rank: the least duration that at least the share ``q`` of them do not exceed.
        Raises ``ValueError`` when ``q`` is outside 0..1.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile is from 0 to 1, not {q}")
        with self._lock:
            recent = list(self._recent)
        if not recent:
            return None
        return sorted(recent)[max(0, math.ceil(q * len(recent)) - 1)]


class Rate:
    """Events per second over a sliding window."""

    def __init__(self, clock: Callable[[], float], *, window_s: float = 5.0) -> None:
        """Count by ``clock``, seconds, over ``window_s``, at least 1 second."""
        if window_s < 1.0:
            raise ValueError(f"the window of a rate is at least 1 second, not {window_s}")
        self._clock = clock
        self._window_s = window_s
        self._started_at = clock()
        self._ticks: deque[float] = deque(maxlen=MOST_TICKS)
        self._count = 0
        self._lock = threading.Lock()

    def tick(self) -> None:
        """Count one event now."""
        now = self._clock()
        with self._lock:
            self._count += 1
            self._ticks.append(now)
            self._forget(now)

    def per_second(self) -> float:
        """Events per second over the window, or since the start while it is younger.

        In its first second it is the number of events so far: a rate is never more than was
        really counted in a second.
        """
        now = self._clock()
        with self._lock:
            self._forget(now)
            if not self._ticks:
                return 0.0
            if len(self._ticks) == MOST_TICKS:  # older ticks were let go: count since the oldest
                return MOST_TICKS / max(now - self._ticks[0], 1e-3)
            return len(self._ticks) / min(self._window_s, max(now - self._started_at, 1.0))

    def count(self) -> int:
        """All events so far."""
        with self._lock:
            return self._count

    def _forget(self, now: float) -> None:
        while self._ticks and self._ticks[0] < now - self._window_s:
            self._ticks.popleft()
