"""Many cameras into few workers, and every outcome out to many sinks.

:class:`FanIn` keeps one bounded lane per camera and hands items out in turn, so that a fast
camera cannot starve a slow one. It also keeps each camera's ledger: every number in it changes
under one lock at the moment the frame itself moves, so a reading is exact at any instant.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

from streamer.flow.channel import Channel, ChannelStats, Closed, Overflow

T = TypeVar("T")


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


class Lane(Generic[T]):
    """One camera's way into a :class:`FanIn`; made by :meth:`FanIn.add_lane`."""

    def __init__(self, fan: FanIn[T], name: str, capacity: int, overflow: Overflow) -> None:
        """Make an empty lane; use :meth:`FanIn.add_lane`."""
        self.name = name
        self.capacity = capacity
        self.overflow: Overflow = overflow
        self.items: deque[T] = deque()
        self.closed = False
        self.peak = 0
        self.captured = 0
        self.skipped = 0
        self.held = 0
        self.settled: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self._fan = fan
        self.not_full = threading.Condition(fan.lock)

    def put(self, item: T) -> None:
        """Offer an item. Live lanes let the oldest go when full; file lanes wait for room.

        Raises :class:`Closed` when no worker will take it any more; it then counts as dropped.
        """
        with self._fan.lock:
            if self.overflow == "block":
                while len(self.items) >= self.capacity and not (self.closed or self._fan.aborted):
                    self.not_full.wait()
            self.captured += 1
            if self.closed or self._fan.aborted:
                self.dropped["capture", "shutdown"] += 1
                raise Closed(self.name)
            if len(self.items) >= self.capacity:
                self.items.popleft()
                self.dropped["infer", "queue_full"] += 1
            self.items.append(item)
            self.peak = max(self.peak, len(self.items))
            self._fan.mark_ready(self)

    def skip(self) -> None:
        """Count a frame that pacing chose not to look at."""
        with self._fan.lock:
            self.captured += 1
            self.skipped += 1

    def close(self) -> None:
        """Say that this camera will offer nothing more; what waits is still handed out."""
        with self._fan.lock:
            self.closed = True
            self.not_full.notify_all()
            self._fan.ready_changed.notify_all()

    def ledger(self) -> Ledger:
        """Where every frame of this camera is, at this instant."""
        with self._fan.lock:
            return Ledger(
                captured=self.captured,
                settled=dict(self.settled),
                skipped=self.skipped,
                dropped=dict(self.dropped),
                waiting=len(self.items),
                held=self.held,
            )

    def stats(self) -> ChannelStats:
        """Depth, capacity and peak of the lane's queue."""
        with self._fan.lock:
            return ChannelStats(
                name=self.name,
                depth=len(self.items),
                capacity=self.capacity,
                peak=self.peak,
                offered=self.captured - self.skipped,
                delivered=sum(self.settled.values()) + self.held,
                dropped={reason: n for (_, reason), n in self.dropped.items()},
            )


class Batch(Generic[T]):
    """Items taken by one worker, at most one from each camera.

    Use it as a context: each item is to be settled inside; what is not counts as dropped with
    the reason ``failed``. Until the batch ends, no other worker gets items of its cameras, so the
    order of one camera's outcomes holds.
    """

    def __init__(self, fan: FanIn[T], taken: list[tuple[Lane[T], T]]) -> None:
        """Made by :meth:`FanIn.batches`."""
        self._fan = fan
        self._open = dict.fromkeys(range(len(taken)))
        self._lanes = [lane for lane, _ in taken]
        self.items = [item for _, item in taken]

    def __len__(self) -> int:
        """How many items, at least 1."""
        return len(self.items)

    def settle(self, position: int, status: str) -> None:
        """Count the item at ``position`` of :attr:`items` as ended with ``status``."""
        lane = self._lanes[position]
        with self._fan.lock:
            del self._open[position]
            lane.held -= 1
            lane.settled[status] += 1

    def drop(self, position: int, reason: str) -> None:
        """Count the item at ``position`` of :attr:`items` as dropped in this stage."""
        lane = self._lanes[position]
        with self._fan.lock:
            del self._open[position]
            lane.held -= 1
            lane.dropped["infer", reason] += 1

    def __enter__(self) -> Batch[T]:
        """Begin the work on the batch."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Settle what was forgotten and let the cameras be served again."""
        for position in list(self._open):
            self.drop(position, "failed")
        self.items = []
        self._fan.release(self._lanes)


class FanIn(Generic[T]):
    """One lane per camera in, fair batches out, any number of workers.

    It ends, for every worker, when it is closed (no more cameras will come) and all lanes are
    closed and empty; or at once when aborted.
    """

    def __init__(self, name: str) -> None:
        """Make a fan without lanes."""
        self.name = name
        self.lock = threading.Lock()
        self.ready_changed = threading.Condition(self.lock)
        self.aborted = False
        self._closed = False
        self._lanes: dict[str, Lane[T]] = {}
        self._ready: deque[Lane[T]] = deque()
        self._queued: set[str] = set()
        self._busy: set[str] = set()

    def add_lane(self, name: str, *, capacity: int, overflow: Overflow) -> Lane[T]:
        """Add a camera. Raises ``ValueError`` when the name is taken or capacity below 1."""
        if capacity < 1:
            raise ValueError(f"lane {name!r}: capacity must be at least 1, not {capacity}")
        lane = Lane(self, name, capacity, overflow)
        with self.lock:
            if name in self._lanes:
                raise ValueError(f"there is a lane {name!r} already")
            self._lanes[name] = lane
        return lane

    def lanes(self) -> list[Lane[T]]:
        """All lanes, in the order they were added."""
        with self.lock:
            return list(self._lanes.values())

    def batches(self, max_items: int) -> Iterator[Batch[T]]:
        """Yield what is ready, one item per camera in turn, at most ``max_items`` at once.

        It never waits for a camera: a batch is what is there. Idle, it holds one item; under
        load, lanes fill while the model runs and batches grow by themselves.
        """
        while batch := self._take(max_items):
            yield batch
            del batch  # do not keep pictures alive while waiting

    def _take(self, max_items: int) -> Batch[T] | None:
        with self.lock:
            while not self._ready:
                if self.aborted or self._finished():
                    return None
                self.ready_changed.wait()
            taken: list[tuple[Lane[T], T]] = []
            while self._ready and len(taken) < max_items:
                lane = self._ready.popleft()
                self._queued.discard(lane.name)
                self._busy.add(lane.name)
                taken.append((lane, lane.items.popleft()))
                lane.held += 1
                lane.not_full.notify()
            return Batch(self, taken)

    def _finished(self) -> bool:
        """With the lock held: nothing is left and nothing can come."""
        return self._closed and all(
            lane.closed and not lane.items and name not in self._busy
            for name, lane in self._lanes.items()
        )

    def mark_ready(self, lane: Lane[T]) -> None:
        """With the lock held: queue the lane for a worker if it has something to give."""
        if lane.items and lane.name not in self._busy and lane.name not in self._queued:
            self._ready.append(lane)
            self._queued.add(lane.name)
            self.ready_changed.notify()

    def release(self, lanes: list[Lane[T]]) -> None:
        """Let workers take from these lanes again; :class:`Batch` calls it."""
        with self.lock:
            for lane in lanes:
                self._busy.discard(lane.name)
                self.mark_ready(lane)
            if self._finished():
                self.ready_changed.notify_all()

    def close(self) -> None:
        """Say that no more lanes will be added."""
        with self.lock:
            self._closed = True
            self.ready_changed.notify_all()

    def abort(self) -> None:
        """Say that no worker will take anything more; what waits is dropped as ``shutdown``."""
        with self.lock:
            self.aborted = True
            for lane in self._lanes.values():
                if lane.items:
                    lane.dropped["infer", "shutdown"] += len(lane.items)
                    lane.items.clear()
                lane.not_full.notify_all()
            self._ready.clear()
            self._queued.clear()
            self.ready_changed.notify_all()


class FanOut(Generic[T]):
    """Every item to every sink, through a bounded channel of its own for each."""

    def __init__(self) -> None:
        """Make a fan without sinks."""
        self._outlets: list[tuple[Channel[T], Callable[[T], T] | None, bool]] = []

    def add(
        self,
        channel: Channel[T],
        *,
        prepare: Callable[[T], T] | None = None,
        vital: bool = True,
    ) -> None:
        """Add a sink's channel before the first :meth:`put`.

        ``prepare`` makes what this sink gets (a copy without pictures, say). When the reader of
        a channel that is not ``vital`` is gone, its items count as dropped and nobody else is
        disturbed; when it is vital, :meth:`put` raises :class:`Closed`.
        """
        self._outlets.append((channel, prepare, vital))

    def put(self, item: T) -> None:
        """Give ``item`` to every channel. Raises :class:`Closed` when a vital reader is gone."""
        for channel, prepare, vital in self._outlets:
            try:
                channel.put(prepare(item) if prepare else item)
            except Closed:
                if vital:
                    raise

    def close(self) -> None:
        """Close every channel."""
        for channel, _, _ in self._outlets:
            channel.close()

    def stats(self) -> list[ChannelStats]:
        """A reading of every channel, in the order they were added."""
        return [channel.stats() for channel, _, _ in self._outlets]
