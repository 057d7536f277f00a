"""A bounded channel between threads that can be closed from either end and counts its drops."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T")

Overflow: TypeAlias = Literal["block", "drop_oldest"]
"""What a full channel does with the next item: make the writer wait, or let the oldest go."""


class Closed(Exception):
    """The other end of a channel is gone: nothing written will be read any more."""


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """One consistent reading of a channel.

    ``offered = delivered + sum(dropped.values()) + depth`` holds in every reading. ``beside`` of
    the ``depth`` items have room of their own: neither ``capacity`` nor ``peak`` is of them.
    """

    name: str
    depth: int
    capacity: int
    peak: int
    offered: int
    delivered: int
    dropped: Mapping[str, int]
    beside: int = 0


class Channel(Generic[T]):
    """First in, first out, at most ``capacity`` items, any number of writers and readers.

    A writer calls :meth:`put` and, once, :meth:`close`; a reader iterates, which ends when the
    channel is closed and empty, or calls :meth:`abort` when it will read no more.
    """

    def __init__(
        self,
        name: str,
        *,
        capacity: int,
        overflow: Overflow,
        too_old_at: Callable[[T], float | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make an open, empty channel.

        ``too_old_at`` says of an item the instant, by ``clock``, from which nobody wants it any
        more; None means never. A reader that comes later does not get it: it is dropped as
        ``too_old``. Raises ``ValueError`` when ``capacity`` is below 1.
        """
        if capacity < 1:
            raise ValueError(f"channel {name!r}: capacity must be at least 1, not {capacity}")
        self.name = name
        self._too_old_at = too_old_at
        self._clock = clock
        self._capacity = capacity
        self._overflow: Overflow = overflow
        self._items: deque[T] = deque()
        self._lock = threading.Lock()
        self._not_empty = threading.Condition(self._lock)
        self._not_full = threading.Condition(self._lock)
        self._closed = False
        self._aborted = False
        self._peak = 0
        self._offered = 0
        self._delivered = 0
        self._dropped: Counter[str] = Counter()

    def put(self, item: T) -> None:
        """Add an item; when full, wait or let the oldest go, as the channel was made.

        Raises :class:`Closed` when the reader is gone or the channel was closed; the item then
        counts as dropped for the reason ``closed``.
        """
        with self._lock:
            if self._overflow == "block":
                while len(self._items) >= self._capacity and not (self._aborted or self._closed):
                    self._not_full.wait()
            self._offered += 1  # a writer that waits for room has offered nothing yet
            if self._aborted or self._closed:
                self._dropped["closed"] += 1
                raise Closed(self.name)
            if len(self._items) >= self._capacity:
                _gone = self._items.popleft()  # freed on return, when the lock is let go
                self._dropped["queue_full"] += 1
            self._items.append(item)
            self._peak = max(self._peak, len(self._items))
            self._not_empty.notify()

    def __iter__(self) -> Iterator[T]:
        """Yield items until the channel is closed and empty, or aborted.

        The channel keeps no item that it gave away. A reader that must not keep a picture alive
        while it waits ends its loop's body with ``del``.
        """
        for burst in self.bursts(0.0):
            yield from burst

    def bursts(self, apart_s: float) -> Iterator[Iterator[T]]:
        """Yield iterators, each over what waits when it is begun: one item or more together.

        A burst begins as soon as something waits, but ``apart_s`` seconds after the last began at
        the earliest: who is alone waits for nobody, and what comes often comes together. Each has
        to be read before the next; otherwise as iterating, and it ends as that does.
        """
        began_at = -math.inf
        while True:
            if (rest_s := began_at + apart_s - self._clock()) > 0:
                time.sleep(rest_s)
            with self._lock:
                while not self._items and not (self._closed or self._aborted):
                    self._not_empty.wait()
                waiting = len(self._items)
            if not waiting:
                return
            began_at = self._clock()
            yield self._take(waiting)

    def _take(self, most: int) -> Iterator[T]:
        """Yield at most so many items of those that wait."""
        for _ in range(most):
            with self._lock:
                if not self._items:
                    return
                item = self._items.popleft()
                self._not_full.notify()
                wanted = self._wanted(item)
                if wanted:
                    self._delivered += 1
                else:
                    self._dropped["too_old"] += 1
            if wanted:
                yield item
            del item  # do not keep a picture alive while waiting for the next

    def _wanted(self, item: T) -> bool:
        """Whether an item is not too old yet."""
        if self._too_old_at is None:
            return True
        at = self._too_old_at(item)
        return at is None or self._clock() < at

    def close(self) -> None:
        """Say that nothing more will be written; readers drain what is left and end.

        A writer that waits for room gets :class:`Closed`. Closing twice does nothing more.
        """
        with self._lock:
            self._closed = True
            self._wake_all()

    def abort(self) -> None:
        """Say that nothing more will be read; what is queued is dropped as ``aborted``.

        Readers end and writers get :class:`Closed`. Aborting twice does nothing more.
        """
        with self._lock:
            self._aborted = True
            if self._items:
                self._dropped["aborted"] += len(self._items)
            _gone, self._items = self._items, deque()  # freed when the lock is let go
            self._wake_all()

    def stats(self) -> ChannelStats:
        """A consistent reading of all counters."""
        with self._lock:
            return ChannelStats(
                name=self.name,
                depth=len(self._items),
                capacity=self._capacity,
                peak=self._peak,
                offered=self._offered,
                delivered=self._delivered,
                dropped=dict(self._dropped),
            )

    def _wake_all(self) -> None:
        self._not_empty.notify_all()
        self._not_full.notify_all()
