"""Each face without a box has one cause, and the causes are the right ones."""

from __future__ import annotations

import numpy as np

from benchmarks.tracking_scenes import Seen
from benchmarks.tracking_score import Output
from benchmarks.tracking_why import CAUSES, why
from streamer.types import Faces

SIDE = 100.0


def boxes(*lefts: float) -> np.ndarray:
    return np.array([[x, 0, x + SIDE, SIDE] for x in lefts], np.float64).reshape(-1, 4)


def seen(at: float, true: dict[int, float], found: dict[float, float]) -> Seen:
    """People by where they are, and scores of what is found by where that is."""
    rows = boxes(*found).astype(np.float32)
    scores = np.array(list(found.values()), np.float32)
    points = np.zeros((len(found), 5, 2), np.float32)
    return Seen(
        at, np.array(list(true), np.int64), boxes(*true.values()), np.zeros((0, 4)),
        Faces(rows, scores, points),
    )  # fmt: skip


def told(tracks: dict[int, float]) -> Output:
    return Output(np.array(list(tracks), np.int64), boxes(*tracks.values()))


def causes(look: Seen, at_look: Output, later: Seen, then: Output) -> dict[str, int]:
    found = why([look, later], [at_look, then], 2, 0.4)
    assert found.pop("true") == len(look.people) + len(later.people)
    assert set(found) <= set(CAUSES)
    return dict(found)


def test_a_box_on_the_face_is_no_miss() -> None:
    look = seen(0.0, {1: 0.0}, {0.0: 0.9})
    assert causes(look, told({7: 0.0}), look, told({7: 10.0})) == {}


def test_who_was_not_there_at_the_look_came() -> None:
    nobody, somebody = seen(0.0, {}, {}), seen(0.1, {1: 0.0}, {0.0: 0.9})
    assert causes(nobody, told({}), somebody, told({})) == {"came": 1}


def test_who_was_missed_at_the_look_was_not_found() -> None:
    look = seen(0.0, {1: 0.0}, {500.0: 0.9, 1.0: 0.3})
    assert causes(look, told({}), look, told({})) == {"not found": 2}


def test_who_was_found_and_has_no_track_was_too_weak() -> None:
    look = seen(0.0, {1: 0.0}, {0.0: 0.5})
    assert causes(look, told({}), look, told({})) == {"too weak": 2}


def test_a_track_that_is_not_predicted_is_doubtful() -> None:
    look = seen(0.0, {1: 0.0}, {0.0: 0.65})
    assert causes(look, told({7: 0.0}), look, told({})) == {"doubtful": 1}


def test_a_box_elsewhere_is_of_the_first_look_or_moved_on() -> None:
    look, later = seen(0.0, {1: 0.0}, {0.0: 0.9}), seen(0.1, {1: 90.0}, {90.0: 0.9})
    assert causes(look, told({7: 0.0}), later, told({7: 0.0})) == {"first look": 1}
    frames, outputs = [look, look, look, later], [told({7: 0.0})] * 4
    assert why(frames, outputs, 2, 0.4) == {"true": 4, "moved on": 1}
