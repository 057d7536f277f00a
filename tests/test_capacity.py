"""From measured points to a number of cameras and a bottleneck: arithmetic alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.capacity import (
    Bottleneck,
    Point,
    bottleneck,
    judge,
    memory_for,
    next_count,
    quantile,
    shortcomings,
)

GOOD = Point(
    cameras=4, seconds=5.0, due=500, captured=500, wanted=500, detected=500, p50_ms=20.0,
    p95_ms=60.0, p99_ms=80.0, wait_ms=5.0, infer_ms=17.0, publish_ms=0.2,
    used={"decode": 0.3, "inference": 1.0, "publish": 0.05, "other": 0.01}, cores=4.0,
    provider="cpu",
)  # fmt: skip


def test_a_point_passes_only_when_nothing_is_wrong() -> None:
    assert shortcomings(GOOD, 100.0) == []
    assert shortcomings(GOOD, 60.0) == ["p95 of 60 ms is not under 60 ms"]
    assert shortcomings(replace(GOOD, dropped={"infer/overflow": 5}), 100.0) == []
    assert (
        "2% of the frames to look at"
        in shortcomings(
            replace(GOOD, dropped={"infer/overflow": 4, "infer/failed": 6}), 100.0
        ).pop()
    )
    assert shortcomings(replace(GOOD, captured=481), 100.0) == []  # 4 cameras, 3 % of 500
    assert "did not come" in shortcomings(replace(GOOD, captured=480), 100.0).pop()
    assert "published" in shortcomings(replace(GOOD, events_lost=6), 100.0).pop()
    assert shortcomings(replace(GOOD, p95_ms=None), 100.0) == ["no event came"]
    assert shortcomings(Point(3, problem="it broke"), 100.0) == ["it broke"]


def test_skipped_frames_are_no_loss() -> None:
    slow = replace(GOOD, wanted=20, detected=20)  # every: 25
    assert shortcomings(slow, 100.0) == []
    assert shortcomings(replace(slow, dropped={"infer/overflow": 1}), 100.0) != []


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"problem": "no room", "short_of_memory": True}, "memory", "no room"),
        ({"faults": {"hang": 0, "out_of_memory": 2}}, "memory", "out_of_memory 2"),
        ({"problem": "it ended with SIGILL"}, "processor", "SIGILL"),
        ({"events_lost": 50}, "publish", "10%"),
        ({"used": {"decode": 0.3, "inference": 3.5}}, "inference", "3.5 of 4 cores"),
        ({"used": {"decode": 3.0, "inference": 0.8}}, "decode", "3.0 of 4 cores"),
        ({"used": {"decode": 0.4, "publish": 3.4}}, "publish", "3.4 of 4 cores"),
        ({"used": {"decode": 2.0, "inference": 1.8}}, "processor", "decode 2.0, inference 1.8"),
        ({"used": {"inference": 2.0}, "others": 1.9}, "processor", "other programs took 1.9"),
        ({"captured": 300}, "decode", "66% of the processor was idle"),
        ({"dropped": {"infer/overflow": 100}, "provider": "cuda"}, "inference", "faster than cuda"),
        ({"p95_ms": None, "publish_ms": None}, "inference", "idle"),
        ({"p95_ms": 300.0, "infer_ms": 250.0}, "inference", "255 ms"),
        ({"p95_ms": 300.0, "publish_ms": 250.0}, "publish", "250 ms"),
    ],
)
def test_each_bottleneck_has_its_sign(changes: dict[str, object], name: str, words: str) -> None:
    found = bottleneck(replace(GOOD, **changes))  # type: ignore[arg-type]
    assert found.name == name
    assert words in found.reason


def test_the_verdict_ignores_luck_above_a_failure() -> None:
    bad = replace(GOOD, cameras=6, p95_ms=150.0)
    lucky = replace(GOOD, cameras=8)
    found = judge([replace(GOOD, cameras=2), GOOD, lucky, bad], 100.0)
    assert (found.cameras, found.passed, found.failed) == (4, GOOD, bad)
    assert found.bottleneck == Bottleneck(
        "inference", "22 ms on average with the wait for it, and 66% of the processor was idle"
    )
    assert not found.more_may_fit


def test_nothing_fits_and_nothing_fails() -> None:
    none = judge([replace(GOOD, cameras=1, p95_ms=500.0)], 100.0)
    assert (none.cameras, none.passed) == (0, None)
    all_of_them = judge([GOOD], 100.0)
    assert (all_of_them.cameras, all_of_them.bottleneck) == (4, None)
    assert all_of_them.more_may_fit


@given(st.integers(0, 300), st.integers(1, 300))
def test_the_search_finds_the_number_in_few_steps(fit: int, most: int) -> None:
    tried: dict[int, bool] = {}
    while (count := next_count(tried, most)) is not None:
        assert 1 <= count <= most
        assert count not in tried
        tried[count] = count <= fit
    passed = [n for n, good in tried.items() if good]
    assert max(passed, default=0) == min(fit, most)
    assert len(tried) <= 2 * most.bit_length() + 1


@given(st.dictionaries(st.integers(1, 50), st.booleans()), st.integers(1, 50))
def test_the_search_never_asks_twice_whatever_was_found(tried: dict[int, bool], most: int) -> None:
    count = next_count(tried, most)
    assert count is None or count >= 1
    assert count not in tried or tried[count]  # a number above a failure may have passed by luck


def test_at_least_one_camera_is_tried() -> None:
    with pytest.raises(ValueError, match="at least one"):
        next_count({}, 0)


def test_memory_follows_the_line_of_the_largest_two() -> None:
    points = [replace(GOOD, cameras=n, memory=200 + 15 * n) for n in (1, 2, 4)]
    assert memory_for(points, 8) == 320
    assert memory_for([*points, Point(8, problem="no room")], 6) == 290
    assert memory_for(points[:1], 2) is None
    falling = [replace(GOOD, cameras=1, memory=300), replace(GOOD, cameras=2, memory=250)]
    assert memory_for(falling, 4) == 250


def test_a_quantile_of_a_histogram() -> None:
    bounds = (10.0, 20.0, 40.0)
    assert quantile(bounds, (0, 0, 0, 0), 0.5) is None
    assert quantile(bounds, (95, 5, 0, 0), 0.95) == 10.0
    assert quantile(bounds, (0, 4, 0, 0), 0.5) == 15.0
    assert quantile(bounds, (0, 0, 0, 3), 0.5) == 40.0
    for q, counts in ((1.1, (1, 0, 0, 0)), (0.5, (1, 0, 0))):
        with pytest.raises(ValueError, match="quantile"):
            quantile(bounds, counts, q)


@given(st.lists(st.floats(0.0, 39.9), min_size=1, max_size=60), st.floats(0.0, 1.0))
def test_a_quantile_is_within_its_bucket(values: list[float], q: float) -> None:
    bounds = (10.0, 20.0, 40.0)
    counts = [sum(a < v <= b for v in values) for a, b in ((-1, 10), (10, 20), (20, 40))]
    exact = sorted(values)[max(0, -int(-q * len(values) // 1) - 1)]
    found = quantile(bounds, (*counts, 0), q)
    assert found is not None
    assert abs(found - exact) <= 20.0
