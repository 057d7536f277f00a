"""The head of a folded network agrees with that of the plain one."""

import numpy as np
import pytest

from streamer.errors import DetectionFailed
from streamer.vision.anchors import priors
from streamer.vision.folded import farthest, from_folded, overfull, to_pixels
from streamer.vision.letterbox import Letterbox
from streamer.vision.picture import ArrayPicture
from streamer.vision.retinaface import MEAN_BGR, to_input

BOX = Letterbox.fit(100, 50, 64)
SOUND = np.array([[0, 0, 1]], np.float32)
RULES = {"confidence": 0.5, "nms": 0.4, "max_faces": 10}


def picture(seed: int, width: int = 100, height: int = 50) -> ArrayPicture:
    return ArrayPicture(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def row(x: float, score: float) -> list[float]:
    return [x, 4, x + 8, 12, score, *range(10)]


def candidates(*pictures: list[list[float]]) -> np.ndarray:
    return np.array(pictures, np.float32)


def test_the_network_sees_what_it_sees_behind_the_plain_head() -> None:
    sizes = [(60, 50), (64, 40), (30, 64)]  # padded right and below, or one of them
    pictures = [picture(seed, *size) for seed, size in enumerate(sizes)]
    boxes = [Letterbox(*size, *size, 64, 64) for size in sizes]
    out = np.full((3, 64, 64, 3), 99, np.uint8)
    pixels = to_pixels(pictures, boxes, out=out)
    assert pixels is out
    planes = (pixels.astype(np.float32) - np.array(MEAN_BGR, np.float32)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(planes, to_input(pictures, boxes))


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        to_pixels([], [])
    with pytest.raises(ValueError, match="out must have shape"):
        to_pixels([picture(0)], [BOX], out=np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="another size"):
        to_pixels([picture(0)] * 2, [BOX, Letterbox.fit(100, 100, 64)])


def test_faces_are_in_the_pixels_of_each_picture() -> None:
    first = [row(8, 1.0005), row(9, 0.8), row(30, 0.6), row(50, 0.5)]
    second = [row(8, 0.4), row(8, 0.3), row(8, 0.2), row(8, 0.1)]
    faces, none = from_folded(candidates(first, second), SOUND, [BOX, BOX], **RULES)
    assert len(none) == 0
    np.testing.assert_allclose(faces.scores, [1, 0.6], rtol=1e-6)  # overlapped, and not over 0.5
    scale = 100 / 64
    np.testing.assert_allclose(faces.boxes[0], np.array([8, 4, 16, 12]) * scale, rtol=1e-6)
    np.testing.assert_allclose(faces.landmarks[1, 4], np.array([8, 9]) * scale, rtol=1e-6)


def test_a_box_beyond_the_picture_is_no_face_and_the_best_come_first() -> None:
    rows = candidates([row(70, 0.9), row(30, 0.8), row(8, 0.7)])
    rules = {**RULES, "max_faces": 2}
    [faces] = from_folded(rows, SOUND, [BOX], **rules)
    np.testing.assert_allclose(faces.scores, [0.8], rtol=1e-6)


def test_more_than_the_graph_could_give_is_told() -> None:
    rows = candidates([row(1, 0.9), row(9, 0.6)], [row(1, 0.9), row(9, 0.5)])
    assert overfull(rows, [BOX, BOX], 0.5).tolist() == [True, False]
    every = candidates([row(1, 0.9)] * len(priors(BOX.input_height, BOX.input_width)))
    assert overfull(every, [BOX], 0.5).tolist() == [False]  # there are no more priors


@pytest.mark.parametrize("extremes", [[np.nan, 0, 1], [0, -0.1, 1], [0, 0, 1.1], [0, np.nan, 1]])
def test_broken_numbers_are_no_empty_street(extremes: list[float]) -> None:
    rows = candidates([row(1, 0)])
    with pytest.raises(DetectionFailed, match="check the model"):
        from_folded(rows, np.array([extremes], np.float32), [BOX], **RULES)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_a_face_beyond_all_measure_is_refused(value: float) -> None:
    rows = candidates([row(1, 0.9)])
    rows[0, 0, 7] = value
    with pytest.raises(DetectionFailed, match="beyond all measure"):
        from_folded(rows, SOUND, [BOX], **RULES)


def test_outputs_of_another_graph_are_refused() -> None:
    with pytest.raises(DetectionFailed, match=r"set inference\.fold to false"):
        from_folded(candidates([row(1, 0)])[..., :14], SOUND, [BOX], **RULES)
    with pytest.raises(DetectionFailed, match=r"set inference\.fold to false"):
        from_folded(candidates([row(1, 0)]), SOUND[0], [BOX], **RULES)


# Plain and folded compared


def outputs(seed: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    """What a plain network might say of one picture."""
    random, count = np.random.default_rng(seed), len(priors(height, width))
    face = random.random((1, count, 1)).round(2)  # many are alike
    loc, points = random.normal(0, 1, (1, count, 4)), random.normal(0, 1, (1, count, 10))
    return [a.astype(np.float32) for a in (loc, np.concatenate([1 - face, face], 2), points)]


def decoded(plain: list[np.ndarray], height: int = 64, width: int = 96) -> np.ndarray:
    """The same as candidates, in 64-bit numbers by the formula of SSD, best first."""
    (loc,), (conf,), (points,) = (a.astype(np.float64) for a in plain)
    table = priors(height, width).astype(np.float64) * [width, height, width, height]
    middle, side = table[:, :2], table[:, 2:]
    centre, half = middle + loc[:, :2] * 0.1 * side, side * np.exp(loc[:, 2:] * 0.2) / 2
    marks = middle[:, None] + points.reshape(-1, 5, 2) * 0.1 * side[:, None]
    parts = [centre - half, centre + half, conf[:, 1:], marks.reshape(-1, 10)]
    rows = np.concatenate(parts, axis=1)
    return rows[np.argsort(-rows[:, 4], kind="stable")][None].astype(np.float32)


def said(plain: list[np.ndarray]) -> np.ndarray:
    return np.array([[0, plain[1].min(), plain[1].max()]], np.float32)


SIZE = {"height": 64, "width": 96}


def test_the_same_is_the_same_whatever_the_order_of_equals() -> None:
    plain = outputs(0)
    rows = decoded(plain)[:, :50]
    assert farthest(plain, rows, said(plain), **SIZE) < 1e-4
    for n in range(0, 49, 2):  # neighbours change places
        rows[0, [n, n + 1]] = rows[0, [n + 1, n]]
    assert farthest(plain, rows, said(plain), **SIZE) < 1e-4


@pytest.mark.parametrize("column", [0, 3, 4, 14])
def test_one_number_that_differs_is_found_and_measured(column: int) -> None:
    plain = outputs(1)
    rows = decoded(plain)[:, :50]
    rows[0, 20, column] += 0.004
    assert farthest(plain, rows, said(plain), **SIZE) == pytest.approx(0.004, rel=0.05)


def test_a_wrong_choice_of_candidates_is_found() -> None:
    plain = outputs(2)
    assert farthest(plain, decoded(plain)[:, 40:90], said(plain), **SIZE) > 0.1


def test_extremes_that_differ_are_found() -> None:
    plain = outputs(3)
    wrong = said(plain) + np.array([[0, 0, 0.25]], np.float32)
    assert farthest(plain, decoded(plain), wrong, **SIZE) == pytest.approx(0.25)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_no_agreement(value: float) -> None:
    plain = outputs(4)
    rows = decoded(plain)
    rows[0, 3, 2] = value
    assert not farthest(plain, rows, said(plain), **SIZE) <= 1e9
    unsound = said(plain)
    unsound[0, 0] = np.nan
    assert np.isnan(farthest(plain, decoded(plain), unsound, **SIZE))


def test_other_shapes_are_no_agreement() -> None:
    plain = outputs(5)
    rows, sound = decoded(plain), said(plain)
    for candidates_, extremes_, plain_ in (
        (rows[..., :14], sound, plain),
        (rows[0], sound, plain),
        (rows, sound[0], plain),
        (rows, sound, [a[:, 1:] for a in plain]),
        (rows, sound, [np.ones(1, np.float32)] * 3),
    ):
        assert farthest(plain_, candidates_, extremes_, **SIZE) == np.inf
