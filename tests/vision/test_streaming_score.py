"""Streaming accuracy: what counts as newest, and what a late result costs."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.vision.streaming_score import (
    StreamingScore,
    Told,
    Truth,
    newest,
    score_instant,
    score_stream,
)
from tests.evaluate import match

INSTANTS = st.integers(0, 40).map(lambda n: n / 8)  # many of them equal
CORNERS = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 6), st.integers(1, 6))
ROWS = st.lists(CORNERS.map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3])), max_size=6)


def boxes(rows: object) -> NDArray[np.float32]:
    return np.asarray(rows, np.float32).reshape(-1, 4)


def sure(rows: object) -> NDArray[np.float32]:
    """A score for each row, all different."""
    return np.linspace(0.9, 0.5, len(boxes(rows)), dtype=np.float32)


@st.composite
def results(draw: st.DrawFn) -> list[Told]:
    found = []
    for _ in range(draw(st.integers(0, 8))):
        rows = draw(ROWS)
        found.append(Told(draw(INSTANTS), draw(INSTANTS), boxes(rows), sure(rows)))
    return found


TRUTHS = st.lists(st.builds(Truth.of, INSTANTS, ROWS, ROWS), max_size=8)


@given(results(), st.lists(INSTANTS, max_size=8))
def test_newest_is_the_newest_picture_that_was_published(
    told: list[Told], instants: list[float]
) -> None:
    for at, position in zip(instants, newest(told, instants), strict=True):
        there = [result for result in told if result.published_at <= at]
        if position < 0:
            assert not there
            continue
        assert told[position].published_at <= at
        assert told[position].captured_at == max(result.captured_at for result in there)


@given(results(), TRUTHS, st.randoms())
def test_the_counts_add_up_in_whatever_order_results_are_given(
    told: list[Told], truth: list[Truth], random: Random
) -> None:
    whole = score_stream(told, truth)
    assert whole.matched + whole.missed == sum(len(true.boxes) for true in truth)
    assert whole.instants == len(truth)
    assert 0 <= whole.f1 <= 1
    at = len(truth) // 2
    assert whole == score_stream(told, truth[:at]) + score_stream(told, truth[at:])
    if len({(r.published_at, r.captured_at) for r in told}) == len(told):
        shuffled = sorted(told, key=lambda _: random.random())
        assert whole == score_stream(shuffled, truth)


@given(ROWS, ROWS)
def test_one_instant_is_matched_as_by_the_evaluation_of_the_tests(
    found: list[tuple[int, ...]], true: list[tuple[int, ...]]
) -> None:
    score = score_instant(boxes(found), sure(found), Truth.of(0.0, true))
    # Overlaps of exactly half are the same in float32 and float64: all corners are whole.
    matched = len(match(boxes(found), sure(found), boxes(true)))
    assert score == StreamingScore(matched, len(true) - matched, len(found) - matched, 1, 0)


@given(TRUTHS)
def test_the_truth_told_at_once_is_all_right_and_told_too_late_all_wrong(
    truth: list[Truth],
) -> None:
    # One truth for each instant, of one face: nobody could tell of two that lie on each other.
    only = list({true.at: true._replace(boxes=true.boxes[:1]) for true in truth}.values())
    at_once = [Told(true.at, true.at, true.boxes, sure(true.boxes)) for true in only]
    assert score_stream(at_once, only).f1 == 1.0
    late = [result._replace(published_at=result.published_at + 100) for result in at_once]
    score = score_stream(late, only)
    assert score.matched == score.extra == 0
    assert score.silent == score.instants


@given(ROWS, ROWS, ROWS)
def test_finding_what_is_doubtful_is_neither_right_nor_wrong(
    found: list[tuple[int, ...]], true: list[tuple[int, ...]], doubtful: list[tuple[int, ...]]
) -> None:
    plain = score_instant(boxes(found), sure(found), Truth.of(0.0, true))
    excused = score_instant(boxes(found), sure(found), Truth.of(0.0, true, doubtful))
    assert (plain.matched, plain.missed) == (excused.matched, excused.missed)
    assert excused.extra <= plain.extra
    everything = score_instant(boxes(found), sure(found), Truth.of(0.0, true, found))
    assert everything.extra == 0


def moving(seconds: float, fps: float, speed: float) -> list[Truth]:
    """One face of 100 pixels that moves by so many pixels a second."""
    count = round(seconds * fps)
    return [
        Truth.of(n / fps, [[n / fps * speed, 0, n / fps * speed + 100, 100]]) for n in range(count)
    ]


@pytest.mark.parametrize(
    ("delay_s", "matched"),
    [(0.0, 40), (0.25, 38), (0.375, 0)],  # a third of 100 pixels is an IoU of a half
)
def test_a_late_result_is_wrong_once_the_face_has_moved_on(delay_s: float, matched: int) -> None:
    truth = moving(5.0, 8.0, speed=100.0)
    told = [Told(t.at + delay_s, t.at, t.boxes, sure(t.boxes)) for t in truth]
    assert score_stream(told, truth).matched == matched


def test_a_result_that_comes_after_its_successor_changes_nothing() -> None:
    first, second = boxes([[0, 0, 10, 10]]), boxes([[50, 0, 60, 10]])
    told = [Told(0.2, 0.1, second, sure(second)), Told(0.3, 0.0, first, sure(first))]
    assert newest(told, [0.1, 0.2, 0.35]) == [-1, 0, 0]
    assert score_stream(told, [Truth.of(0.35, second)]).f1 == 1.0


def test_nothing_told_and_nothing_there_is_right() -> None:
    nobody = Truth.of(1.0, [])
    assert score_stream([], [nobody]) == StreamingScore(0, 0, 0, 1, 1)
    assert score_stream([], [nobody]).f1 == 1.0
    assert StreamingScore(0, 1, 0, 1, 0).f1 == StreamingScore(0, 1, 0, 1, 0).recall == 0.0
    assert StreamingScore(0, 0, 1, 1, 0).precision == 0.0
    assert StreamingScore(3, 1, 2, 4, 0).f1 == pytest.approx(2 / (1 / 0.75 + 1 / 0.6))


@pytest.mark.parametrize("least_iou", [0.0, 1.1, float("nan")])
def test_wrong_numbers_are_refused(least_iou: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        score_instant(boxes([]), sure([]), Truth.of(0.0, []), least_iou=least_iou)
    with pytest.raises(ValueError, match="as many scores"):
        score_instant(boxes([[0, 0, 1, 1]]), sure([]), Truth.of(0.0, []))
    with pytest.raises(ValueError, match="reshape"):
        Truth.of(0.0, [1, 2, 3])
