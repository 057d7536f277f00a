"""What is counted of the dials of one source: it outlives a pause and an edit of the camera.

A line that takes the place of another, with the same source, goes on with it, so that no counter
goes back. What outlives the camera itself is in :mod:`streamer.capture.refusals`.
"""

from __future__ import annotations

import threading
from collections import Counter

from streamer.capture.backoff import Backoff
from streamer.errors import LossReason, SourceLost


class Dials:
    """Counts, and the waits, of all the lives that one source has had; from any thread."""

    def __init__(self, backoff: Backoff) -> None:
        """Nothing has been dialled yet."""
        self.lock = threading.Lock()  # guards all that is here
        self.losses: Counter[LossReason] = Counter()
        self.attempts = 0
        self._backoff = backoff

    def begin(self) -> int:
        """Count one more dial; its number, from 1."""
        with self.lock:
            self.attempts += 1
            return self.attempts

    def wait_s(self, lost: SourceLost, quiet_s: float) -> float:
        """Seconds to wait after a loss, as :meth:`Backoff.next_s` says."""
        with self.lock:
            return self._backoff.next_s(lost.reason, quiet_s)

    @property
    def refusals(self) -> int:
        """After how many refusals the waits have grown."""
        with self.lock:
            return self._backoff.refusals

    def refused_before(self, times: int) -> None:
        """The source was refused so often already, another camera perhaps."""
        with self.lock:
            self._backoff.refusals = max(self._backoff.refusals, times)

    def reset(self) -> None:
        """The camera has been well for long: the waits begin again from the shortest."""
        with self.lock:
            self._backoff.reset()
