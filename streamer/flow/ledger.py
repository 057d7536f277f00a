"""Where every frame of one camera is: the promise that none is unaccounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where every frame of one camera is, at one instant.

    ``captured = sum(settled) + skipped + sum(dropped) + in_flight`` always;
    ``in_flight`` is counted where the frames are (``waiting`` in the lane, ``held`` by a worker),
    not computed from the rest, so that a lost frame shows as an imbalance.
    """

    captured: int
    settled: Mapping[str, int]
    skipped: int
    dropped: Mapping[tuple[str, str], int]
    waiting: int
    held: int

    @property
    def in_flight(self) -> int:
        """Frames between capture and their outcome now."""
        return self.waiting + self.held

    @property
    def imbalance(self) -> int:
        """Frames that are nowhere: 0 unless streamer itself is at fault."""
        found = sum(self.settled.values()) + self.skipped + sum(self.dropped.values())
        return self.captured - found - self.in_flight

    @property
    def closes(self) -> bool:
        """True when no frame is unaccounted for."""
        return self.imbalance == 0
