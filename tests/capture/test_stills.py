from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.capture.stills import picture_size

IMAGE = np.full((40, 60, 3), 99, np.uint8)
SUFFIXES = [".png", ".jpg", ".webp", ".bmp"]


def encoded(suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, IMAGE, options)[1].tobytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_sizes_are_read_from_headers(suffix: str) -> None:
    assert picture_size(encoded(suffix)) == (60, 40)


def test_progressive_jpeg_and_thumbnails() -> None:
    assert picture_size(encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)) == (60, 40)
    jpeg = encoded(".jpg")
    inner = b"Exif" + b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x01\x00\x01" + b"\x00" * 9
    app1 = b"\xff\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner
    assert picture_size(jpeg[:2] + app1 + jpeg[2:]) == (60, 40)


def test_bottom_up_and_top_down_and_old_bmp() -> None:
    bmp = encoded(".bmp")
    assert picture_size(bmp[:22] + struct.pack("<i", -40) + bmp[26:]) == (60, 40)
    old = b"BM" + b"\x00" * 12 + struct.pack("<IHH", 12, 60, 40)
    assert picture_size(old) == (60, 40)


def test_lossless_and_extended_webp_sizes() -> None:
    quality = [cv2.IMWRITE_WEBP_QUALITY, 101]
    assert picture_size(encoded(".webp", *quality)) == (60, 40)
    alpha = np.dstack([IMAGE, np.full((40, 60), 9, np.uint8)])
    assert picture_size(cv2.imencode(".webp", alpha, [quality[0], 50])[1].tobytes()) == (60, 40)


@given(
    st.sampled_from(SUFFIXES),
    st.integers(0, 400),
    st.binary(max_size=40),
    st.integers(0, 60),
)
def test_no_header_makes_it_raise(suffix: str, cut: int, junk: bytes, at: int) -> None:
    data = encoded(suffix)[:cut]
    for text in (data, data[:at] + junk + data[at + len(junk) :], junk):
        size = picture_size(text)
        assert size is None or min(size) > 0
