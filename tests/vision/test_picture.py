"""ArrayPicture: a checked, read-only array that scales itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.types import Picture
from streamer.vision.picture import ArrayPicture

sides = st.integers(1, 40)


def pixels(height=8, width=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_it_is_a_picture_and_takes_the_array_as_it_is():
    array = pixels()
    picture: Picture = ArrayPicture(array)
    assert (picture.width, picture.height) == (12, 8)
    assert picture.bgr() is array
    assert picture.bgr(12, 8) is array
    assert picture.bgr(12) is picture.bgr(height=8) is array


def test_nobody_can_write_to_it():
    array = pixels()
    picture = ArrayPicture(array)
    for image in (array, picture.bgr(), picture.bgr(6, 4), picture.bgr(24, 16)):
        with pytest.raises(ValueError, match="read-only"):
            image[0, 0, 0] = 1


@given(sides, sides, sides, sides)
def test_any_size_from_any_size(height, width, new_height, new_width):
    image = ArrayPicture(pixels(height, width)).bgr(new_width, new_height)
    assert image.shape == (new_height, new_width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


@given(sides, sides, sides, sides, st.integers(0, 255))
def test_one_colour_stays_one_colour(height, width, new_height, new_width, value):
    picture = ArrayPicture(np.full((height, width, 3), value, np.uint8))
    assert (picture.bgr(new_width, new_height) == value).all()


def test_shrinking_averages_areas():
    array = pixels(8, 12)
    means = array.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    assert np.abs(ArrayPicture(array).bgr(6, 4) - means).max() <= 0.51
    rows = array.reshape(4, 2, 12, 3).mean(axis=1)  # one side alone is averaged as well
    assert np.abs(ArrayPicture(array).bgr(12, 4) - rows).max() <= 0.51


def test_one_side_alone():
    picture = ArrayPicture(pixels(8, 12))
    assert picture.bgr(width=6).shape == (8, 6, 3)
    assert picture.bgr(height=4).shape == (4, 12, 3)


@pytest.mark.parametrize(("width", "height"), [(0, 4), (4, 0), (-1, 4), (0, None)])
def test_a_size_without_pixels_is_refused(width, height):
    with pytest.raises(ValueError, match="at least 1 x 1"):
        ArrayPicture(pixels()).bgr(width, height)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 12), np.uint8),
        np.zeros((8, 12, 4), np.uint8),
        np.zeros((1, 8, 12, 3), np.uint8),
        np.zeros((8, 12, 3), np.float32),
        np.zeros((8, 12, 3), np.int8),
        np.zeros((0, 12, 3), np.uint8),
        np.zeros((8, 0, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match="must be uint8 BGR"):
        ArrayPicture(array)
    assert array.flags.writeable  # and left as they were


@pytest.mark.parametrize("view", [lambda a: a[:, ::-1], lambda a: a[..., ::-1], lambda a: a[:, 1:]])
def test_views_are_refused_with_the_way_out(view):
    with pytest.raises(ValueError, match=r"np\.ascontiguousarray"):
        ArrayPicture(view(pixels()))
    assert ArrayPicture(np.ascontiguousarray(view(pixels()))).height == 8
