"""One step of reading: an event, a wait of so many seconds, or why there is none."""

from __future__ import annotations

import time
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streamer.client.connection import Connection
from streamer.client.handshake import NotAdmitted
from streamer.client.notices import Gap
from streamer.client.reading import NothingHeard, Reading

GAP = Gap("faces/door/", "b", 2, 3)


class Fake:
    """A connection that has ``coming`` after the first look, and then waits ``wait_s``."""

    def __init__(self, *coming: object, wait_s: float | None = 7.0) -> None:
        self.sequences = SimpleNamespace(ready=deque[object](), lost=4)
        self.malformed = 2
        self.refused: NotAdmitted | None = None
        self._coming = coming
        self._wait_s = wait_s

    def pump(self) -> float | None:
        self.sequences.ready.extend(self._coming)
        self._coming = ()
        return self._wait_s

    def refusal(self) -> NotAdmitted | None:
        refused, self.refused = self.refused, None
        return refused


def reading(fake: Fake, *, timeout_s: float | None = None, notices: bool = False) -> Reading[Any]:
    return Reading("tcp://x", cast("Connection", fake), timeout_s=timeout_s, notices=notices)


def test_events_come_one_by_one_and_notices_where_they_are_wanted() -> None:
    some = reading(Fake(GAP, "one", "two"))
    assert [some._step(None) for _ in range(2)] == [("one", 0.0), ("two", 0.0)]
    assert some._step(None) == (None, 7.0)
    told = reading(Fake(GAP, "one"), notices=True)
    assert [told._step(None)[0] for _ in range(2)] == [GAP, "one"]
    assert (some.malformed, some.lost) == (2, 4)


def test_after_notices_that_nobody_wants_it_looks_again_at_once() -> None:
    fake = Fake(GAP)
    assert reading(fake)._step(None) == (None, 0.0)


def test_the_wait_ends_where_the_time_given_does() -> None:
    some = reading(Fake(wait_s=None), timeout_s=5.0)
    until = some._give_up_at()
    assert until is not None
    assert until - time.monotonic() == pytest.approx(5.0, abs=1.0)
    event, wait_s = some._step(until)
    assert event is None
    assert wait_s is not None
    assert 0 < wait_s <= 5.0
    with pytest.raises(NothingHeard, match="nothing came from tcp://x within 5000 ms"):
        some._step(time.monotonic() - 1)
    assert reading(Fake(wait_s=None))._step(None) == (None, None)


def test_a_refusal_is_raised_once_and_after_what_came_before_it() -> None:
    fake = Fake("one")
    fake.refused = NotAdmitted("give a key")
    some = reading(fake)
    assert some._step(None)[0] == "one"
    with pytest.raises(NotAdmitted):
        some._step(None)
    assert some._step(None) == (None, 7.0)
