"""Keeps a camera alive: when one life of a source ends, wait and dial again, for ever."""

from __future__ import annotations

import random as _random
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Final, cast

from streamer.errors import LossReason, SourceLost
from streamer.log import get_logger
from streamer.protocols import Source
from streamer.status import SourceState, State
from streamer.types import Frame, SourceUrl

AUTH_LONGEST: Final = 10
"""The wait after refused credentials doubles up to so many times its first value."""

_MOST_DOUBLINGS: Final = 30  # keeps the power finite after years of failures

log = get_logger("capture")


class Backoff:
    """How long to wait before dialling again.

    Full jitter: uniform between 0 and a ceiling that doubles from ``first_s`` to ``most_s`` with
    each loss, so that cameras lost together do not come back together. After refused credentials
    it is at least ``auth_s``, doubling to ten times that, with up to a tenth more: cameras lock
    an account for half an hour after a few wrong passwords.
    """

    def __init__(
        self, *, first_s: float, most_s: float, auth_s: float, random: Callable[[], float]
    ) -> None:
        """All in seconds; ``random`` gives a number from 0 to 1."""
        self._first_s = first_s
        self._most_s = most_s
        self._auth_s = auth_s
        self._random = random
        self._losses = 0
        self._refusals = 0

    def next_s(self, reason: LossReason) -> float:
        """Seconds to wait after a loss for ``reason``."""
        if reason == "auth":
            grown = min(2.0 ** min(self._refusals, _MOST_DOUBLINGS), AUTH_LONGEST)
            self._refusals += 1
            return self._auth_s * grown * (1 + 0.1 * self._random())
        ceiling_s = min(self._most_s, self._first_s * 2.0 ** min(self._losses, _MOST_DOUBLINGS))
        self._losses += 1
        return ceiling_s * self._random()

    def reset(self) -> None:
        """Begin again from the shortest waits."""
        self._losses = 0
        self._refusals = 0


class Reconnecting:
    """Wraps a live source and is one: it ends by ``stop`` only.

    ``epoch`` is 0 in the first life that gives a frame and grows by one with each later life that
    gives one; lives without a frame use none up. ``index`` goes on from life to life: the n-th
    frame of a life has the index of the life's first frame plus the source's own n.
    """

    live = True

    def __init__(
        self,
        source: Source,
        *,
        url: SourceUrl,
        first_backoff_s: float = 0.5,
        max_backoff_s: float = 30.0,
        healthy_after_s: float = 60.0,
        auth_backoff_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _random.random,
    ) -> None:
        """``url`` is for log lines, with the source's own ``camera`` where it has one.

        Times are in seconds; a life of ``healthy_after_s`` of frames resets the waits.
        """
        self._source = source
        self._healthy_after_s = healthy_after_s
        self._clock = clock
        self._backoff = Backoff(
            first_s=first_backoff_s, most_s=max_backoff_s, auth_s=auth_backoff_s, random=random
        )
        self._lock = threading.Lock()
        self._losses: Counter[LossReason] = Counter()
        self._state = SourceState("connecting", clock())
        self._log = log.bind(camera=getattr(source, "camera", ""), url=str(url))
        self._epoch = -1
        self._next_index = 0

    def state(self) -> SourceState:
        """What the source is doing now, and what befell it; from any thread."""
        with self._lock:
            return replace(
                self._state,
                losses=dict(self._losses),
                decode_errors=getattr(self._source, "decode_errors", 0),
            )

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Frames of all lives until ``stop``; never raises SourceLost."""
        try:
            while not stop.is_set():
                self._enter("connecting")
                lost = yield from self._one_life(stop)
                if lost is None:
                    break
                wait_s = self._backoff.next_s(lost.reason)
                self._enter("backing_off", lost)
                self._log.warning(
                    "camera_lost",
                    reason=lost.reason,
                    detail=str(lost),
                    retry_in_s=round(wait_s, 2),
                )
                if stop.wait(wait_s):
                    break
        finally:
            self._enter("stopped")
            self._log.info("camera_stopped")

    def _one_life(self, stop: threading.Event) -> Generator[Frame, None, SourceLost | None]:
        """Yield the frames of one life; return why it ended, or None when by ``stop``."""
        first_index = self._next_index
        live_at: float | None = None
        frames = cast("Generator[Frame]", self._source.frames(stop))
        try:
            with closing(frames):
                for frame in frames:
                    now = self._clock()
                    if live_at is None:
                        live_at = now
                        self._epoch += 1
                        self._enter("live")
                        self._log.info("camera_live", epoch=self._epoch)
                    elif now - live_at >= self._healthy_after_s:
                        self._backoff.reset()
                    self._next_index = first_index + frame.index + 1
                    yield replace(frame, epoch=self._epoch, index=first_index + frame.index)
                    del frame  # do not hold a picture while waiting for the next
        except SourceLost as lost:
            return None if stop.is_set() else lost
        if stop.is_set():
            return None
        return SourceLost("eof", "the source ended; it is opened again")

    def _enter(self, state: State, lost: SourceLost | None = None) -> None:
        with self._lock:
            if lost is None:
                # While dialling again, what ended the last life is still the news.
                again = state == "connecting"
                reason = self._state.reason if again else ""
                detail = self._state.detail if again else ""
            else:
                reason, detail = lost.reason, str(lost)
                self._losses[lost.reason] += 1
            self._state = SourceState(state, self._clock(), reason, detail)
