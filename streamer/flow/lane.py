"""One camera's way into a fan, and what a worker took out of it.

Everything here is guarded by the fan's one lock, and moves together with the item it counts.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from streamer.flow.channel import ChannelStats, Closed, Overflow
from streamer.flow.ledger import Ledger
from streamer.flow.order import FREE, MOST_FREE, Label, Terms

if TYPE_CHECKING:
    from streamer.flow.fan import FanIn

T = TypeVar("T")


class Tally:
    """What has become of one camera's items; guarded by the lock of its fan.

    A lane that takes the place of another goes on with its tally. What a worker still holds of
    the other is settled in it, so nothing is counted twice or forgotten, and comes first.
    """

    __slots__ = ("captured", "dropped", "free", "held", "settled", "skipped")

    def __init__(self) -> None:
        """Nothing has been counted yet."""
        self.captured = 0
        self.skipped = 0
        self.held = 0  # in the hands of a worker
        self.free = True  # its lane is neither queued for a worker nor in a worker's hands
        self.settled: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()  # by stage and reason


class Lane(Generic[T]):
    """One camera's way into a fan; made by :meth:`streamer.flow.fan.FanIn.add_lane`."""

    def __init__(
        self,
        fan: FanIn[T],
        name: str,
        capacity: int,
        overflow: Overflow,
        terms: Terms,
        tally: Tally,
    ) -> None:
        """Make an empty lane; use :meth:`streamer.flow.fan.FanIn.add_lane`."""
        self.name = name
        self.terms = terms
        self.notes: Any = None  # of the fan's order
        self.label = Label(0.0)  # of the oldest item; means nothing while there is none
        self.capacity = capacity
        self.overflow: Overflow = overflow
        self._fan = fan
        self._not_full = threading.Condition(fan._lock)
        self._items: deque[tuple[T, Label]] = deque()
        self._closed = False
        self._peak = 0
        self._taken_at: float | None = None  # birth of what a batch holds, until it ends
        self._tally = tally

    def put(self, item: T) -> None:
        """Offer an item. Live lanes let the oldest go when full; file lanes wait for room.

        Items of the kind ``FREE`` have room of their own in a live lane and let only each other
        go, so that they never cost one that is to be looked at.
        Raises :class:`Closed` when no worker will take it any more; it then counts as dropped.
        """
        fan = self._fan
        label = fan._label(item)
        with fan._lock:
            if self.overflow == "block":
                while len(self._items) >= self.capacity and not (self._closed or fan._aborted):
                    self._not_full.wait()
            self._tally.captured += 1  # a camera that waits for room has offered nothing yet
            if self._closed or fan._aborted:
                gone_itself = fan._lanes.get(self.name) is not self  # paused, replaced or removed
                self._tally.dropped["capture", "removed" if gone_itself else "shutdown"] += 1
                raise Closed(self.name)
            gone = self._one_too_many(label.kind is FREE)
            if gone is not None:
                _gone = self._items[gone]  # freed on return, when the lock is let go
                del self._items[gone]
                reason = "fill_full" if label.kind is FREE else "queue_full"
                self._tally.dropped["infer", reason] += 1
            self._items.append((item, label))
            self.label = self._items[0][1]
            self._peak = max(self._peak, len(self._items) - self._beside())
            fan._queue(self)

    def _one_too_many(self, free: bool) -> int | None:
        """With the lock held: the position of the item that has to go before one more of its sort.

        A lane that waits for room has room by now.
        """
        most = MOST_FREE if free else self.capacity
        alike = [n for n, (_, label) in enumerate(self._items) if (label.kind is FREE) == free]
        return alike[0] if self.overflow != "block" and len(alike) >= most else None

    def _beside(self) -> int:
        """With the lock held: how many items have room of their own."""
        if self.overflow == "block":
            return 0
        return sum(label.kind is FREE for _, label in self._items)

    def _pop(self) -> T:
        """With the lock held: take the oldest item out."""
        item, _ = self._items.popleft()
        if self._items:
            self.label = self._items[0][1]
        self._not_full.notify()
        return item

    def skip(self) -> None:
        """Count a frame that pacing chose not to look at."""
        with self._fan._lock:
            self._tally.captured += 1
            self._tally.skipped += 1

    def miss(self, count: int, reason: str) -> None:
        """Count ``count`` frames that were lost on the way here, as dropped."""
        if not count:
            return  # a reason that never was is not shown
        with self._fan._lock:
            self._tally.captured += count
            self._tally.dropped["capture", reason] += count

    @property
    def late(self) -> int:
        """Items so far that no worker could have done in time. Any thread may read it."""
        return self._tally.dropped["infer", "deadline"]

    def close(self) -> None:
        """Say that this camera will offer nothing more; what waits is still handed out.

        A writer that waits for room gets :class:`Closed`. Closing twice does nothing more.
        """
        with self._fan._lock:
            self._closed = True
            self._not_full.notify_all()
            self._fan._ready_or_over.notify_all()

    def oldest_at(self) -> float | None:
        """When the oldest item was born that waits or whose batch goes on; None: there is none."""
        with self._fan._lock:
            if self._taken_at is not None:
                return self._taken_at
            return self.label.born_at if self._items else None

    def ledger(self) -> Ledger:
        """Where every frame of this camera is, at this instant."""
        with self._fan._lock:
            return Ledger(
                captured=self._tally.captured,
                settled=dict(self._tally.settled),
                skipped=self._tally.skipped,
                dropped=dict(self._tally.dropped),
                waiting=len(self._items),
                held=self._tally.held,
            )

    def stats(self) -> ChannelStats:
        """Counters of the lane's queue. An item handed to a worker and dropped there is dropped.

        ``dropped`` is by reason, whichever stage dropped; :meth:`ledger` tells the stages apart.
        """
        with self._fan._lock:
            dropped: Counter[str] = Counter()
            for (_, reason), count in self._tally.dropped.items():
                dropped[reason] += count
            return ChannelStats(
                name=self.name,
                depth=len(self._items),
                capacity=self.capacity,
                peak=self._peak,
                offered=self._tally.captured - self._tally.skipped,
                delivered=sum(self._tally.settled.values()) + self._tally.held,
                dropped=dict(dropped),
                beside=self._beside(),
            )


class Batch(Generic[T]):
    """Items taken by one worker, at most one from each camera.

    Use it as a context, once: each item is to be settled inside; what is not counts as dropped
    with the reason ``failed``, or ``shutdown`` when :class:`Closed` ended the work. Until the
    batch ends, no other worker gets items of its cameras, so the order of one camera's outcomes
    holds.
    """

    def __init__(self, fan: FanIn[T], taken: list[tuple[Lane[T], T]], taken_at: float) -> None:
        """Made by :meth:`streamer.flow.fan.FanIn.batches`, at the instant ``taken_at``."""
        self._fan = fan
        self._taken_at = taken_at
        self._open = set(range(len(taken)))
        self._lanes = [lane for lane, _ in taken]
        self.items = [item for _, item in taken]

    def __len__(self) -> int:
        """How many items: at least 1, and 0 when the batch has ended."""
        return len(self.items)

    def settle(self, position: int, status: str) -> None:
        """Count the item at ``position`` of :attr:`items` as ended with ``status``.

        Raises ``KeyError`` when it was settled or dropped already, or the batch has ended.
        """
        with self._fan._lock:
            self._let_go(position)._tally.settled[status] += 1

    def skip(self, position: int) -> None:
        """Count the item at ``position`` of :attr:`items` as not looked at, with no outcome.

        Raises ``KeyError`` when it was settled or dropped already, or the batch has ended.
        """
        with self._fan._lock:
            self._let_go(position)._tally.skipped += 1

    def drop(self, position: int, reason: str) -> None:
        """Count the item at ``position`` of :attr:`items` as dropped in this stage.

        Raises ``KeyError`` when it was settled or dropped already, or the batch has ended.
        """
        with self._fan._lock:
            self._let_go(position)._tally.dropped["infer", reason] += 1

    def _let_go(self, position: int) -> Lane[T]:
        """With the lock held: the lane of an item that this worker holds no longer."""
        self._open.remove(position)
        lane = self._lanes[position]
        lane._tally.held -= 1
        return lane

    def __enter__(self) -> Batch[T]:
        """Begin the work on the batch."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Count what was forgotten and let the cameras be served again."""
        shutdown = kind is not None and issubclass(kind, Closed)
        for position in list(self._open):
            self.drop(position, "shutdown" if shutdown else "failed")
        lanes, self._lanes, self.items = self._lanes, [], []
        self._fan._release(lanes, self._taken_at)
