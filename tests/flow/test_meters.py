"""Durations and Rate: exact counts, nearest-rank quantiles, honest rates."""

import math
import threading
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.flow.meters import BUCKETS_S, MOST_TICKS, Durations, Rate

seconds = st.floats(0, 10)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_buckets_ascend_from_1_ms_to_5_s():
    assert list(BUCKETS_S) == sorted(set(BUCKETS_S))
    assert (BUCKETS_S[0], BUCKETS_S[-1]) == (0.001, 5.0)


@given(st.lists(seconds, max_size=50))
def test_every_duration_is_in_one_bucket(values):
    durations = Durations()
    for value in values:
        durations.observe(value)
    stats = durations.stats()
    assert stats.count == len(values)
    assert stats.sum_s == pytest.approx(sum(values))
    assert stats.bounds == BUCKETS_S
    for n in range(len(BUCKETS_S)):  # as Prometheus reads them: "le" includes the bound
        assert sum(stats.counts[: n + 1]) == sum(value <= BUCKETS_S[n] for value in values)


@given(st.lists(seconds, min_size=1, max_size=60), st.floats(0, 1))
def test_quantile_is_the_least_value_not_exceeded_by_its_share(values, q):
    durations = Durations(recent=60)
    for value in values:
        durations.observe(value)
    found = durations.quantile(q)
    ordered = sorted(values)
    rank = max(1, math.ceil(q * len(values)))
    assert found == ordered[rank - 1]
    assert sum(value <= found for value in values) >= q * len(values) - 1e-9
    assert bisect_left(ordered, found) < rank


@pytest.mark.parametrize(("q", "expected"), [(0, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1, 4)])
def test_quantile_of_four(q, expected):
    durations = Durations()
    for value in (4, 2, 1, 3):
        durations.observe(value)
    assert durations.quantile(q) == expected


def test_quantile_without_data_is_none():
    assert Durations().quantile(0.5) is None


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_quantile_outside_0_to_1_is_refused(q):
    with pytest.raises(ValueError, match="from 0 to 1"):
        Durations().quantile(q)


def test_quantile_forgets_the_histogram_does_not():
    durations = Durations(recent=2)
    for value in (9, 1, 2):
        durations.observe(value)
    assert durations.quantile(1) == 2
    assert durations.stats().count == 3


def test_readings_are_consistent_while_others_write():
    durations = Durations()
    stop = threading.Event()

    def write():
        while not stop.is_set():
            durations.observe(1.0)

    writers = [threading.Thread(target=write, daemon=True) for _ in range(2)]
    for writer in writers:
        writer.start()
    for _ in range(2000):
        stats = durations.stats()
        assert stats.sum_s == stats.count  # both of the same instant
    stop.set()
    for writer in writers:
        writer.join(10)


@pytest.mark.parametrize("fps", [0.5, 1, 25, 240, 2000])
def test_rate_over_the_window(fps):
    clock = Clock()
    rate = Rate(clock, window_s=5.0)
    for _ in range(int(12 * fps)):
        clock.now += 1 / fps
        rate.tick()
    assert rate.per_second() == pytest.approx(fps, rel=0.01, abs=0.21)
    assert rate.count() == int(12 * fps)


def test_rate_beyond_what_it_remembers_stays_right():
    clock = Clock()
    rate = Rate(clock)
    for _ in range(3 * MOST_TICKS):
        clock.now += 1e-4
        rate.tick()
    assert rate.per_second() == pytest.approx(10_000, rel=0.01)


def test_rate_of_the_first_second_is_never_more_than_was_counted():
    clock = Clock()
    rate = Rate(clock)
    assert rate.per_second() == 0
    rate.tick()
    assert rate.per_second() == 1
    clock.now += 0.5
    rate.tick()
    assert rate.per_second() == 2
    clock.now += 1.5
    assert rate.per_second() == 1


def test_rate_forgets():
    clock = Clock()
    rate = Rate(clock)
    rate.tick()
    clock.now += 5.1
    assert rate.per_second() == 0
    assert rate.count() == 1


def test_rate_window_is_at_least_a_second():
    with pytest.raises(ValueError, match="at least 1 second"):
        Rate(Clock(), window_s=0.5)


@given(st.lists(st.floats(0, 3), max_size=40))
def test_rate_times_window_is_the_number_of_events_in_it(gaps):
    clock = Clock()
    rate = Rate(clock, window_s=4.0)
    instants = []
    for gap in gaps:
        clock.now += gap
        rate.tick()
        instants.append(clock.now)
    clock.now += 5.0 if not gaps else 0.0
    span = min(4.0, max(clock.now - 100.0, 1.0))
    inside = sum(at >= clock.now - 4.0 for at in instants)
    assert rate.per_second() == pytest.approx(inside / span)
