"""Many cameras into few workers.

:class:`FanIn` keeps one bounded lane per camera and hands items out in the order that it was
given, by default in turn, so that a fast camera cannot starve a slow one. It also keeps each
camera's ledger: every number in it changes under one lock at the moment the frame itself moves,
so a reading is exact at any instant.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from streamer.flow.channel import Closed, Overflow
from streamer.flow.lane import Batch, Lane, Tally
from streamer.flow.order import InTurn, Label, Order, Terms

__all__ = ["Batch", "FanIn", "Lane"]

T = TypeVar("T")

_UNLABELLED = Label(0.0)
_USUAL = Terms()


class FanIn(Generic[T]):
    """One lane per camera in, fair batches out, any number of workers.

    It ends, for each worker, when it is closed (no more cameras will come) and all lanes are
    closed and empty, though another worker may still hold the last batch; or at once when
    aborted.
    """

    def __init__(
        self,
        name: str,
        *,
        order: Order | None = None,
        label: Callable[[T], Label] = lambda _: _UNLABELLED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a fan without lanes.

        ``order`` decides who is served next, by the ``label`` of what waits (when it was born,
        by ``clock``, and what kind it is); without one, lanes are served in turn. The order is
        asked under the fan's lock, so it may be this fan's only, and is to be quick.
        """
        self.name = name
        self._order: Order = order if order is not None else InTurn()
        self._label = label
        self._clock = clock
        self._lock = threading.Lock()
        self._ready_or_over = threading.Condition(self._lock)
        self._closed = False
        self._aborted = False
        self._deferred = False  # whether a worker ever left ready lanes waiting
        self._lanes: dict[str, Lane[T]] = {}
        self._alone = 0  # how many of them never share a batch
        self._ready: dict[Lane[T], None] = {}  # lanes with items, in the order they became so

    def add_lane(
        self,
        name: str,
        *,
        capacity: int,
        overflow: Overflow,
        terms: Terms = _USUAL,
        after: Lane[T] | None = None,
    ) -> Lane[T]:
        """Add a camera, which may expect what ``terms`` say if the fan has an order that knows.

        ``after``: a lane that was removed and whose counters this one goes on with.

        Raises ``ValueError`` when the name is taken or ``capacity`` is below 1, and
        :class:`Closed` when the fan was closed or aborted: nobody would take its items.
        """
        if capacity < 1:
            raise ValueError(f"lane {name!r}: capacity must be at least 1, not {capacity}")
        tally = Tally() if after is None else after._tally
        lane = Lane(self, name, capacity, overflow, terms, tally)
        with self._lock:
            if self._closed or self._aborted:
                raise Closed(self.name)
            if name in self._lanes:
                raise ValueError(f"there is a lane {name!r} already")
            self._lanes[name] = lane
            self._alone += terms.alone
        return lane

    def remove_lane(self, lane: Lane[T]) -> None:
        """Take a camera out: its lane is closed, and what waits there is dropped as ``removed``.

        What a worker holds of it is settled still, and its name is free for a new lane at once.
        Removing twice does nothing more.
        """
        with self._lock:
            if self._lanes.get(lane.name) is not lane:
                return
            del self._lanes[lane.name]
            self._alone -= lane.terms.alone
            if lane in self._ready:
                del self._ready[lane]
                lane._tally.free = True
            lane._closed = True
            gone, lane._items = lane._items, deque()  # freed on return, when the lock is let go
            if gone:
                lane._tally.dropped["infer", "removed"] += len(gone)
            lane._not_full.notify_all()
            self._ready_or_over.notify_all()

    def lanes(self) -> list[Lane[T]]:
        """All lanes, in the order they were added."""
        with self._lock:
            return list(self._lanes.values())

    def batches(self, max_items: int) -> Iterator[Batch[T]]:
        """Yield what is ready, one item per camera at most, at most ``max_items`` at once.

        A batch is what is there: it waits for more only if the fan's order says so, and until
        the instant it says. Idle, it holds one item; under load, lanes fill while the model runs
        and batches grow by themselves. Raises ``ValueError`` when ``max_items`` is below 1.
        """
        if max_items < 1:
            raise ValueError(f"fan {self.name!r}: a batch holds at least 1 item, not {max_items}")
        while (batch := self._take(max_items)) is not None:
            yield batch
            del batch  # do not keep pictures alive while waiting

    def _take(self, max_items: int) -> Batch[T] | None:
        while True:
            gone: list[T] = []  # what is dropped is freed when the lock is let go
            with self._lock:
                while not self._ready:
                    if self._aborted or self._finished():
                        return None
                    self._ready_or_over.wait()
                now = self._clock()
                social = len(self._lanes) - self._alone
                choice = self._order.choose(self._ready.keys(), max_items, now, social)
                for lane, reason in choice.drop:
                    del self._ready[lane]
                    gone.append(lane._pop())
                    lane._tally.dropped["infer", reason] += 1
                    lane._tally.free = True
                    self._queue(lane)
                taken: list[tuple[Lane[T], T]] = []
                for lane in choice.serve:
                    del self._ready[lane]
                    lane._taken_at = lane.label.born_at
                    taken.append((lane, lane._pop()))
                    lane._tally.held += 1
                if (taken or gone) and self._finished():
                    self._ready_or_over.notify_all()
                if taken:
                    if self._ready and self._deferred:  # whoever was woken for these may wait
                        self._ready_or_over.notify()
                    return Batch(self, taken, now)
                if not gone:
                    if choice.until is None:
                        raise RuntimeError(f"fan {self.name!r}: its order chose nothing")
                    self._deferred = True
                    self._ready_or_over.wait(max(0.0, choice.until - now))

    def _finished(self) -> bool:
        """With the lock held: nothing is left and nothing can come."""
        return self._closed and all(
            lane._closed and not lane._items for lane in self._lanes.values()
        )

    def _queue(self, lane: Lane[T]) -> None:
        """With the lock held: queue the lane for a worker if it is free and has items."""
        if lane._items and lane._tally.free:
            lane._tally.free = False
            self._ready[lane] = None
            self._ready_or_over.notify()

    def _release(self, lanes: list[Lane[T]], taken_at: float) -> None:
        """Let workers take from these lanes again, which one took from at ``taken_at``."""
        with self._lock:
            if lanes:  # none: the batch had ended already
                now = self._clock()
                self._order.ended(lanes, now - taken_at, now)
            for lane in lanes:
                lane._taken_at = None
                lane._tally.free = True
                heir = self._lanes.get(lane.name, lane)  # of a lane that was removed meanwhile
                if heir._tally is lane._tally:
                    self._queue(heir)

    def close(self, *, lanes: bool = False) -> None:
        """Say that no more lanes will be added. Closing twice does nothing more.

        With ``lanes`` every lane is closed too: what waits is still handed out, and whoever
        offers more gets :class:`Closed`.
        """
        with self._lock:
            self._closed = True
            for lane in self._lanes.values() if lanes else ():
                lane._closed = True
                lane._not_full.notify_all()
            self._ready_or_over.notify_all()

    def abort(self) -> None:
        """Say that no worker will take anything more; what waits is dropped as ``shutdown``.

        What workers hold is theirs to settle still. Aborting twice does nothing more.
        """
        gone = []  # freed on return, when the lock is let go
        with self._lock:
            self._aborted = True
            for lane in self._lanes.values():
                if lane._items:
                    lane._tally.dropped["infer", "shutdown"] += len(lane._items)
                    gone.append(lane._items)
                    lane._items = deque()
                lane._not_full.notify_all()
            self._ready.clear()
            self._ready_or_over.notify_all()
