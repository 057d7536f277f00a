"""What was published lately, kept in memory for those who missed it: bounded, and no threads.

It is given its instants and keeps no clock. Two threads use it, the one that publishes and the
one that answers, so every method holds a lock, for microseconds.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

ENTRY_BYTES: Final = 160
"""What keeping one message costs besides its bytes (CPython 3.11: 33 of the bytes object, a tuple,
a float and two places in deques), so that the bound is one of memory and not of payload."""

MAX_TOPICS: Final = 4096
"""Topics that are known at a time: four kinds of a thousand cameras."""


class Passage(NamedTuple):
    """A run of one topic's messages: ``bodies`` begin at ``first_seq`` and have no hole.

    What was asked for and is before ``first_seq`` is not there any more. With no ``bodies``
    ``first_seq`` is where they would begin: after the last that was asked for when all of it is
    gone, or after ``newest_seq`` when it was not published yet. ``newest_seq`` is 0 for a topic
    that nothing was published on.
    """

    first_seq: int
    bodies: tuple[bytes, ...]
    newest_seq: int


class Newest(NamedTuple):
    """The last message of a topic."""

    topic: bytes
    seq: int
    body: bytes


class _Topic:
    """One topic's messages, newest last: ``bodies[-1]`` has the number ``newest_seq``."""

    __slots__ = ("at", "bodies", "newest_body", "newest_seq", "shown")

    def __init__(self, seq: int) -> None:
        self.bodies: deque[bytes] = deque()
        self.newest_seq = seq
        self.newest_body = b""
        self.at = 0.0
        self.shown = True


class History:
    """The messages of the last ``max_age_s`` seconds, ``max_bytes`` of memory at most.

    The oldest goes first, whatever its topic, so all topics reach back equally far. The newest
    message of each topic is kept besides, however old: it is the topic's state. Raises
    ``ValueError`` for bounds below 1 byte or 0 seconds.
    """

    def __init__(self, *, max_bytes: int, max_age_s: float) -> None:
        """Keep nothing yet."""
        if max_bytes < 1 or not max_age_s >= 0:
            raise ValueError(f"cannot keep {max_bytes} bytes for {max_age_s} s; give more")
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._bytes = 0
        self._topics: dict[bytes, _Topic] = {}
        self._order: deque[tuple[float, _Topic]] = deque()  # an entry for each body, oldest first
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Memory that the messages take, the newest of quiet topics left out."""
        return self._bytes

    def __len__(self) -> int:
        """How many messages are held."""
        return len(self._order)

    def add(self, topic: bytes, seq: int, body: bytes, at: float) -> None:
        """Keep a message published at the instant ``at`` (seconds, never before the last one's).

        Raises ``ValueError`` when ``seq`` does not follow the topic's last: a hole here would be
        told as if it were none.
        """
        with self._lock:
            known = self._topics.get(topic)
            if known is None:
                known = self._begin(topic, seq)
            elif seq != known.newest_seq + 1:
                raise ValueError(f"message {seq} does not follow {known.newest_seq} of {topic!r}")
            known.newest_seq = seq
            known.newest_body = body
            known.at = at
            known.bodies.append(body)
            self._order.append((at, known))
            self._bytes += len(body) + ENTRY_BYTES
            self._forget(at)

    def show(self, topic: bytes, shown: bool) -> None:
        """Whether the newest message of ``topic`` is its state, and so among :meth:`newest`."""
        with self._lock:
            if topic in self._topics:
                self._topics[topic].shown = shown

    def _begin(self, topic: bytes, seq: int) -> _Topic:
        if len(self._topics) >= MAX_TOPICS:
            quietest = min(self._topics, key=lambda name: self._topics[name].at)
            gone = self._topics.pop(quietest)
            self._bytes -= sum(map(len, gone.bodies)) + ENTRY_BYTES * len(gone.bodies)
            gone.bodies.clear()
            self._order = deque(entry for entry in self._order if entry[1] is not gone)
        known = self._topics[topic] = _Topic(seq)
        return known

    def _forget(self, now: float) -> None:
        """Let go of what is too old or too much."""
        order, oldest_at = self._order, now - self._max_age_s
        while order and (self._bytes > self._max_bytes or order[0][0] < oldest_at):
            _, known = order.popleft()
            self._bytes -= len(known.bodies.popleft()) + ENTRY_BYTES

    def read(
        self, topic: bytes, first: int, last: int, *, now: float, max_bytes: int, max_count: int
    ) -> Passage:
        """What is still there of the messages ``first`` to ``last`` (both inclusive, from 1).

        It ends early rather than be above ``max_bytes`` or ``max_count``, but gives one message
        where there is one, however long. ``now`` is the instant of asking.
        """
        with self._lock:
            self._forget(now)
            known = self._topics.get(topic)
            if known is None:
                return Passage(1, (), 0)
            newest = known.newest_seq
            held_from = newest - len(known.bodies) + 1
            begin = min(max(first, held_from), max(last, first - 1) + 1, newest + 1)
            if begin < held_from:  # all that was asked for is gone
                return Passage(begin, (), newest)
            bodies: list[bytes] = []
            room = max_bytes
            end = min(begin + max_count, last + 1, newest + 1)
            for body in islice(known.bodies, begin - held_from, max(end, begin) - held_from):
                room -= len(body)
                if room < 0 and bodies:
                    break
                bodies.append(body)
            return Passage(begin, tuple(bodies), newest)

    def newest(
        self, prefixes: Sequence[bytes], *, after: bytes, max_bytes: int, max_count: int
    ) -> tuple[list[Newest], bool]:
        """The last message of each topic that begins with one of ``prefixes``, sorted by topic.

        Only topics that sort after ``after``, and those not shown left out; the second value says
        whether there are more. It ends early as :meth:`read` does.
        """
        beginnings = tuple(prefixes)
        with self._lock:
            names = [
                name
                for name, known in self._topics.items()
                if known.shown and name > after and name.startswith(beginnings)
            ]
            names.sort()
            found: list[Newest] = []
            room = max_bytes
            for name in names:
                known = self._topics[name]
                room -= len(known.newest_body) + len(name)
                if found and (room < 0 or len(found) >= max_count):
                    return found, True
                found.append(Newest(name, known.newest_seq, known.newest_body))
            return found, False
