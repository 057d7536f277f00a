"""Puts what is heard in order, finds what is missing, and asks for it: no sockets, no clock.

It holds for each topic where its order has come to. What comes too early waits until what is
before it was replayed, or is known to be lost. Only one thing is taken for granted of the way
here: what is heard live comes in the order in which it was published, with holes. So a message
beyond the next one, or a heartbeat that knows of more, proves a loss; and nothing else does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from streamer.client.notices import Gap, Notice, Restarted, Resumed, Stale, Stopped

STALE_S: Final = 3.0
"""Silence that is told, seconds: three heartbeats."""

ASK_TIMEOUT_S: Final = 1.0
"""How long an answer is waited for, seconds, before the same is asked again."""

ASK_TRIES: Final = 3
"""How often the same is asked before it is given up as lost."""

MAX_ASKS: Final = 4
"""Questions on their way at a time; it bounds what the answers may take."""

ATTENTIVE_S: Final = 0.5
"""How long one must have listened, seconds, to call silence a silence: a program that was stopped
or busy finds its messages only now. (One that is always busy waits ten times as long.)"""

MAX_TOPICS: Final = 8192
"""Topics that are followed; the events of further ones are given as they come."""

WAITING_OVERHEAD: Final = 256
"""Bytes that an event costs while it waits, besides those of its message."""

E = TypeVar("E")


class Ask(NamedTuple):
    """A question: give messages ``first`` to ``last`` (both inclusive) of ``topic``."""

    number: int
    topic: bytes
    boot_id: str
    first: int
    last: int


class _Asked(NamedTuple):
    ask: Ask
    at: float
    tries: int


@dataclass(slots=True)
class _Topic(Generic[E]):
    """Where one topic's order has come to."""

    next_seq: int
    newest: int  # the last message that is known to exist, next_seq - 1 when all were given
    untouched: bool = True  # nothing of it was given or found lost
    waiting: dict[int, tuple[E, int]] = field(default_factory=dict)  # in the order of seq
    asked: bool = False  # of what is missing next

    def hole(self) -> tuple[int, int] | None:
        """First and last of what is missing next, if anything is."""
        if self.next_seq > self.newest:
            return None
        return self.next_seq, next(iter(self.waiting)) - 1 if self.waiting else self.newest


class Sequences(Generic[E]):
    """Every topic's order. Feed it what is heard; take :attr:`ready`; send :meth:`asks`.

    ``wanted`` tells of a topic whether it was subscribed to. With ``replays`` what is missing is
    asked for, and it is a :class:`Gap` only when that fails; without, it is one at once.
    ``max_waiting`` bounds the bytes of what waits: beyond it what is heard is let go of, to be
    asked for in its turn. All instants are seconds of one clock that never jumps.
    """

    def __init__(
        self, wanted: Callable[[bytes], bool], *, replays: bool, max_waiting: int, now: float
    ) -> None:
        """Nothing was heard yet; ``now`` is when listening begins."""
        self.ready: deque[E | Notice] = deque()
        self.boot_id: str | None = None
        self.lost = 0
        self.doubled = 0
        self._wanted = wanted
        self._replays = replays
        self._max_waiting = max_waiting
        self._waiting = 0
        self._topics: dict[bytes, _Topic[E]] = {}
        self._holes: dict[bytes, None] = {}  # topics to ask for, the longest waiting first
        self._flying: dict[int, _Asked] = {}  # asked for, by number; not answered yet
        self._retired: deque[str] = deque(maxlen=16)
        self._hearsay = False  # the run is known by its state only, nothing was heard of it yet
        self._from_start = False  # a topic that is new to us is known from its first message
        self._number = 0
        self._heard_at = now
        self._told_stale = False
        self._ending = False  # the run has said its last; what is missing is still asked for

    @property
    def waiting_bytes(self) -> int:
        """What is held back until something before it comes."""
        return self._waiting

    def heard(self, topic: bytes, boot_id: str, seq: int, event: E, size: int, now: float) -> None:
        """Take an event that was heard live; ``size`` is its message's length in bytes."""
        if not self._boot(boot_id, now):
            self.doubled += 1
            return
        known = self._topics.get(topic)
        if known is None:
            if len(self._topics) >= MAX_TOPICS:
                self.ready.append(event)
                return
            begin = 1 if self._from_start else seq
            known = self._topics[topic] = _Topic(begin, begin - 1)
        if seq <= known.newest:  # given, or known to be lost before it could come
            self.doubled += 1
            return
        known.newest = seq
        if seq == known.next_seq:
            self._give(known, event)
        elif not self._replays or self._waiting < self._max_waiting:
            known.waiting[seq] = (event, size + WAITING_OVERHEAD)
            self._waiting += size + WAITING_OVERHEAD
        self._advance(topic, known)

    def beat(
        self, boot_id: str, last: Mapping[bytes, int], now: float, *, ended: bool = False
    ) -> None:
        """Take a heartbeat: ``last`` is the last ``seq`` of each topic that has any.

        ``ended``: it is the run's last message.
        """
        if not self._boot(boot_id, now):
            return
        for topic, seq in last.items():
            if not self._wanted(topic):
                continue
            known = self._topics.get(topic)
            if known is None:
                if len(self._topics) >= MAX_TOPICS:
                    continue
                begin = 1 if self._from_start else seq + 1
                known = self._topics[topic] = _Topic(begin, begin - 1)
            if seq > known.newest:
                known.newest = seq
                self._advance(topic, known)
        self._from_start = True
        self._ending |= ended
        self._end()

    def state(self, boot_id: str, topic: bytes, seq: int, event: E) -> None:
        """Take the newest message of a topic, as a late joiner asks for it.

        It is given when nothing of the topic was given before: then the topic begins with it.
        """
        if self.boot_id is None:
            self.boot_id = boot_id
            self._hearsay = True
        if boot_id != self.boot_id or not self._wanted(topic):
            return
        known = self._topics.get(topic)
        if known is None:
            if self._from_start or len(self._topics) >= MAX_TOPICS:
                return  # what is new since we listen comes from its first message
            known = self._topics[topic] = _Topic(seq, seq - 1)
        if not known.untouched or known.waiting or known.asked or known.hole():
            return
        known.next_seq = seq
        known.newest = max(known.newest, seq)
        self._give(known, event)
        self._advance(topic, known)

    def answered(self, number: int, boot_id: str, first: int, events: Sequence[E]) -> None:
        """Take the answer to the question ``number``: ``events`` are of ``first`` and on.

        What was asked for and is before ``first`` is lost; so is all of it where the run is
        another one. What is after the answer is asked for next.
        """
        asked = self._flying.pop(number, None)
        if asked is None:
            return
        ask = asked.ask
        known = self._topics[ask.topic]
        known.asked = False
        nothing = first == ask.first and not events
        if boot_id != ask.boot_id or first < ask.first or nothing:
            first, events = ask.last + 1, ()
        if first > ask.first:
            self._lose(ask.topic, known, min(first - 1, ask.last))
        for event in events[: ask.last + 1 - known.next_seq]:
            self._give(known, event)
        self._advance(ask.topic, known)
        self._end()

    def asks(self, now: float) -> Iterator[Ask]:
        """What is to be asked now, each to be sent as it is yielded."""
        while self._holes and len(self._flying) < MAX_ASKS:
            topic = next(iter(self._holes))
            del self._holes[topic]
            known = self._topics[topic]
            hole = known.hole()
            if hole is not None and not known.asked:
                known.asked = True
                self._number += 1
                ask = Ask(self._number, topic, self.boot_id or "", *hole)
                self._flying[ask.number] = _Asked(ask, now, 1)
                yield ask
        self._end()

    def overdue(self, now: float, attentive_since: float) -> Iterator[Ask]:
        """What is to be asked once more; what was asked too often is given up. As :meth:`asks`."""
        for number, (ask, at, tries) in list(self._flying.items()):
            if now < _due(at, ASK_TIMEOUT_S, attentive_since):
                continue
            if tries < ASK_TRIES:  # by the same number: an answer that was slow will do too
                self._flying[number] = _Asked(ask, now, tries + 1)
                yield ask
                continue
            del self._flying[number]
            known = self._topics[ask.topic]
            known.asked = False
            self._lose(ask.topic, known, ask.last)
            self._advance(ask.topic, known)
        self._end()

    def watch(self, now: float, attentive_since: float) -> None:
        """Say :class:`Stale` when it is time to."""
        if not self._told_stale and now >= _due(self._heard_at, STALE_S, attentive_since):
            self._told_stale = True
            self.ready.append(Stale(round(now - self._heard_at, 3), self.boot_id))

    def wake_at(self, attentive_since: float) -> float | None:
        """The instant at which :meth:`overdue` or :meth:`watch` has something to do, if any."""
        due = [_due(one.at, ASK_TIMEOUT_S, attentive_since) for one in self._flying.values()]
        if not self._told_stale:
            due.append(_due(self._heard_at, STALE_S, attentive_since))
        return min(due, default=None)

    def _boot(self, boot_id: str, now: float) -> bool:
        """Note who speaks; False for a run that is over."""
        if boot_id in self._retired:
            return False
        silent_s, self._heard_at = now - self._heard_at, now
        was_stale, self._told_stale = self._told_stale, False
        if was_stale and self.boot_id in (None, boot_id):
            self.ready.append(Resumed(round(silent_s, 3), boot_id))
        if self.boot_id is None:
            self.boot_id = boot_id
        elif boot_id != self.boot_id:
            for topic, known in self._topics.items():  # nobody can be asked for these any more
                while hole := known.hole():
                    self._lose(topic, known, hole[1])
                    self._drain(known)
            self._topics.clear()
            self._holes.clear()
            self._flying.clear()
            self._end()
            self._told_stale = False
            if not self._hearsay:  # else what is heard may be the last words of the run before it
                self._retired.append(self.boot_id)
            self.ready.append(Restarted(self.boot_id, boot_id))
            self.boot_id = boot_id
            self._from_start = True
        self._hearsay = False
        return True

    def _end(self) -> None:
        """Say :class:`Stopped` when the run is over and nothing of it is to come any more."""
        if self._ending and not self._holes and not self._flying:
            self._ending = False
            self._told_stale = True  # the silence to come is no news
            self._retired.append(self.boot_id or "")
            self.ready.append(Stopped(self.boot_id or ""))

    def _advance(self, topic: bytes, known: _Topic[E]) -> None:
        """Give what can be given, and see to what is missing next."""
        self._drain(known)
        hole = known.hole()
        if hole is None or known.asked:
            return
        if self._replays:
            self._holes[topic] = None
            return
        while hole is not None:
            self._lose(topic, known, hole[1])
            self._drain(known)
            hole = known.hole()

    def _drain(self, known: _Topic[E]) -> None:
        while known.waiting and (found := known.waiting.pop(known.next_seq, None)) is not None:
            self._waiting -= found[1]
            self._give(known, found[0])

    def _give(self, known: _Topic[E], event: E) -> None:
        known.untouched = False
        known.next_seq += 1
        self.ready.append(event)

    def _lose(self, topic: bytes, known: _Topic[E], last: int) -> None:
        gap = Gap(topic.decode(errors="replace"), self.boot_id or "", known.next_seq, last)
        self.lost += gap.count
        self.ready.append(gap)
        known.untouched = False
        known.next_seq = last + 1


def _due(since: float, after_s: float, attentive_since: float) -> float:
    attentive_at = min(attentive_since + ATTENTIVE_S, since + 10 * after_s)
    return max(since + after_s, attentive_at)
