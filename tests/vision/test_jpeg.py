from __future__ import annotations

import cv2
import numpy as np
import pytest

from streamer.vision.jpeg import dim, encode


def test_the_picture_comes_back_from_its_jpeg():
    image = np.zeros((90, 160, 3), np.uint8)
    image[:, 80:] = (200, 60, 20)
    data = encode(image, 90)
    assert data[:2] == b"\xff\xd8"
    assert data[-2:] == b"\xff\xd9"
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert back.shape == image.shape
    assert np.abs(back.astype(int) - image)[:, [10, 150]].max() < 12


def test_a_lower_quality_is_smaller():
    image = np.random.default_rng(7).integers(0, 255, (120, 160, 3), np.uint8)
    assert len(encode(image, 30)) < len(encode(image, 90))


@pytest.mark.parametrize(
    ("image", "quality"),
    [
        (np.zeros((4, 4), np.uint8), 80),
        (np.zeros((4, 4, 4), np.uint8), 80),
        (np.zeros((4, 4, 3), np.float32), 80),
        (np.zeros((0, 4, 3), np.uint8), 80),
        (np.zeros((1, 65501, 3), np.uint8), 80),
        (np.zeros((4, 4, 3), np.uint8), 0),
        (np.zeros((4, 4, 3), np.uint8), 101),
    ],
)
def test_what_is_no_picture_is_refused(image, quality):
    with pytest.raises(ValueError, match="JPEG"):
        encode(image, quality)


@pytest.mark.parametrize(("height", "width"), [(180, 320), (1080, 1920), (40, 160), (9, 16)])
def test_dim_darkens_and_its_words_fit(height, width):
    image = np.full((height, width, 3), 200, np.uint8)
    dim(image, "NOT LIVE since 2026-01-31 12:34:56 UTC")
    assert image[0, 0].max() < 100, "the picture must look dark"
    bright = (image > 150).any(axis=(0, 2))
    if width >= 160:
        assert bright.any(), "there are words"
        assert not bright[: width // 50].any(), "the words must not run out of the picture"
        assert not bright[-(width // 50) :].any(), "the words must not run out of the picture"
