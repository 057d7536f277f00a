from __future__ import annotations

import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.capture.stills import out_of_proportion, picture_size

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


def test_what_precedes_a_frame_header_is_walked_in_bounds() -> None:
    jpeg = encoded(".jpg")
    profile = b"\xff\xe2\xff\xff" + b"\xff\xd8" + b"\0" * 65531
    assert picture_size(jpeg[:2] + 255 * profile + b"\xff" * 99 + jpeg[2:]) == (60, 40)
    begun_at = time.process_time()
    for waste in (b"\xff", b"\xff\xe1\x00\x02", b"\xff\x01"):
        assert picture_size(b"\xff\xd8\xff" + waste * ((16 << 20) // len(waste))) is None
    assert time.process_time() - begun_at < 0.3, "byte by byte it is seconds"


def test_a_jpeg_of_too_many_scans_is_told() -> None:
    jpeg = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    assert out_of_proportion(jpeg) is None
    assert out_of_proportion(jpeg[:-2] + 80 * last + jpeg[-2:]) is None
    assert out_of_proportion(jpeg[:-2] + 100 * last + jpeg[-2:]) == "has more than 100 scans"


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_png_that_unpacks_to_its_pixels_is_in_proportion(channels: int, kind: type) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (700, 500, channels)).astype(kind)
    png = cv2.imencode(".png", noise)[1].tobytes()
    assert out_of_proportion(png) is None
    assert out_of_proportion(png[:1000]) is None, "that it is cut off, others say"


def test_a_png_that_unpacks_to_more_is_told_without_unpacking_it_all() -> None:
    bomb = zlib.compress(bytes(300_000_000))
    begun_at = time.process_time()
    assert out_of_proportion(png(bomb)) == "holds more than its size says"
    assert out_of_proportion(png(bomb[:999], bomb[999:])) == "holds more than its size says"
    assert time.process_time() - begun_at < 0.2
    whole = zlib.compress(bytes(310))
    assert out_of_proportion(png(whole)) is None
    assert out_of_proportion(png(whole[:9], whole[9:])) is None
    assert out_of_proportion(png(whole, bomb)) is None, "what follows the end is not unpacked"
    assert out_of_proportion(png(b"junk")) is None
    assert out_of_proportion(png(whole, *[b""] * 30_000)) is not None
    assert out_of_proportion(png(whole, *[b""] * 200, kind=b"zTXt")) is not None


def png(*parts: bytes, kind: bytes = b"IDAT") -> bytes:
    """One of 10x10, whose pixels are the first of ``parts``; the other chunks are of ``kind``."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0))
    rest = b"".join(chunk(kind, part) for part in parts[1:])
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", parts[0]) + rest + chunk(b"IEND", b"")


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
        out_of_proportion(text)
