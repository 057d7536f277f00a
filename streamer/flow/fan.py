"""Many cameras into few workers, and every outcome out to many sinks.

:class:`FanIn` keeps one bounded lane per camera and hands items out in turn, so that a fast
camera cannot starve a slow one. It also keeps each camera's ledger: every number in it changes
under one lock at the moment the frame itself moves, so a reading is exact at any instant.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar

from streamer.flow.channel import ChannelStats, Closed, Overflow
from streamer.flow.ledger import Ledger

T = TypeVar("T")


class Lane(Generic[T]):
    """One camera's way into a :class:`FanIn`; made by :meth:`FanIn.add_lane`.

    Everything below is guarded by the fan's one lock, and moves together with the item it counts.
    """

    def __init__(self, fan: FanIn[T], name: str, capacity: int, overflow: Overflow) -> None:
        """Make an empty lane; use :meth:`FanIn.add_lane`."""
        self.name = name
        self.capacity = capacity
        self.overflow: Overflow = overflow
        self._fan = fan
        self._not_full = threading.Condition(fan._lock)
        self._items: deque[T] = deque()
        self._closed = False
        self._free = True  # neither queued for a worker nor in a worker's hands
        self._peak = 0
        self._captured = 0
        self._skipped = 0
        self._held = 0
        self._settled: Counter[str] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()

    def put(self, item: T) -> None:
        """Offer an item. Live lanes let the oldest go when full; file lanes wait for room.

        Raises :class:`Closed` when no worker will take it any more; it then counts as dropped.
        """
        fan = self._fan
        with fan._lock:
            if self.overflow == "block":
                while len(self._items) >= self.capacity and not (self._closed or fan._aborted):
                    self._not_full.wait()
            self._captured += 1  # a camera that waits for room has offered nothing yet
            if self._closed or fan._aborted:
                self._dropped["capture", "shutdown"] += 1
                raise Closed(self.name)
            if len(self._items) >= self.capacity:
                _gone = self._items.popleft()  # freed on return, when the lock is let go
                self._dropped["infer", "queue_full"] += 1
            self._items.append(item)
            self._peak = max(self._peak, len(self._items))
            fan._queue(self)

    def skip(self) -> None:
        """Count a frame that pacing chose not to look at."""
        with self._fan._lock:
            self._captured += 1
            self._skipped += 1

    def miss(self, count: int, reason: str) -> None:
        """Count ``count`` frames that were decoded and lost on the way here, as dropped."""
        with self._fan._lock:
            self._captured += count
            self._dropped["capture", reason] += count

    def close(self) -> None:
        """Say that this camera will offer nothing more; what waits is still handed out.

        A writer that waits for room gets :class:`Closed`. Closing twice does nothing more.
        """
        with self._fan._lock:
            self._closed = True
            self._not_full.notify_all()
            self._fan._ready_or_over.notify_all()

    def ledger(self) -> Ledger:
        """Where every frame of this camera is, at this instant."""
        with self._fan._lock:
            return Ledger(
                captured=self._captured,
                settled=dict(self._settled),
                skipped=self._skipped,
                dropped=dict(self._dropped),
                waiting=len(self._items),
                held=self._held,
            )

    def stats(self) -> ChannelStats:
        """Counters of the lane's queue. An item handed to a worker and dropped there is dropped.

        ``dropped`` is by reason, whichever stage dropped; :meth:`ledger` tells the stages apart.
        """
        with self._fan._lock:
            dropped: Counter[str] = Counter()
            for (_, reason), count in self._dropped.items():
                dropped[reason] += count
            return ChannelStats(
                name=self.name,
                depth=len(self._items),
                capacity=self.capacity,
                peak=self._peak,
                offered=self._captured - self._skipped,
                delivered=sum(self._settled.values()) + self._held,
                dropped=dict(dropped),
            )


class Batch(Generic[T]):
    """Items taken by one worker, at most one from each camera.

    Use it as a context, once: each item is to be settled inside; what is not counts as dropped
    with the reason ``failed``, or ``shutdown`` when :class:`Closed` ended the work. Until the
    batch ends, no other worker gets items of its cameras, so the order of one camera's outcomes
    holds.
    """

    def __init__(self, fan: FanIn[T], taken: list[tuple[Lane[T], T]]) -> None:
        """Made by :meth:`FanIn.batches`."""
        self._fan = fan
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
            self._let_go(position)._settled[status] += 1

    def drop(self, position: int, reason: str) -> None:
        """Count the item at ``position`` of :attr:`items` as dropped in this stage.

        Raises ``KeyError`` when it was settled or dropped already, or the batch has ended.
        """
        with self._fan._lock:
            self._let_go(position)._dropped["infer", reason] += 1

    def _let_go(self, position: int) -> Lane[T]:
        """With the lock held: the lane of an item that this worker holds no longer."""
        self._open.remove(position)
        lane = self._lanes[position]
        lane._held -= 1
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
        self._fan._release(lanes)


class FanIn(Generic[T]):
    """One lane per camera in, fair batches out, any number of workers.

    It ends, for each worker, when it is closed (no more cameras will come) and all lanes are
    closed and empty, though another worker may still hold the last batch; or at once when
    aborted.
    """

    def __init__(self, name: str) -> None:
        """Make a fan without lanes."""
        self.name = name
        self._lock = threading.Lock()
        self._ready_or_over = threading.Condition(self._lock)
        self._closed = False
        self._aborted = False
        self._lanes: dict[str, Lane[T]] = {}
        self._ready: deque[Lane[T]] = deque()  # lanes with items, in the order to be served

    def add_lane(self, name: str, *, capacity: int, overflow: Overflow) -> Lane[T]:
        """Add a camera.

        Raises ``ValueError`` when the name is taken or ``capacity`` is below 1, and
        :class:`Closed` when the fan was closed or aborted: nobody would take its items.
        """
        if capacity < 1:
            raise ValueError(f"lane {name!r}: capacity must be at least 1, not {capacity}")
        lane = Lane(self, name, capacity, overflow)
        with self._lock:
            if self._closed or self._aborted:
                raise Closed(self.name)
            if name in self._lanes:
                raise ValueError(f"there is a lane {name!r} already")
            self._lanes[name] = lane
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
            if lane in self._ready:
                self._ready.remove(lane)
            lane._closed = True
            gone, lane._items = lane._items, deque()  # freed on return, when the lock is let go
            if gone:
                lane._dropped["infer", "removed"] += len(gone)
            lane._not_full.notify_all()
            self._ready_or_over.notify_all()

    def lanes(self) -> list[Lane[T]]:
        """All lanes, in the order they were added."""
        with self._lock:
            return list(self._lanes.values())

    def batches(self, max_items: int) -> Iterator[Batch[T]]:
        """Yield what is ready, one item per camera in turn, at most ``max_items`` at once.

        It never waits for a camera: a batch is what is there. Idle, it holds one item; under
        load, lanes fill while the model runs and batches grow by themselves. Raises
        ``ValueError`` when ``max_items`` is below 1.
        """
        if max_items < 1:
            raise ValueError(f"fan {self.name!r}: a batch holds at least 1 item, not {max_items}")
        while (batch := self._take(max_items)) is not None:
            yield batch
            del batch  # do not keep pictures alive while waiting

    def _take(self, max_items: int) -> Batch[T] | None:
        with self._lock:
            while not self._ready:
                if self._aborted or self._finished():
                    return None
                self._ready_or_over.wait()
            taken: list[tuple[Lane[T], T]] = []
            while self._ready and len(taken) < max_items:
                lane = self._ready.popleft()
                taken.append((lane, lane._items.popleft()))
                lane._held += 1
                lane._not_full.notify()
            if self._finished():
                self._ready_or_over.notify_all()
            return Batch(self, taken)

    def _finished(self) -> bool:
        """With the lock held: nothing is left and nothing can come."""
        return self._closed and all(
            lane._closed and not lane._items for lane in self._lanes.values()
        )

    def _queue(self, lane: Lane[T]) -> None:
        """With the lock held: queue the lane for a worker if it is free and has items."""
        if lane._items and lane._free:
            lane._free = False
            self._ready.append(lane)
            self._ready_or_over.notify()

    def _release(self, lanes: list[Lane[T]]) -> None:
        """Let workers take from these lanes again."""
        with self._lock:
            for lane in lanes:
                lane._free = True
                self._queue(lane)

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
                    lane._dropped["infer", "shutdown"] += len(lane._items)
                    gone.append(lane._items)
                    lane._items = deque()
                lane._not_full.notify_all()
            self._ready.clear()
            self._ready_or_over.notify_all()
