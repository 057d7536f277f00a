"""What a bridge passes on of many results."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.publish.pace import Pace, When
from tests.publish.news import failure, result


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("all", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("faces", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("changes", [0, 1, 3, 4, 5, 6, 7]),
        ("never", []),
    ],
)
def test_each_choice(when: When, told: list[int]) -> None:
    pace = Pace(when, 1000.0)
    outcomes = [
        result("a"), result("a", [1]), result("a", [1]), result("a", [1, 2]), result("a"),
        failure("a"), result("a", [9]), result("a"),
    ]  # fmt: skip
    assert [n for n, o in enumerate(outcomes) if pace.wants(o, float(n))] == told


def test_a_change_that_came_too_soon_is_told_with_the_next_result() -> None:
    pace = Pace("changes", 1.0)
    assert pace.wants(result("a", [1]), 10.0)
    assert not pace.wants(result("a"), 10.5)
    assert not pace.wants(result("a"), 10.9)
    assert pace.wants(result("a"), 11.0)
    assert not pace.wants(result("a"), 12.5)


def test_cameras_do_not_share_their_rate_and_may_be_forgotten() -> None:
    pace = Pace("all", 1.0)
    assert pace.wants(result("a"), 10.0)
    assert pace.wants(result("b"), 10.0)
    assert not pace.wants(result("a"), 10.1)
    pace.keep({"b"})
    assert pace.wants(result("a"), 10.2)
    assert not pace.wants(result("b"), 10.2)


@given(
    st.lists(st.tuples(st.floats(0, 0.5), st.sets(st.integers(0, 3), max_size=2)), max_size=60),
    st.floats(0.5, 20),
)
def test_never_more_than_the_rate_and_the_last_change_is_always_told(
    steps: list[tuple[float, set[int]]], rate: float
) -> None:
    pace = Pace("changes", rate)
    now = 0.0
    told: list[tuple[float, frozenset[int] | None]] = [(-1e9, None)]
    for wait, ids in steps:
        now += wait
        if pace.wants(result("a", sorted(ids)), now):
            assert frozenset(ids) != told[-1][1]
            assert now - told[-1][0] >= 1 / rate * (1 - 1e-9)
            told.append((now, frozenset(ids)))
    last = steps[-1][1] if steps else set[int]()
    pace.wants(result("a", sorted(last)), now + 2.5)
    assert not pace.wants(result("a", sorted(last)), now + 5.0)
