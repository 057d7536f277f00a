"""What is known of the dialling of one address: it outlives a pause and an edit of the camera.

A line that takes the place of another, with the same source, goes on with it. So whoever pauses
and resumes a camera, or changes something else of it, cannot bring a wrong password to it sooner
than :mod:`streamer.capture.backoff` promises, and no counter goes back.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from streamer.capture.backoff import LOCKING, Backoff
from streamer.errors import LossReason, SourceLost

LOOK_S = 0.1
"""How often it is looked whether a wait for another line's dial is to end, seconds."""


class Dials:
    """Counts, and the waits, of all the lives that one address has had; from any thread."""

    def __init__(self, backoff: Backoff, *, clock: Callable[[], float]) -> None:
        """Nothing has been dialled yet."""
        self.lock = threading.Lock()  # guards all that is here
        self.losses: Counter[LossReason] = Counter()
        self.attempts = 0
        self.held: SourceLost | None = None  # the newest refusal that locks, until it is let in
        self.due_at = 0.0  # when it may be dialled again after it
        self._backoff = backoff
        self._clock = clock
        self._undecided = 0  # dials that gave neither a picture nor a loss yet
        self._decided = threading.Condition(self.lock)

    def begin(self) -> int:
        """Count one more dial; its number, from 1. :meth:`decide` is to be called after it."""
        with self.lock:
            self.attempts += 1
            self._undecided += 1
            return self.attempts

    def decide(self, *, let_in: bool = False) -> None:
        """What a dial came to is known; with ``let_in`` a picture came of it."""
        with self.lock:
            self._undecided -= 1
            if let_in:
                self.held = None
            self._decided.notify_all()

    def wait_s(self, lost: SourceLost, quiet_s: float) -> float:
        """Seconds to wait after a loss, as :meth:`Backoff.next_s` says."""
        with self.lock:
            wait_s = self._backoff.next_s(lost.reason, quiet_s)
            if lost.reason in LOCKING:
                self.held, self.due_at = lost, self._clock() + wait_s
            return wait_s

    def reset(self) -> None:
        """The camera has been well for long: the waits begin again from the shortest."""
        with self.lock:
            self._backoff.reset()

    def await_verdict(self, stop: threading.Event, most_s: float) -> None:
        """Wait for what earlier lines are still dialling, ``most_s`` seconds at most.

        A dial cannot be interrupted: one of a line that was paused may yet be refused.
        """
        with self.lock:
            for _ in range(round(most_s / LOOK_S)):
                if not self._undecided or stop.is_set():
                    return
                self._decided.wait(LOOK_S)

    def still_held(self) -> tuple[SourceLost, float] | None:
        """The refusal after which it may not be dialled yet, and for how many seconds."""
        with self.lock:
            left_s = self.due_at - self._clock()
            return (self.held, left_s) if self.held is not None and left_s > 0 else None
