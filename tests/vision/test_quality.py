import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.types import NoPicture
from streamer.vision.picture import ArrayPicture
from streamer.vision.quality import (
    face_sharpness,
    frontality,
    score,
    sharpness,
    size_px,
    worth,
)

FRONTAL = np.array(
    [[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]], np.float32
)
"""The five points that ArcFace aligns faces to."""


def turned(yaw: float, pitch: float = 0.0) -> np.ndarray:
    """A head of five points in space, turned (radians) and seen from afar."""
    points = np.array(
        [[-16, -18, 0], [16, -18, 0], [0, 2, 14], [-13, 22, 2], [13, 22, 2]], np.float64
    )
    a, b = np.sin([yaw, pitch])
    c, d = np.cos([yaw, pitch])
    around = np.array([[c, 0, a], [0, 1, 0], [-a, 0, c]])
    nod = np.array([[1, 0, 0], [0, d, -b], [0, b, d]])
    return (points @ (nod @ around).T)[:, :2].astype(np.float32) + 100


def test_the_size_is_the_root_of_the_area() -> None:
    boxes = np.array([[0, 0, 40, 90], [5, 5, 5, 9], [9, 9, 5, 5]], np.float32)
    assert size_px(boxes).tolist() == [60, 0, 0]
    assert size_px(boxes).dtype == np.float32


def test_a_face_as_recognition_wants_it_is_frontal() -> None:
    assert frontality(FRONTAL) > 0.97


def test_one_face_gives_a_number_and_many_an_array() -> None:
    assert frontality(FRONTAL).shape == ()
    many = frontality(np.stack([FRONTAL, turned(1.0)]))
    assert many.shape == (2,)
    assert many.dtype == np.float32
    assert frontality(np.zeros((0, 5, 2), np.float32)).shape == (0,)


@pytest.mark.parametrize("side", [-1, 1])
def test_the_farther_a_head_turns_the_less_frontal(side) -> None:
    values = [float(frontality(turned(side * yaw))) for yaw in (0, 0.2, 0.4, 0.7, 1.1, 1.4)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.9
    assert values[-1] < 0.1


def test_raised_and_lowered_heads_are_less_frontal() -> None:
    level = frontality(turned(0))
    assert frontality(turned(0, 0.7)) < level - 0.2
    assert frontality(turned(0, -0.7)) < level - 0.2


def test_points_that_are_no_face_are_not_frontal() -> None:
    assert frontality(np.zeros((5, 2), np.float32)) == 0
    assert frontality(FRONTAL[[1, 0, 2, 4, 3]]) == 0  # left and right swapped


@given(st.floats(-1.2, 1.2), st.floats(-3.1, 3.1), st.floats(0.5, 5), st.floats(0, 1900))
def test_place_scale_and_tilt_make_no_difference(yaw, tilt, scale, shift) -> None:
    points = turned(yaw).astype(np.float64)
    c, s = np.cos(tilt), np.sin(tilt)
    moved = (points @ np.array([[c, -s], [s, c]]) * scale + shift).astype(np.float32)
    assert frontality(moved) == pytest.approx(float(frontality(turned(yaw))), abs=2e-3)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=10, max_size=10))
def test_frontality_is_always_in_0_to_1(numbers) -> None:
    assert 0 <= frontality(np.array(numbers, np.float32).reshape(5, 2)) <= 1


def test_blur_lowers_sharpness_and_a_flat_crop_has_none() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    soft = (noise[:-1] // 2 + noise[1:] // 2).astype(np.uint8)
    assert sharpness(noise) > 2 * sharpness(soft) > 0
    assert sharpness(np.full((20, 30), 77, np.uint8)) == 0


@pytest.mark.parametrize(
    "crop",
    [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint8)],
)
def test_what_is_no_grey_crop_is_refused(crop) -> None:
    with pytest.raises(ValueError, match="crop must be uint8"):
        sharpness(crop)


def test_the_sharpness_of_a_face_is_of_its_box_alone_at_one_size() -> None:
    checks = np.kron(np.indices((60, 80)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 255
    checks[:, :320] = 90
    picture = ArrayPicture(np.dstack([checks] * 3).copy())
    assert face_sharpness(picture, (10, 10, 110, 130)) == 0
    sharp = face_sharpness(picture, (400, 100, 500, 220))
    assert sharp is not None and sharp > 1000
    partly = face_sharpness(picture, (-50, -50, 40, 40))
    assert partly == 0
    assert face_sharpness(picture, (700, 100, 800, 200)) is None
    assert face_sharpness(NoPicture(640, 480), (0, 0, 9, 9)) is None


def test_a_score_grows_with_size_to_112_pixels_with_frontality_and_with_sharpness() -> None:
    sizes = np.array([56, 112, 500], np.float32)
    assert worth(sizes, np.ones(3, np.float32)).tolist() == [0.5, 1, 1]
    assert worth(sizes, np.full(3, 0.5, np.float32)) == pytest.approx([0.275, 0.55, 0.55])
    assert worth(sizes, np.zeros(3, np.float32)) == pytest.approx([0.05, 0.1, 0.1])
    scores = [score(0.8, sharpness) for sharpness in (0.0, 50.0, 100.0, 1e9)]
    assert scores == sorted(scores) and scores[0] == 0 and scores[3] == pytest.approx(0.8)
    assert score(0.8, None) == score(0.8, 100.0) == 0.4
