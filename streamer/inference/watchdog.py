"""Ends a run of the network that does not end by itself.

onnxruntime looks at a flag of its run between two nodes of the network, and inside loops, and
gives up when it is set. One thread sets it when a run is over its time. Measured: a network with
an endless loop ended 1 ms after the flag. One kernel that never returns cannot be ended so; then
the log says it, and :meth:`Watchdog.stuck_s` does. On a GPU none of this has been run yet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from streamer.log import get_logger

LOOK_S: Final = 0.25
"""How often the thread looks; so much later than its limit a run may be ended."""

IDLE_S: Final = 2.0
"""After so long without a run the thread ends; the next run starts another (0.1 ms)."""

STUCK_S: Final = 10.0
"""A run that goes on so long after it was told to end is told of in the log, once."""


@dataclass(slots=True, eq=False)
class Watched:
    """One run: ``options`` are its ``RunOptions``, ``due_at`` is when it is ended.

    ``limit_s`` is how long it may take, and ``ended`` whether it was told to end.
    """

    options: Any
    limit_s: float
    due_at: float
    ended: bool = False
    told: bool = False


class Watchdog:
    """Watches any number of runs at once, from any threads. ``clock`` is monotonic, seconds.

    ``hangs`` is how many runs failed because they were told to end; it only grows.
    """

    def __init__(
        self, *, look_s: float = LOOK_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing runs until the first :meth:`begin`."""
        self._look_s = look_s
        self._clock = clock
        self.hangs = 0
        self._runs: set[Watched] = set()
        self._newest: Watched | None = None
        self._watching = False
        self._lock = threading.Lock()
        self._never = threading.Event()

    def begin(self, options: Any, limit_s: float) -> Watched:
        """Watch a run with these ``RunOptions`` from now on; end it after ``limit_s`` seconds.

        Each run needs options of its own: the flag stays set. Give what is returned to
        :meth:`end` when the run is over, however it ended.
        """
        run = Watched(options, limit_s, self._clock() + limit_s)
        self._newest = run
        self._runs.add(run)
        if not self._watching:
            self._start()
        return run

    def end(self, run: Watched) -> None:
        """The run is over."""
        self._runs.discard(run)

    def count_hang(self) -> None:
        """One more run failed because it was told to end."""
        with self._lock:
            self.hangs += 1

    def stuck_s(self) -> float:
        """Seconds that the worst run goes on past its limit; 0 when none does."""
        now = self._clock()
        return max((now - run.due_at for run in tuple(self._runs) if run.ended), default=0.0)

    def _start(self) -> None:
        with self._lock:
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        looked_at = newest_at = self._clock()
        newest: Watched | None = None
        while True:
            self._never.wait(self._look_s)
            now = self._clock()
            runs = tuple(self._runs)
            # When all of this process stood still (SIGSTOP, a suspended machine), so did the runs.
            stood = now - looked_at - 4 * self._look_s
            looked_at = now
            for run in runs:
                if stood > 0:
                    run.due_at += stood
                self._look_at(run, now)
            if runs or newest is not self._newest:
                newest, newest_at = self._newest, now
            elif now - newest_at > IDLE_S and self._may_rest():
                return

    def _look_at(self, run: Watched, now: float) -> None:
        if now > run.due_at and not run.ended:
            run.ended = True
            run.options.terminate = True
        elif run.ended and not run.told and now > run.due_at + STUCK_S:
            run.told = True
            get_logger("infer").error(
                "run_stuck",
                seconds=round(now - run.due_at + run.limit_s, 1),
                detail="a run of the model does not end, although it was told to; restart streamer",
            )

    def _may_rest(self) -> bool:
        with self._lock:
            # The flag first: who begins a run sees it down, or the run is seen here.
            self._watching = False
            self._watching = bool(self._runs)
            return not self._watching
