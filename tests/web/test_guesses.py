"""How often a token may be guessed."""

from __future__ import annotations

import pytest

import streamer.web.guesses
from streamer.web.guesses import (
    ALL_WRONG_AT_ONCE,
    WRONG_AT_ONCE,
    Guesses,
    TooManyGuesses,
    network_of,
)

EACH, ALL = int(WRONG_AT_ONCE), int(ALL_WRONG_AT_ONCE)


class Door:
    """Guesses, their clock, and one right token."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.looks = 0
        self.right = "right"
        self.guesses = Guesses(lambda: self.now)

    def show(self, shown: str, address: str = "10.0.0.1") -> str:
        """ "in", "wrong", or how many seconds to wait."""

        def find() -> bool | None:
            self.looks += 1
            return True if shown == self.right else None

        try:
            return "wrong" if self.guesses.look(address, shown, find) is None else "in"
        except TooManyGuesses as wait:
            return f"wait {wait.wait_s}"


@pytest.fixture
def door() -> Door:
    return Door()


def exhaust(door: Door, address: str = "10.0.0.1") -> None:
    assert {door.show(f"{address} {n}", address) for n in range(EACH)} == {"wrong"}


def test_who_has_guessed_enough_is_not_looked_at_even_with_the_right_one(door):
    exhaust(door)
    looks = door.looks
    assert door.show("one more") == "wait 5"
    assert door.show(door.right) == "wait 5"  # or the answer would be worth as much as a look
    assert door.looks == looks
    door.now += 4.0
    assert door.show(door.right) == "wait 1"
    door.now += 1.0
    assert door.show(door.right) == "in"


def test_guesses_without_end_are_looked_at_as_often_as_is_said(door):
    """A guesser that asks a hundred times a second for an hour."""
    for n in range(360_000):
        door.now = 1000.0 + n / 100
        door.show(str(n))
    assert door.looks <= EACH + 3600 / 5 + 1


def test_somebody_elses_guesses_hinder_nobody(door):
    exhaust(door, "10.0.0.1")
    assert door.show(door.right, "10.0.0.2") == "in"


def test_who_is_in_stays_in_beside_a_guesser_at_the_same_address(door):
    assert door.show(door.right) == "in"
    exhaust(door)
    assert door.show("one more") == "wait 5"
    assert door.show(door.right) == "in"
    assert door.show("one more") == "wait 5"


def test_what_was_right_is_right_no_more_when_it_has_ended(door):
    assert door.show(door.right) == "in"
    ended, door.right = door.right, "another"
    assert door.show(ended) == "wrong"
    exhaust_by = [door.show(str(n)) for n in range(EACH)]
    assert exhaust_by[-1] == "wait 5"  # the ended one was a guess like others


def test_a_program_with_an_old_token_locks_out_nobody(door):
    assert {door.show("old") for _ in range(1000)} == {"wrong"}
    assert door.looks == 1
    assert door.show("other") == "wrong"
    assert door.show(door.right) == "in"


def test_a_login_is_in_even_when_others_guess_meanwhile(door):
    exhaust(door)
    door.guesses.given("10.0.0.1", door.right)
    assert door.show(door.right) == "in"


def test_all_addresses_together_are_bounded_and_who_is_in_stays_in(door):
    assert door.show(door.right, "192.168.1.9") == "in"
    for n in range(ALL // EACH):
        exhaust(door, f"10.0.1.{n}")
    assert door.show("a guess", "10.0.2.1") == "wait 1"
    assert door.show(door.right, "192.168.1.9") == "in"
    door.now += 1.0
    assert door.show("a guess", "10.0.2.1") == "wrong"


def test_no_more_is_remembered_than_may_be(door, monkeypatch):
    monkeypatch.setattr(streamer.web.guesses, "MOST_REMEMBERED", 3)
    for n in range(EACH):
        door.show(str(n))
    assert len(door.guesses._wrong._held) == 3
    assert all("right" not in repr(key) for key in door.guesses._wrong._held)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.168.1.9", "192.168.1.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("", ""),
        ("a socket", "a socket"),
    ],
)
def test_an_ipv6_host_has_many_addresses_and_one_network(address, network):
    assert network_of(address) == network
