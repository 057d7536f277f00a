"""What was refused outlives the camera: its source is left alone, however it comes again."""

from __future__ import annotations

import threading

import pytest

from streamer.capture.refusals import Refusal, Refusals
from streamer.errors import SourceLost
from streamer.types import SourceUrl
from tests.capture.clocks import Clock

WRONG = SourceLost("auth", "wrong password")
DOOR = "rtsp://cam:hunter2@door/live"


def key(refusals: Refusals, text: str = DOOR) -> bytes:
    return refusals.key(SourceUrl(text))


def test_a_refusal_holds_until_its_wait_is_over() -> None:
    clock = Clock()
    known = Refusals(clock=clock)
    door = key(known)
    assert known.held(door) is None
    known.hold(door, WRONG, 60.0, 1)
    clock.now += 20
    assert known.held(door) == Refusal(WRONG, 40.0, 1)
    known.hold(door, WRONG, 120.0, 2)
    assert known.held(door) == Refusal(WRONG, 120.0, 2)
    clock.now += 120
    assert known.held(door) is None


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("rtsp://cam:hunter2@DOOR:554/live", True),
        ("rtsp://cam:hunter3@door/live", False),
        ("rtsp://eve:hunter2@door/live", False),
        ("rtsp://cam:hunter2@yard/live", False),
        ("rtsp://cam:hunter2@door:8554/live", False),
        ("rtsp://cam:hunter2@door/other", False),
        ("webcam:0", False),
    ],
)
def test_a_source_is_its_address_login_and_path(text: str, same: bool) -> None:
    known = Refusals(clock=Clock())
    known.hold(key(known), WRONG, 60.0, 1)
    assert (known.held(key(known, text)) is not None) == same


def test_nobody_can_read_a_password_from_what_is_kept() -> None:
    known, other = Refusals(clock=Clock()), Refusals(clock=Clock())
    assert key(known) == key(known)
    assert key(known) != key(other)  # and no table of hashes will do


def test_a_picture_lets_in() -> None:
    known = Refusals(clock=Clock())
    known.hold(key(known), WRONG, 60.0, 1)
    with known.dial(key(known), stop := threading.Event()):
        assert known.held(key(known)) is not None
        known.let_in(key(known), stop)
        assert known.held(key(known)) is None


def test_what_is_over_is_forgotten_and_the_rest_is_bounded() -> None:
    clock = Clock()
    known = Refusals(clock=clock, most=3)
    keys = [key(known, f"rtsp://{n}/") for n in range(5)]
    for each, wait_s in zip(keys, (10, 100, 60, 100, 100), strict=True):
        known.hold(each, WRONG, wait_s, 1)
    assert [known.held(each) is not None for each in keys] == [False, True, False, True, True]
    clock.now += 100
    known.hold(keys[0], WRONG, 60.0, 1)
    assert len(known._held) == 1


def test_a_dial_of_one_that_was_stopped_is_awaited_and_of_one_that_goes_on_is_not() -> None:
    known = Refusals(clock=Clock())
    door, stop = key(known), threading.Event()
    with known.dial(door, stop):
        known.await_verdict(door, threading.Event(), 1e6)  # it goes on: nobody waits for it
        stop.set()
        known.await_verdict(key(known, "rtsp://yard/"), threading.Event(), 1e6)
        waiting = threading.Thread(target=known.await_verdict, args=(door, threading.Event(), 60.0))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()
    assert not known._dialling


def test_it_is_not_awaited_for_ever_nor_by_who_is_stopped() -> None:
    known = Refusals(clock=Clock())
    stopped = threading.Event()
    stopped.set()
    with known.dial(key(known), stopped):
        known.await_verdict(key(known), threading.Event(), 0.2)
        known.await_verdict(key(known), stopped, 1e6)
