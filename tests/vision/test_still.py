"""Still pictures, decoded within bounds and upright."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from streamer.vision.still import decode_still


def scene(width: int, height: int) -> np.ndarray:
    """Dark, with a white patch at the top left."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[: height // 4, : width // 4] = 255
    return image


def file_of(image: np.ndarray, suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1])


def turned(jpeg: bytes, orientation: int) -> bytes:
    """The same JPEG with an EXIF orientation."""
    tiff = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0) + bytes(4)
    exif = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
@pytest.mark.parametrize("size", [(64, 48), (700, 500), (1999, 1001)])
def test_what_is_kept_is_no_longer_than_asked_and_knows_the_size_it_had(suffix, size):
    still = decode_still(file_of(scene(*size), suffix), *size, longest=320)
    assert (still.width, still.height) == size
    assert max(still.kept.width, still.kept.height) == min(320, max(size))
    small = still.bgr(32, 24)
    assert small.shape == (24, 32, 3)
    assert small[2, 2].min() > 200
    assert small[20, 28].max() < 80


@pytest.mark.parametrize("size", [(640, 480), (640, 640), (641, 640), (5121, 5120), (4000, 3000)])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_pictures_are_upright_as_exif_says(size, orientation):
    jpeg = turned(file_of(scene(*size), ".jpg"), orientation)
    still = decode_still(jpeg, *size, longest=320)
    upright = size if orientation in (1, 3) else size[::-1]
    assert (still.width, still.height) == upright
    image = still.bgr(40, 40)
    corner = {1: (3, 3), 3: (36, 36), 6: (3, 36), 8: (36, 3)}[orientation]
    assert image[corner].min() > 200
    assert image[20, 20].max() < 80


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"", (1, 1)),
        (b"\xff\xd8\xff\xe0 nothing", (10, 10)),
        (file_of(scene(64, 48), ".jpg")[:-200], (64, 48)),
        (file_of(scene(64, 48), ".png")[:-20], (64, 48)),
        (file_of(scene(64, 48), ".webp")[:-9], (64, 48)),
        (file_of(scene(64, 48), ".png"), (64, 49)),
        (file_of(scene(64, 48), ".jpg"), (32, 24)),
    ],
)
def test_damage_is_one_sentence(data, size):
    with pytest.raises(ValueError, match=r"; (send it again whole|save it anew)"):
        decode_still(data, *size, longest=320)
