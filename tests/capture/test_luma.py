"""The brightness of decoded pictures, as the motion gate and the sharpness of faces read it."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.capture.av_picture import AvPicture, ColourConverter
from streamer.types import Frame, Picture
from streamer.vision.motion import small_luma
from streamer.vision.picture import ArrayPicture, brightness
from tests.capture.test_planes import patches
from tests.capture.test_ring import ring, through


def in_ring(picture: Picture) -> Picture:
    """The same picture as it comes out of an isolated camera's process."""
    return through(ring(), Frame("door", 0, 0, 1.0, 1.0, None, picture)).picture


@pytest.mark.parametrize("form", ["yuv420p", "yuvj420p", "nv12", "yuv422p", "yuv444p", "gray"])
def test_it_is_the_first_plane_without_its_padding(form: str) -> None:
    frame = patches(322, 240, form)
    picture = AvPicture(frame, ColourConverter())
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    for step in (1, 4):
        luma = picture.luma(step)
        assert luma is not None and not luma.flags.writeable
        assert np.array_equal(luma, rows[:240:step, :322])
    isolated = in_ring(picture)
    seen = brightness(isolated)
    assert seen is not None and np.array_equal(seen, rows[:240, :322])
    isolated.bgr()  # copied out of its slot: the same
    seen = brightness(isolated)
    assert seen is not None and np.array_equal(seen, rows[:240, :322])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_it_lies_as_the_colours_do(turns: int) -> None:
    picture = AvPicture(patches(320, 240, "yuv420p"), ColourConverter())
    picture._turns = turns
    if turns % 2:
        picture.width, picture.height = 240, 320
    gray = picture.bgr().astype(float) @ [0.114, 0.587, 0.299]
    for one in (picture, in_ring(picture)):
        seen = brightness(one)
        assert seen is not None and seen.shape == (one.height, one.width)
        assert np.corrcoef(seen.ravel().astype(float), gray.ravel())[0, 1] > 0.97
        cells = small_luma(one)
        assert cells is not None
        assert (cells.shape[0] < cells.shape[1]) == (one.height < one.width)


def test_an_array_shows_its_green_isolated_or_not() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for one in (ArrayPicture(image), in_ring(ArrayPicture(image))):
        seen = brightness(one)
        assert seen is not None and np.array_equal(seen, image[:, :, 1])


@pytest.mark.parametrize("form", ["yuv420p10le", "p010le", "rgb565le"])
def test_where_there_are_no_bytes_of_brightness_there_is_none(form: str) -> None:
    assert brightness(AvPicture(patches(64, 48, form), ColourConverter())) is None
    assert small_luma(AvPicture(patches(64, 48, form), ColourConverter())) is None
