"""A decoded picture as plain bytes, and those bytes as a picture again, with the same colours.

The bytes are the planes as the decoder made them, one after the other without padding. Not all
that decides about colours is in them: :class:`Layout` holds the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.capture.pyav import (  # type: ignore[attr-defined]  # the door to av
    AvPicture,
    ColourConverter,
    VideoFrame,
    av,
)
from streamer.types import Image, Picture

Bytes = NDArray[np.uint8]

PIXELS: Final = "bgr24"
"""The form of pictures that are arrays already, and of all that :data:`FORMATS` does not name."""

FORMATS: Final[Mapping[str, tuple[tuple[int, int, int], ...]]] = {
    PIXELS: ((1, 1, 3),),
    "yuv420p": ((1, 1, 1), (2, 2, 1), (2, 2, 1)),
    "yuvj420p": ((1, 1, 1), (2, 2, 1), (2, 2, 1)),
    "nv12": ((1, 1, 1), (2, 2, 2)),
    "yuv422p": ((1, 1, 1), (1, 2, 1), (1, 2, 1)),
    "yuvj422p": ((1, 1, 1), (1, 2, 1), (1, 2, 1)),
    "yuv444p": ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "yuvj444p": ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
    "gray": ((1, 1, 1),),
    "yuv420p10le": ((1, 1, 2), (2, 2, 2), (2, 2, 2)),
    "p010le": ((1, 1, 2), (2, 2, 4)),
}
"""FFmpeg's pixel formats that cameras send. For each plane: pixels down to a row, pixels across
to a sample, bytes of a sample."""

LUMINOUS: Final = frozenset(FORMATS) - {PIXELS, "yuv420p10le", "p010le"}
"""Those whose first plane is brightness, a byte a pixel."""

MOST_BYTES: Final = 6
"""Bytes of a pixel are at most so many: those of a 10-bit picture of one pixel."""

LOCATIONS: Final = 7
"""How many places of chroma samples FFmpeg has numbers for (AVChromaLocation)."""

RANGES: Final = 3
"""How many ranges of values FFmpeg has numbers for (AVColorRange)."""

_MATRICES: Final = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
"""Colour spaces (AVCOL_SPC) that swscale converts from; it fails on others."""

_UNSPECIFIED: Final = 2  # AVCOL_SPC_UNSPECIFIED
_LEAST_FIELDS: Final = 16  # rows; swscale fails on fields without any
_BT709: Final = 1  # AVCOL_SPC_BT709
_LIMITED: Final = 1  # AVCOL_RANGE_MPEG


class Layout(NamedTuple):
    """What the bytes of a picture mean.

    ``width`` and ``height`` (pixels) are of the planes, before the ``turns`` (quarters to the
    left, 0 to 3) that show it upright. ``location``, ``colorspace`` and ``color_range`` are
    FFmpeg's AVCHROMA_LOC, AVCOL_SPC and AVCOL_RANGE numbers.
    """

    form: str
    width: int
    height: int
    turns: int = 0
    interlaced: bool = False
    location: int = 0
    colorspace: int = 0
    color_range: int = 0

    def planes(self) -> list[tuple[int, int]]:
        """(rows, bytes in a row) of each plane, in FFmpeg's order."""
        return [
            (-(-self.height // down), -(-self.width // across) * size)
            for down, across, size in FORMATS[self.form]
        ]

    def size(self) -> int:
        """Bytes of all planes."""
        return sum(rows * row for rows, row in self.planes())


def decoded(picture: Picture) -> VideoFrame | None:
    """The decoder's frame in ``picture`` when it can be written as it is, else None."""
    if not isinstance(picture, AvPicture):
        return None
    frame = picture._frame
    upright = all(plane.line_size > 0 for plane in frame.planes)  # AVI may be bottom up
    return frame if frame.format.name in FORMATS and upright else None


def write_picture(picture: Picture, target: Bytes, location: int = 0) -> Layout:
    """Copy ``picture`` to the start of ``target``, shape (n,) uint8, and say how it lies there.

    ``location`` is what :class:`Locator` says of it. What is in no known format is converted to
    BGR. Raises ``ValueError`` when ``target`` is too short.
    """
    frame = decoded(picture)
    if frame is None:
        pixels = picture.bgr()
        target[: pixels.size] = pixels.reshape(-1)
        return Layout(PIXELS, picture.width, picture.height)
    assert isinstance(picture, AvPicture)  # noqa: S101 - for the type checker
    layout = Layout(
        frame.format.name, frame.width, frame.height, picture._turns, frame.interlaced_frame,
        location, frame.colorspace, frame.color_range,
    )  # fmt: skip
    at = 0
    for rows, (count, row) in zip(_rows(frame), layout.planes(), strict=True):
        target[at : at + count * row].reshape(count, row)[:] = rows[:, :row]
        at += count * row
    return layout


def _rows(frame: VideoFrame) -> list[Bytes]:
    """The planes of ``frame`` as arrays over its memory, padding of rows included."""
    planes: list[Any] = list(frame.planes)  # buffers, though PyAV's types do not say so
    return [np.frombuffer(p, np.uint8).reshape(-1, p.line_size) for p in planes]


class Developer:
    """Makes pictures from their bytes, with one converter for all pictures of a camera.

    FFmpeg's own raw video decoder builds the frame around the bytes, without a copy. It is the
    only way PyAV has to say where the chroma samples lie and that a picture is of two fields;
    without, a scaled picture would have other colours at edges than the decoder's own.
    """

    def __init__(self) -> None:
        """Set nothing up yet."""
        self.converter = ColourConverter()
        self._key: tuple[object, ...] = ()
        self._decoder: Any = None

    def picture(self, layout: Layout, data: Bytes) -> Picture:
        """The picture of ``data``, shape (n,) uint8, which it keeps; one call at a time.

        ``data`` needs 64 bytes more than the picture has: swscale may read them. Raises
        ``ValueError`` when ``data`` is too short for ``layout``.
        """
        if layout.size() > data.size:
            raise ValueError(f"{data.size} bytes are no {layout.width}x{layout.height} picture")
        if layout.form == PIXELS:
            from streamer.vision.picture import ArrayPicture  # loads cv2, which no child needs

            pixels: Image = data[: layout.size()].reshape(layout.height, layout.width, 3)
            return ArrayPicture(pixels)
        frame = self.frame(layout, data)
        known = layout.colorspace in _MATRICES
        frame.colorspace = layout.colorspace if known else _UNSPECIFIED
        frame.color_range = layout.color_range
        return _Turned(frame, self.converter, layout.turns)

    def frame(self, layout: Layout, data: Bytes) -> VideoFrame:
        """A frame around ``data``, which it keeps; its colour space and range are not set."""
        key = layout[:6]
        if key != self._key:
            self._decoder = av.CodecContext.create("rawvideo", "r")
            self._decoder.pix_fmt = layout.form
            self._decoder.width, self._decoder.height = layout.width, layout.height
            fields = {"top": "1"} if layout.interlaced and layout.height >= _LEAST_FIELDS else {}
            self._decoder.options = {"chroma_sample_location": str(layout.location), **fields}
            self._decoder.thread_type, self._decoder.thread_count = "NONE", 1
            self._key = key
        packet: Any = av.Packet
        frame: VideoFrame
        (frame,) = self._decoder.decode(packet(data))
        return frame


class _Turned(AvPicture):
    """An AvPicture that is told its turns: a frame made from bytes does not know them."""

    __slots__ = ()

    def __init__(self, frame: VideoFrame, converter: ColourConverter, turns: int) -> None:
        super().__init__(frame, converter)
        self._turns = turns
        if turns % 2:
            self.width, self.height = self.height, self.width


class Locator:
    """Finds out where the chroma samples of decoded pictures lie, which PyAV does not tell.

    A small converted frame keeps that property, and its pixels may be written: with a known
    pattern in them, it converts to colours that only one place gives. One look a stream, 5 ms.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._key: tuple[object, ...] = ()
        self._location = 0

    def location(self, picture: Picture) -> int:
        """The AVCHROMA_LOC number of ``picture``; 0 (unspecified) when there is none."""
        frame = decoded(picture)
        if frame is None:
            return 0
        key = (frame.format.name, frame.width, frame.height, frame.interlaced_frame)
        if key != self._key:
            self._key, self._location = key, _look(frame)
        return self._location


def _look(frame: VideoFrame) -> int:
    side = 16 if frame.width != 16 else 32  # a conversion that changes nothing gives ``frame``
    plain = Layout("yuv420p", side, side, interlaced=frame.interlaced_frame)
    # As if at random; numpy.random itself takes a decoder process 9 ms to load.
    pattern = (np.arange(plain.size() + 64, dtype=np.uint32) * 2_654_435_761 >> 24).astype(np.uint8)
    probe = frame.reformat(side, side, plain.form, threads=1)
    at = 0
    for rows, (count, row) in zip(_rows(probe), plain.planes(), strict=True):
        rows[:, :row] = pattern[at : at + count * row].reshape(count, row)
        at += count * row
    wanted = _scaled(probe)
    for location in range(LOCATIONS):
        known = Developer().frame(plain._replace(location=location), pattern)
        if np.array_equal(_scaled(known), wanted):
            return location
    return 0


def _scaled(frame: VideoFrame) -> Image:
    """``frame`` at another size, so that the place of its chroma samples shows in the colours."""
    frame.colorspace, frame.color_range = _BT709, _LIMITED
    return ColourConverter().bgr(frame, 24, 20)
