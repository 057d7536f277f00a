import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamer.vision.anchors import priors
from streamer.vision.boxes import decode_boxes, decode_landmarks, iou, nms

coordinate = st.floats(0, 500, width=32)


@st.composite
def box_lists(draw, max_size=25):
    n = draw(st.integers(0, max_size))
    corners = draw(arrays(np.float32, (n, 2, 2), elements=coordinate))
    return np.sort(corners, axis=1).reshape(n, 4)


def slow_iou(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union > 0 else 0.0


def slow_nms(boxes, scores, threshold) -> list[int]:
    """The definition, with whole pixels: a side is x2 - x1 + 1."""
    one_pixel = np.array([0, 0, 1, 1], np.float64)
    grown = [box + one_pixel for box in boxes.astype(np.float64)]
    kept: list[int] = []
    for n in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(slow_iou(grown[n], grown[k]) <= threshold for k in kept):
            kept.append(n)
    return kept


@given(box_lists(), box_lists())
def test_iou_is_its_definition(a, b) -> None:
    expected = [[slow_iou(x, y) for y in b.astype(float)] for x in a.astype(float)]
    got = iou(a, b)
    assert got.shape == (len(a), len(b))
    np.testing.assert_allclose(got, np.array(expected).reshape(got.shape), atol=1e-3)


@given(box_lists())
def test_iou_is_symmetric_and_in_0_to_1(a) -> None:
    got = iou(a, a)
    np.testing.assert_array_equal(got, got.T)
    assert got.size == 0 or (got.min() >= 0 and got.max() <= 1.001)


def test_boxes_without_area_overlap_by_nothing() -> None:
    point = np.array([[5, 5, 5, 5]], np.float32)
    assert iou(point, point).tolist() == [[0.0]]


@given(box_lists(), st.sampled_from([0.3, 0.4, 0.5]), st.randoms(use_true_random=False))
def test_nms_keeps_what_the_definition_keeps(boxes, threshold, random) -> None:
    # Whole pixels and distinct scores, so that rounding decides nothing.
    boxes = np.rint(boxes)
    ranks = list(range(len(boxes)))
    random.shuffle(ranks)
    scores = (np.array(ranks, np.float32) + 1) / (len(boxes) + 1)
    assert nms(boxes, scores, threshold).tolist() == slow_nms(boxes, scores, threshold)


@given(box_lists(), st.integers(1, 5))
def test_a_limit_gives_the_first_of_all(boxes, limit) -> None:
    scores = np.linspace(1, 0.5, len(boxes), dtype=np.float32)
    every = nms(boxes, scores, 0.4)
    assert nms(boxes, scores, 0.4, limit=limit).tolist() == every[:limit].tolist()


def test_nms_counts_whole_pixels() -> None:
    # Edges: 10x10 = 100 each, 55 in common, 55/145 = 0.379: both would stay.
    # Pixels: 11x11 = 121 each, 6.5x11 = 71.5 in common, 0.42: the worse one goes.
    boxes = np.array([[0, 0, 10, 10], [4.5, 0, 14.5, 10]], np.float32)
    assert iou(boxes, boxes)[0, 1] < 0.4
    assert nms(boxes, np.array([0.9, 0.8], np.float32), 0.4).tolist() == [0]


def test_equal_scores_keep_the_order_given() -> None:
    boxes = np.array([[0, 0, 5, 5], [100, 0, 105, 5], [200, 0, 205, 5]], np.float32)
    assert nms(boxes, np.full(3, 0.9, np.float32), 0.4).tolist() == [0, 1, 2]


def test_numbers_of_zero_decode_to_the_prior_itself() -> None:
    table = priors(64, 96)
    boxes = decode_boxes(np.zeros((len(table), 4), np.float32), table)
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, table[:, :2], atol=1e-6)
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], table[:, 2:], rtol=1e-5)
    points = decode_landmarks(np.zeros((len(table), 10), np.float32), table)
    np.testing.assert_array_equal(points, np.repeat(table[:, None, :2], 5, axis=1))


@given(
    arrays(np.float32, 4, elements=st.floats(-4, 4, width=32)),
    arrays(np.float32, 10, elements=st.floats(-9, 9, width=32)),
    st.integers(0, 251),
)
def test_decoding_undoes_the_encoding_of_training(box, points, n) -> None:
    prior = priors(64, 96)[n : n + 1].astype(np.float64)
    (cx, cy, w, h) = prior[0]
    corners = decode_boxes(box[None], prior.astype(np.float32))[0].astype(np.float64)
    centre, size = (corners[:2] + corners[2:]) / 2, corners[2:] - corners[:2]
    encoded = [*((centre - [cx, cy]) / [w, h] / 0.1), *(np.log(size / [w, h]) / 0.2)]
    np.testing.assert_allclose(encoded, box, atol=1e-3)
    decoded = decode_landmarks(points[None], prior.astype(np.float32))[0]
    np.testing.assert_allclose(((decoded - [cx, cy]) / [w, h] / 0.1).reshape(-1), points, atol=1e-3)


@pytest.mark.parametrize("wild", [1e3, 3e38, np.inf])
def test_numbers_too_large_give_no_warning(wild) -> None:
    table = priors(32, 32)[:1]
    assert not np.isfinite(decode_boxes(np.full((1, 4), wild, np.float32), table)).all()
    decode_landmarks(np.full((1, 10), wild, np.float32), table)
