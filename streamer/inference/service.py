"""How long inference takes, by kind and size of batch: held from what was measured. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from typing import Final

RECENT: Final = 32
"""Runs of one size that are remembered: half a second of work at 60 runs a second, so that what
was slow under a load that is gone is soon forgotten."""

QUANTILE: Final = 0.95
"""Of the recent runs: one odd run in 32 does not count, two do."""

PAYS: Final = 1.15
"""Batching pays when two together are done so many times as fast as one by one (Triton and
Clipper batch by measured gain; on a CPU it is 1.0 to 1.2, on a GPU 1.7 to 2)."""

_KINDS: Final = 64
_MEMORY: Final = 0.98  # throughput is of the last 50 runs or so
_LONG: Final = 500  # runs of a kind over which "usual" goes
_KNOWN: Final = 5  # runs before it is known: the first of all may be slow
_RATIOS: Final = 9  # of runs to what is usual for their kind: the median of these is the load


class ServiceTimes:
    """What was measured, and what is expected from it. Not locked: its owner is.

    Times are seconds, sizes are items served together. Nothing is extrapolated downwards: an
    unknown size is held to take no less than a smaller one and no more than its parts.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._runs: dict[Hashable, dict[int, deque[float]]] = {}
        self._held: dict[Hashable, dict[int, float]] = {}
        self._one: dict[Hashable, float] = {}
        self._throughput = (0.0, 0.0)  # items and seconds, both fading
        self.busy_s = 0.0
        """Seconds of work so far, of all workers together. Any thread may read it."""
        self.load = 1.0
        """How much longer runs take now than they usually do, whatever their kinds."""
        self._usual: dict[Hashable, tuple[int, float]] = {}  # runs, logarithm of seconds
        self._ratios: deque[float] = deque(maxlen=_RATIOS)

    def measured(self, kind: Hashable, size: int, seconds: float) -> None:
        """Learn that ``size`` items of a kind took ``seconds`` together."""
        if kind not in self._runs and len(self._runs) >= _KINDS:
            self.forget(next(iter(self._runs)))
        runs = self._runs.setdefault(kind, {}).setdefault(size, deque(maxlen=RECENT))
        runs.append(seconds)
        held = self._held.setdefault(kind, {})
        held[size] = sorted(runs)[math.ceil(QUANTILE * len(runs)) - 1]
        self._one[kind] = self._expected(held, 1)
        self.busy_s += seconds
        items, busy = self._throughput
        self._throughput = (items * _MEMORY + size, busy * _MEMORY + seconds)
        if seconds > 0:
            self._compare(kind, seconds / size)

    def _compare(self, kind: Hashable, seconds: float) -> None:
        """Take in how one item's time compares to what is usual.

        That is a geometric mean, which a single run that hangs hardly moves.
        """
        runs, mean = self._usual.get(kind, (0, 0.0))
        runs = min(runs + 1, _LONG)
        mean += (math.log(seconds) - mean) / runs
        self._usual[kind] = runs, mean
        self._ratios.append(seconds / math.exp(mean))
        self.load = sorted(self._ratios)[len(self._ratios) // 2]

    def usual(self, kind: Hashable) -> float:
        """Seconds that one item of a kind usually takes; 0 before five runs."""
        runs, mean = self._usual.get(kind, (0, 0.0))
        return math.exp(mean) if runs >= _KNOWN else 0.0

    def forget(self, kind: Hashable) -> None:
        """Hold nothing of a kind any more."""
        for known in (self._runs, self._held, self._one, self._usual):
            known.pop(kind, None)

    def one(self, kind: Hashable) -> float:
        """Seconds that one item of a kind takes; 0 before the first was measured."""
        return self._one.get(kind, 0.0)

    def expected(self, kind: Hashable, size: int) -> float:
        """Seconds that ``size`` items of a kind take together; 0 before any was measured."""
        return self._expected(self._held.get(kind, {}), size)

    @staticmethod
    def _expected(held: dict[int, float], size: int) -> float:
        if size in held:
            return held[size]
        # Not more than the next larger took, nor than so many of the next smaller in a row.
        bounds = [seconds for known, seconds in held.items() if known > size]
        bounds += [s * math.ceil(size / known) for known, s in held.items() if known < size]
        return min(bounds, default=0.0)

    def pays(self, kind: Hashable) -> bool:
        """Whether to serve items of a kind together is quicker; yes until it is known."""
        held = self._held.get(kind, {})
        known = [size for size in held if size > 1]
        if 1 not in held or not known:
            return True
        return any(size * held[1] > PAYS * held[size] for size in known)

    @property
    def items_per_second(self) -> float | None:
        """Items that one worker serves in a second of work; None before the first.

        It may be read from another thread.
        """
        items, busy = self._throughput
        return items / busy if busy > 0 else None

    def table(self) -> dict[tuple[Hashable, int], float]:
        """Seconds held by kind and size, for people. It may be read from another thread."""
        return {
            (kind, size): seconds
            for kind, sizes in self._held.copy().items()
            for size, seconds in sizes.copy().items()
        }
