"""What to do when the device has no memory for a batch: less at once, then smaller, then nothing.

Written for GPUs, where other programs take memory too, and tested with injected failures; on a
full GPU it has not been run yet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from streamer.errors import OutOfMemory
from streamer.log import get_logger
from streamer.types import Faces, Picture
from streamer.vision.letterbox import MULTIPLE

CLIMB_S: Final = 60.0
"""After so long without a failure one rung is taken back: what filled the memory may be gone."""

_PARTS: Final = (1.0, 0.75, 0.5)
"""Of the input size: half finds faces twice as large at the least, and takes a quarter."""

Look = Callable[[Sequence[Picture], int], list[Faces]]
"""Finds the faces of pictures at an input size; raises :class:`OutOfMemory`."""


@dataclass(slots=True)
class MemoryCounts:
    """How often memory was short. The numbers only grow, and anybody may read them.

    ``splits`` of a batch, steps to a smaller input (``shrinks``), and pictures ``given_up``.
    """

    splits: int = 0
    shrinks: int = 0
    given_up: int = 0


class Ladder:
    """Runs pictures as they fit. Any number of threads may use one.

    ``input_size`` is in pixels, a multiple of 32; ``counts`` is where failures are counted. Without
    ``shrinks`` only batches get smaller: a smaller input would miss faces that must not be missed.
    """

    def __init__(
        self,
        input_size: int,
        counts: MemoryCounts,
        *,
        shrinks: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at the top: whole batches at the whole size."""
        parts = _PARTS if shrinks else ()
        smaller = [max(1, round(input_size * part / MULTIPLE)) * MULTIPLE for part in parts]
        self._sizes = sorted({input_size, *smaller}, reverse=True)
        self._counts = counts
        self._clock = clock
        self._rung = (0, 0)  # most pictures at once (0: any number), index of the input size
        self._changed_at = 0.0
        self._lock = threading.Lock()

    @property
    def input_size(self) -> int:
        """The input size in use now, pixels."""
        return self._sizes[self._rung[1]]

    @property
    def most(self) -> int | None:
        """How many pictures are run at once now, at most; None: as many as come."""
        return self._rung[0] or None

    def run(self, pictures: Sequence[Picture], look: Look) -> list[Faces]:
        """What ``look`` finds in all pictures, in their order, in as many calls as it takes.

        Raises :class:`OutOfMemory` when one picture at the smallest size it may have does not fit.
        """
        if self._rung != (0, 0):
            self._climb()
        found: list[Faces] = []
        while True:
            rung = self._rung
            some = (
                pictures[len(found) : len(found) + rung[0]] if rung[0] else pictures[len(found) :]
            )
            try:
                found += look(some, self._sizes[rung[1]])
            except OutOfMemory as error:
                if not self._descend(rung, len(some), str(error)):
                    self._counts.given_up += len(pictures)
                    raise
            if len(found) >= len(pictures):
                return found

    def _descend(self, rung: tuple[int, int], count: int, reason: str) -> bool:
        with self._lock:
            if self._rung != rung:
                return True  # another thread has done it
            most, size = rung
            if count > 1:
                self._rung = (count // 2, size)
                self._counts.splits += 1
            elif size + 1 < len(self._sizes):
                self._rung = (most, size + 1)
                self._counts.shrinks += 1
            else:
                return False
            self._changed_at = self._clock()
        get_logger("infer").warning(
            "memory_short", most_pictures=self._rung[0], input_size=self.input_size, detail=reason
        )
        return True

    def _climb(self) -> None:
        with self._lock:
            most, size = self._rung
            if (most, size) == (0, 0) or self._clock() - self._changed_at < CLIMB_S:
                return
            # The size comes back first: it costs faces, where a small batch costs only time.
            self._rung = (most, size - 1) if size else (0, 0)
            self._changed_at = self._clock()
        get_logger("infer").info(
            "memory_tried_again", most_pictures=self._rung[0], input_size=self.input_size
        )
