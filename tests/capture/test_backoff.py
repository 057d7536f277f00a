from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.capture.backoff import LOCKING, Backoff
from streamer.errors import LossReason

DRAWS = st.floats(0, 1)


def usual(draw: Callable[[], float]) -> Backoff:
    return Backoff(first_s=0.5, most_s=30.0, auth_s=60.0, random=draw)


def waits(draw: Callable[[], float], count: int, reason: LossReason = "refused") -> list[float]:
    backoff = usual(draw)
    return [backoff.next_s(reason) for _ in range(count)]


def test_ceilings_grow_threefold_and_the_longest_has_a_floor() -> None:
    assert waits(lambda: 1.0, 7) == [0.5, 1.5, 4.5, 13.5, 30, 30, 30]
    assert waits(lambda: 0.0, 7) == [0, 0, 0, 0, 15, 15, 15]
    assert waits(lambda: 0.5, 6) == [0.25, 0.75, 2.25, 6.75, 22.5, 22.5]


@given(st.lists(DRAWS, min_size=20, max_size=20), st.lists(st.floats(0, 10), min_size=20))
def test_at_most_eight_dials_in_the_first_minute(draws: list[float], lasting: list[float]) -> None:
    backoff = usual(iter(draws).__next__)
    dials, now = [0.0], 0.0
    for attempt_s in lasting[:20]:  # how long each dial took to fail
        now += attempt_s + backoff.next_s("refused", attempt_s)
        dials.append(now)
    assert sum(at < 60 - 1e-6 for at in dials) <= 8


@given(st.lists(DRAWS, min_size=1, max_size=40), st.floats(0, 60))
def test_from_dial_to_dial_never_more_than_the_longest_nor_less_than_drawn(
    draws: list[float], quiet_s: float
) -> None:
    quiet, plain = usual(iter(draws).__next__), usual(iter(draws).__next__)
    for _ in draws:
        wait_s, drawn_s = quiet.next_s("stall", quiet_s), plain.next_s("stall")
        assert wait_s >= 0
        assert wait_s + quiet_s <= max(30.0, quiet_s) + 1e-9
        assert wait_s + quiet_s >= drawn_s - 1e-9


@pytest.mark.parametrize("attempt_s", [0.0, 4.0])
def test_a_hundred_cameras_lost_together_come_back_apart(attempt_s: float) -> None:
    for seed in range(20):
        dials: list[tuple[int, float]] = []
        draw = random.Random(seed)
        for _ in range(100):
            backoff, now = usual(draw.random), 0.0
            for round_ in range(12):
                wait_s = backoff.next_s("refused", attempt_s)
                now += wait_s + (attempt_s if round_ else 0.0)
                dials.append((round_, now))
        begun_at = max(at for round_, at in dials if round_ == 2)  # all had three rounds
        late = sorted(at for _, at in dials if at > begun_at)
        crowd = max(
            sum(at <= other < at + 1 for other in late[n : n + 60]) for n, at in enumerate(late)
        )
        assert crowd <= 20, f"{crowd} of 100 dialled within a second, seed {seed}"


@given(
    st.lists(st.sampled_from(["auth", "stall", "refused", "eof", "too_large"]), max_size=60),
    DRAWS,
    st.floats(0.01, 5),
    st.floats(1, 100),
)
def test_waits_stay_in_their_bounds(
    losses: list[LossReason], draw: float, first_s: float, times: float
) -> None:
    most_s = first_s * times
    backoff = Backoff(first_s=first_s, most_s=most_s, auth_s=60.0, random=lambda: draw)
    seen = 0
    for reason in losses:
        wait_s = backoff.next_s(reason)
        if reason in LOCKING:
            assert 60 <= wait_s <= 660.0001
        else:
            assert 0 <= wait_s <= min(most_s, first_s * 3**seen) * 1.0001
            seen += 1


def test_refusals_wait_a_minute_and_more_and_never_for_ever() -> None:
    for reason in LOCKING:
        assert waits(lambda: 0.0, 6, reason) == [60, 120, 240, 480, 600, 600]
        assert waits(lambda: 1.0, 1, reason) == pytest.approx([66])


def test_health_begins_again() -> None:
    backoff = usual(lambda: 1.0)
    for reason in ("eof", "eof", "auth", "auth"):
        backoff.next_s(reason)
    backoff.reset()
    assert [backoff.next_s("eof"), backoff.next_s("auth")] == pytest.approx([0.5, 66])


def test_years_of_failures_do_not_overflow() -> None:
    backoff = usual(lambda: 1.0)
    for _ in range(5000):
        assert backoff.next_s("refused") <= 30
        assert backoff.next_s("auth") <= 660.0001
