"""Service times: held from what was measured, forgotten when it is long gone, never guessed low."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.inference.service import RECENT, ServiceTimes


def held(**sizes):
    times = ServiceTimes()
    for name, seconds in sizes.items():
        times.measured("k", int(name[1:]), seconds)
    return times


def test_nothing_is_expected_before_anything_was_measured():
    times = ServiceTimes()
    assert times.one("k") == 0.0
    assert times.expected("k", 4) == 0.0
    assert times.items_per_second is None
    assert times.table() == {}


def test_one_odd_run_does_not_count_and_two_do():
    times = ServiceTimes()
    for seconds in [0.1] * (RECENT - 1) + [9.0]:
        times.measured("k", 1, seconds)
    assert times.one("k") == 0.1
    times.measured("k", 1, 9.0)
    assert times.one("k") == 9.0


def test_what_is_gone_is_forgotten():
    times = ServiceTimes()
    for seconds in [9.0] * RECENT + [0.1] * RECENT:
        times.measured("k", 1, seconds)
    assert times.one("k") == 0.1


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ({"_1": 0.1}, 4, 0.4),
        ({"_4": 0.2}, 1, 0.2),
        ({"_1": 0.1, "_8": 0.3}, 2, 0.2),
        ({"_1": 0.1, "_8": 0.3}, 6, 0.3),
        ({"_4": 0.2}, 6, 0.4),
    ],
)
def test_an_unknown_size_takes_no_more_than_a_larger_one_or_its_parts(sizes, size, expected):
    assert held(**sizes).expected("k", size) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("sizes", "pays"),
    [
        ({}, True),
        ({"_1": 0.1}, True),
        ({"_1": 0.1, "_2": 0.19}, False),
        ({"_1": 0.1, "_2": 0.12}, True),
    ],
)
def test_batching_pays_by_measured_gain(sizes, pays):
    assert held(**sizes).pays("k") is pays


def test_throughput_is_of_the_time_at_work():
    times = held(_1=0.1, _4=0.3)
    assert times.items_per_second == pytest.approx(5 / 0.4, rel=0.05)
    assert times.busy_s == pytest.approx(0.4)
    assert times.table() == {("k", 1): 0.1, ("k", 4): 0.3}
    times.forget("k")
    assert times.table() == {}
    assert times.one("k") == 0.0


def test_kinds_that_are_long_gone_take_no_room():
    times = ServiceTimes()
    for kind in range(1000):
        times.measured(kind, 1, 0.1)
    assert len(times.table()) <= 64
    assert times.one(999) == 0.1


@given(st.lists(st.tuples(st.integers(1, 8), st.floats(0.001, 1.0)), min_size=1), st.integers(1, 9))
def test_what_is_expected_lies_within_what_was_measured(runs, size):
    times = ServiceTimes()
    for count, seconds in runs:
        times.measured("k", count, seconds)
    assert 0 < times.expected("k", size) <= max(s for _, s in runs) * size
