"""Reads a picture's size from its first bytes, so that a bomb is refused before it is decoded.

Pure: bytes in, numbers out. Sources: PNG (W3C) 5.3, 11.2.2 IHDR; JPEG (ITU T.81) B.2.2, B.2.3;
WebP (RFC 9649) 2.4 to 2.7; BMP BITMAPCOREHEADER and BITMAPINFOHEADER.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

# Start-of-frame markers: C0 to CF without C4 (Huffman), C8 (reserved) and CC (arithmetic).
_START_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers that stand alone: TEM, RST0 to RST7, SOI.
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_MARKER: Final = re.compile(rb"\xff{1,1024}([^\xff])", re.DOTALL)  # ff before it fills
_MOST_SEGMENTS: Final = 1000
"""Before the frame header. 255 hold the longest colour profile, and 16 MiB of full ones are 256."""
# A scan header is less than 256 bytes long; in what is coded, ff is followed by 00 or d0 to d7.
_SCAN: Final = b"\xff\xda\x00"
MOST_SCANS: Final = 100
"""Of a JPEG: a progressive one has some ten, and each goes over all its pixels again."""

_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the colour type of a PNG
_PACKED: Final = (b"zTXt", b"iTXt", b"iCCP")
_MOST_PACKED: Final = 100
"""Packed texts of a PNG: libpng unpacks 8 MB of each."""
_MOST_CHUNKS: Final = 20_000
"""Of a PNG: those of its encoders are of 8 KiB and more."""
_PIECE: Final = 16 * 1024
"""Bytes unpacked at a time: they become a thousand times as many at most."""


def picture_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels of a PNG, JPEG, WebP or BMP; None when it is none of them.

    EXIF orientation is not applied. Damaged headers give None; no input raises.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n") and data[12:16] == b"IHDR":
        size = _big(data, 16, 4), _big(data, 20, 4)
    elif data.startswith(b"\xff\xd8\xff"):
        size = _jpeg(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        size = _webp(data)
    elif data.startswith(b"BM"):
        size = _bmp(data)
    else:
        return None
    return size if size[0] > 0 and size[1] > 0 else None


def out_of_proportion(data: bytes) -> str | None:
    """Why decoding would cost far more than the size that :func:`picture_size` found says.

    As of "the picture ...": a JPEG has over 100 scans, or a PNG unpacks to more than its pixels.
    None when it does not, or is too damaged to be decoded at all. A PNG is unpacked for it, which
    takes a third of what decoding it takes; of other files it is milliseconds.
    """
    if data.startswith(b"\xff\xd8") and data.count(_SCAN) > MOST_SCANS:
        return f"has more than {MOST_SCANS} scans"
    if data.startswith(b"\x89PNG") and _png_overflows(data):
        return "holds more than its size says"
    return None


def _png_overflows(data: bytes) -> bool:
    """Go over the chunks, and unpack the pixels until they are more than they may be."""
    width, height = _big(data, 16, 4), _big(data, 20, 4)
    row = 1 + -(-width * _big(data, 24, 1) * _CHANNELS.get(_big(data, 25, 1), 4) // 8)
    left = 2 * row * height + 64 * 1024  # of interlaced pictures the rows are shorter, and more
    unpacking = zlib.decompressobj()
    at, chunks, packed = 8, 0, 0
    while at + 8 <= len(data):
        kind, begin, at = data[at + 4 : at + 8], at + 8, at + 12 + _big(data, at, 4)
        chunks += 1
        packed += kind in _PACKED
        if chunks > _MOST_CHUNKS or packed > _MOST_PACKED:
            return True
        if kind == b"IDAT" and not unpacking.eof:
            for piece in range(begin, min(at - 4, len(data)), _PIECE):
                try:
                    left -= len(unpacking.decompress(data[piece : min(piece + _PIECE, at - 4)]))
                except zlib.error:
                    return False  # libpng goes no further either
                if left < 0:
                    return True
    return False


def _big(data: bytes, at: int, count: int) -> int:
    """Unsigned big-endian number; 0 where the data ends before it."""
    return int.from_bytes(data[at : at + count], "big") if at + count <= len(data) else 0


def _little(data: bytes, at: int, count: int, *, signed: bool = False) -> int:
    """Little-endian number; 0 where the data ends before it."""
    piece = data[at : at + count]
    return int.from_bytes(piece, "little", signed=signed) if len(piece) == count else 0


def _jpeg(data: bytes) -> tuple[int, int]:
    """Walk the segments to the frame header; those of a thumbnail lie inside a skipped one."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        found = _MARKER.match(data, at)
        if found is None:
            break
        marker, at = found[1][0], found.end()
        if marker in _START_OF_FRAME:
            return _big(data, at + 5, 2), _big(data, at + 3, 2)
        if marker in _ALONE:
            continue
        length = _big(data, at, 2)
        if length < 2:
            break
        at += length
    return 0, 0


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        bits = _little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X" and len(data) >= 30:
        return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    return 0, 0


def _bmp(data: bytes) -> tuple[int, int]:
    if _little(data, 14, 4) == 12:  # BITMAPCOREHEADER
        return _little(data, 18, 2), _little(data, 20, 2)
    return _little(data, 18, 4, signed=True), abs(_little(data, 22, 4, signed=True))
