"""What is known of an address outlives the line that dialled it."""

from __future__ import annotations

import threading

from streamer.capture.backoff import Backoff
from streamer.capture.dials import Dials
from streamer.errors import SourceLost
from tests.capture.clocks import Clock

WRONG = SourceLost("auth", "wrong password")


def dials(clock: Clock) -> Dials:
    waits = Backoff(first_s=0.5, most_s=30.0, auth_s=60.0, random=lambda: 0.0)
    return Dials(waits, clock=clock)


def test_a_refusal_holds_until_its_wait_is_over() -> None:
    clock = Clock()
    one = dials(clock)
    assert one.still_held() is None
    assert one.wait_s(WRONG, 0.0) == 60.0
    clock.now += 20
    assert one.still_held() == (WRONG, 40.0)
    clock.now += 40
    assert one.still_held() is None
    assert one.wait_s(WRONG, 0.0) == 120.0  # the next is twice as long


def test_other_losses_hold_nothing_and_a_picture_lets_in() -> None:
    one = dials(Clock())
    one.wait_s(SourceLost("reset", "gone"), 0.0)
    assert one.still_held() is None
    one.begin()
    one.wait_s(WRONG, 0.0)
    one.decide(let_in=True)
    assert one.still_held() is None


def test_a_dial_that_is_under_way_is_awaited() -> None:
    one = dials(Clock())
    assert (one.begin(), one.begin()) == (1, 2)
    one.decide()
    waiting = threading.Thread(target=one.await_verdict, args=(threading.Event(), 60.0))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    one.decide()
    waiting.join(10)
    assert not waiting.is_alive()


def test_it_is_not_awaited_for_ever_nor_by_who_is_stopped() -> None:
    one = dials(Clock())
    one.begin()
    one.await_verdict(threading.Event(), 0.2)
    stopped = threading.Event()
    stopped.set()
    one.await_verdict(stopped, 1e6)
