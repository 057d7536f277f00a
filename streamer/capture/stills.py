"""Reads a picture's size from its first bytes, so that a bomb is refused before it is decoded.

Pure: bytes in, numbers out. Sources: PNG (W3C) 11.2.2 IHDR; JPEG (ITU T.81) B.2.2 frame header;
WebP (RFC 9649) 2.4 to 2.7; BMP BITMAPCOREHEADER and BITMAPINFOHEADER.
"""

from __future__ import annotations

from typing import Final

# Start-of-frame markers: C0 to CF without C4 (Huffman), C8 (reserved) and CC (arithmetic).
_START_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers that stand alone: TEM, RST0 to RST7, SOI.
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})


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
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return 0, 0
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _START_OF_FRAME:
            return _big(data, at + 7, 2), _big(data, at + 5, 2)
        else:
            length = _big(data, at + 2, 2)
            if length < 2:
                return 0, 0
            at += 2 + length
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
