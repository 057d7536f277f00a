"""How much one address may ask for: a bucket that fills by the second. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MOST_ADDRESSES: Final = 4096
"""Addresses remembered; the one that was heard least lately is forgotten."""


class Rates:
    """A bucket of ``burst`` for each address, filled with ``per_s`` a second."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float]) -> None:
        """All buckets are full. ``clock`` is monotonic seconds."""
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> bool:
        """Take one out of the bucket of ``address``; False when it is empty."""
        now = self._clock()
        left = self._left_at(address, now)
        self._left.pop(address, None)
        allowed = left >= 1.0
        self._left[address] = (left - allowed, now)
        if len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)
        return allowed

    def wait_s(self, address: str) -> float:
        """Seconds until one can be taken out of the bucket of ``address``; 0 when it can be now."""
        return max(0.0, (1.0 - self._left_at(address, self._clock())) / self._per_s)

    def _left_at(self, address: str, now: float) -> float:
        left, at = self._left.get(address, (self._burst, now))
        return min(self._burst, left + (now - at) * self._per_s)
