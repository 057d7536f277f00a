"""The ruler itself: hand-made cases and properties that any boxes must keep."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.types import Floats
from tests.evaluate import Score, iou_table, load_truth, match, score_frames, truth_of


def seen(found: Floats, scores: Floats) -> list[tuple[Floats, float]]:
    return list(zip(found, scores.tolist(), strict=True))


def boxes(*rows: tuple[float, float, float, float]) -> Floats:
    return np.array(rows, np.float32).reshape(-1, 4)


def floats(*values: float) -> Floats:
    return np.array(values, np.float32)


corner = st.integers(0, 60)
side = st.integers(1, 40)
some_boxes = st.lists(st.tuples(corner, corner, side, side), max_size=8).map(
    lambda rows: boxes(*((x, y, x + w, y + h) for x, y, w, h in rows))
)
thresholds = st.sampled_from([0.1, 0.5, 0.75, 1.0])


def test_iou_of_known_boxes() -> None:
    table = iou_table(boxes((0, 0, 10, 10), (5, 5, 5, 9)), boxes((5, 0, 15, 10), (0, 0, 10, 10)))
    assert table == pytest.approx(np.array([[1 / 3, 1.0], [0.0, 0.0]]))


def test_touching_boxes_share_nothing() -> None:
    assert iou_table(boxes((0, 0, 10, 10)), boxes((10, 0, 20, 10))).item() == 0.0


def test_boxes_apart_on_both_axes_share_nothing() -> None:
    # Two negative sides must not multiply to a positive area.
    assert iou_table(boxes((0, 0, 10, 10)), boxes((20, 20, 40, 40))).item() == 0.0


@given(some_boxes, some_boxes)
def test_iou_is_symmetric_and_between_0_and_1(one: Floats, other: Floats) -> None:
    table = iou_table(one, other)
    assert table.shape == (len(one), len(other))
    assert np.array_equal(table, iou_table(other, one).T)
    assert ((table >= 0) & (table <= 1)).all()


@given(some_boxes)
def test_a_box_fits_itself(some: Floats) -> None:
    assert np.diag(iou_table(some, some)) == pytest.approx(np.ones(len(some)))


def test_the_surest_box_gets_the_face_and_the_other_is_extra() -> None:
    true = boxes((0, 0, 10, 10))
    found = boxes((0, 0, 10, 10), (0, 0, 10, 9))
    assert [(m.found, m.true) for m in match(found, floats(0.7, 0.9), true)] == [(1, 0)]
    score = score_frames([seen(found, floats(0.7, 0.9))], [true])
    assert (score.matched, score.missed, score.extra) == (1, 0, 1)
    assert score.mean_iou == pytest.approx(0.9)


def test_a_taken_face_leaves_the_next_best_one() -> None:
    true = boxes((0, 0, 10, 10), (2, 0, 12, 10))
    found = boxes((0, 0, 10, 10), (0, 0, 10, 10))
    assert [(m.found, m.true) for m in match(found, floats(0.9, 0.8), true)] == [(0, 0), (1, 1)]


def test_threshold_counts_from_its_own_value() -> None:
    found, true = boxes((0, 0, 10, 5)), boxes((0, 0, 10, 10))
    assert len(match(found, floats(0.9), true, 0.5)) == 1
    assert match(found, floats(0.9), true, 0.51) == []


@given(some_boxes, some_boxes, thresholds)
def test_matches_are_one_to_one_and_good_enough(
    found: Floats, true: Floats, threshold: float
) -> None:
    scores = np.linspace(0.1, 0.9, len(found), dtype=np.float32)
    pairs = match(found, scores, true, threshold)
    assert len({p.found for p in pairs}) == len({p.true for p in pairs}) == len(pairs)
    table = iou_table(found, true)
    assert all(p.iou == table[p.found, p.true] >= threshold for p in pairs)
    # Greedy is maximal: nobody left over fits anybody left over.
    free = np.ones(table.shape, bool)
    free[[p.found for p in pairs]] = False
    free[:, [p.true for p in pairs]] = False
    assert not (table[free] >= threshold).any()


@given(some_boxes, some_boxes, thresholds, st.integers(0, 1000))
def test_the_order_of_the_boxes_changes_nothing(
    found: Floats, true: Floats, threshold: float, seed: int
) -> None:
    scores = np.linspace(0.1, 0.9, len(found), dtype=np.float32)
    order = np.random.default_rng(seed).permutation(len(found))
    one = score_frames([seen(found, scores)], [true], threshold)
    other = score_frames([seen(found[order], scores[order])], [true], threshold)
    assert one == other


@given(st.lists(st.tuples(some_boxes, some_boxes), max_size=5))
def test_counts_add_up_over_frames(frames: list[tuple[Floats, Floats]]) -> None:
    frames_seen = [seen(found, np.full(len(found), 0.9, np.float32)) for found, _ in frames]
    truth = [true for _, true in frames]
    total = score_frames(frames_seen, truth)
    assert total.matched + total.extra == sum(len(found) for found, _ in frames)
    assert total.matched + total.missed == sum(len(t) for t in truth)
    assert 0 <= total.recall <= 1
    assert 0 <= total.precision <= 1
    parts = Score()
    for one, true in zip(frames_seen, truth, strict=True):
        parts += score_frames([one], [true])
    assert parts.matched == total.matched
    assert parts.mean_iou == pytest.approx(total.mean_iou)


def test_nothing_to_find_and_nothing_found_is_perfect() -> None:
    score = score_frames([seen(boxes(), floats())], [boxes()])
    assert (score.recall, score.precision, score.mean_iou) == (1.0, 1.0, 0.0)


def test_a_missed_and_an_invented_face_count_once_each() -> None:
    score = score_frames([seen(boxes((50, 50, 60, 60)), floats(0.9))], [boxes((0, 0, 9, 9))])
    assert (score.matched, score.missed, score.extra) == (0, 1, 1)
    assert score.recall == score.precision == 0.0


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="iou"):
        match(boxes(), floats(), boxes(), 0.0)
    with pytest.raises(ValueError, match="scores"):
        match(boxes((0, 0, 1, 1)), floats(), boxes())
    with pytest.raises(ValueError, match=r"shorter|longer"):
        score_frames([], [boxes()])


def _write(path: Path, numbers: list[int]) -> Path:
    points = {n: [i, 2 * i] for i, n in enumerate(("nose", "left_eye", "right_eye"))}
    points |= {"mouth_left": [7, 7], "mouth_right": [8, 8]}
    face = {"person": "a", "bbox": [1, 2, 3, 4], "visible": 1.0, "keypoints": points}
    frames = [{"frame": n, "faces": [face] * n} for n in numbers]
    clip = {"clip": "x.mp4", "width": 64, "height": 48, "fps": 25, "frames": frames}
    path.write_text(json.dumps(clip), encoding="utf-8")
    return path


def test_truth_is_read_and_loops(tmp_path: Path) -> None:
    clip = load_truth(_write(tmp_path / "x.json", [0, 1, 2]))
    assert (clip.width, clip.height, clip.fps) == (64, 48, 25)
    assert truth_of(clip, 0) == truth_of(clip, 3) == ()
    assert [face.person for face in truth_of(clip, 5)] == ["a", "a"]
    (face,) = truth_of(clip, 4)
    assert (face.bbox, face.visible) == ((1, 2, 3, 4), 1.0)
    assert face.keypoints["left_eye"] == (1, 2)
    with pytest.raises(ValueError, match="0 or more"):
        truth_of(clip, -1)


def test_the_demo_is_the_default() -> None:
    clip = load_truth()
    assert (clip.width, clip.height, len(clip.frames)) == (1280, 720, 250)


def test_truth_with_a_gap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="numbered"):
        load_truth(_write(tmp_path / "x.json", [0, 2]))
