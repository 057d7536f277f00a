"""A decoded frame as a picture: still YUV, converted straight to the size that is asked."""

from __future__ import annotations

import threading
from typing import Final

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from streamer.capture.liveness import SAMPLED_ROWS
from streamer.errors import PictureFailed
from streamer.types import Image

LUMINOUS: Final = frozenset({
    "yuv420p", "yuvj420p", "nv12", "nv21", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "gray",
})  # fmt: skip
"""FFmpeg's pixel formats whose first plane is brightness, a byte a pixel."""

_UNSPECIFIED: Final = 2  # AVCOL_SPC_UNSPECIFIED
_MATRICES: Final = frozenset({0, 1, 2, 4, 5, 6, 7, 9})  # AVCOL_SPC that swscale converts from


class ColourConverter:
    """One swscale context and its lock, shared by all pictures of a camera.

    A context is dear to set up, holds megabytes and is not thread-safe. A conversion also
    writes into the frame it reads from, so the lock guards the frames as well.
    """

    def __init__(self) -> None:
        """Make a converter; the context itself is set up by the first conversion."""
        self.lock = threading.Lock()
        self._reformatter = VideoReformatter()

    def bgr(self, frame: VideoFrame, width: int, height: int) -> Image:
        """``frame`` in BGR at the size given, shape (height, width, 3), in one pass.

        Matrix and range are those the stream names. Where it names no matrix, pictures wider
        than 1279 or higher than 576 pixels are taken as BT.709 and others as BT.601, as players
        do; so are those that name one FFmpeg cannot convert. The caller holds the lock. Raises
        PictureFailed when it cannot be converted all the same.
        """
        high_definition = frame.width >= 1280 or frame.height > 576
        if frame.colorspace not in _MATRICES:  # a camera may name any; swscale fails on most
            frame.colorspace = _UNSPECIFIED
        unnamed = frame.colorspace == _UNSPECIFIED
        # FAST_BILINEAR: 0.6 ms for 1080p to 640x360 where AREA takes 1.0, and the model's
        # scores on shrunk faces are the same within 0.011 (measured; 0.026 on the smallest).
        try:
            converted = self._reformatter.reformat(
                frame,
                width,
                height,
                "bgr24",
                src_colorspace=Colorspace.ITU709 if unnamed and high_definition else None,
                interpolation=Interpolation.FAST_BILINEAR,
                threads=1,
            )
        except FFmpegError as error:
            raise PictureFailed(
                f"its colours cannot be converted ({type(error).__name__})"
            ) from None
        return np.ascontiguousarray(converted.to_ndarray(), np.uint8)  # drops padding of rows


class AvPicture:
    """A :class:`streamer.types.Picture` over a decoded frame that is still YUV.

    Rotation by quarter turns, as phones record it, is applied. The last size asked for is kept,
    so that inference and the live view convert once between them.
    """

    __slots__ = ("_converter", "_frame", "_last", "_turns", "height", "width")

    width: int
    height: int

    def __init__(self, frame: VideoFrame, converter: ColourConverter) -> None:
        """Wrap ``frame``; nothing is converted yet."""
        self._frame = frame
        self._converter = converter
        self._turns = round(frame.rotation / 90) % 4  # quarter turns counter-clockwise
        self._last: Image | None = None
        size = (frame.width, frame.height)
        self.width, self.height = size[::-1] if self._turns % 2 else size

    def bgr(self, width: int | None = None, height: int | None = None) -> Image:
        """The picture as uint8 BGR (height, width, 3), C-contiguous and not writeable.

        ``None`` means the picture's own width or height. Safe from any thread. Raises
        ``ValueError`` when a size is below 1.
        """
        width = self.width if width is None else width
        height = self.height if height is None else height
        if width < 1 or height < 1:
            raise ValueError(f"a picture cannot be {width} pixels wide and {height} high")
        last = self._last
        if last is not None and last.shape == (height, width, 3):
            return last
        with self._converter.lock:
            last = self._last  # another thread may have converted while this one waited
            if last is None or last.shape != (height, width, 3):
                last = self._convert(width, height)
                last.flags.writeable = False
                self._last = last
        return last

    @property
    def turns(self) -> int:
        """Quarter turns to the left that show the decoded rows upright, 0 to 3."""
        return self._turns

    def luma(self, step: int) -> NDArray[np.uint8] | None:
        """Every ``step``-th row of brightness as decoded, (rows, columns) uint8, not turned.

        It is the decoder's own memory, which a conversion reads and never writes: from any
        thread, not to be written to. None where the first plane is not brightness of 8 bits.
        """
        if self._frame.format.name not in LUMINOUS:
            return None
        plane = self._frame.planes[0]
        if plane.line_size <= 0:  # bottom up, as AVI may be
            return None
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        shown = rows[: plane.height : step, : plane.width]
        shown.flags.writeable = False
        return shown

    def sample(self) -> Image:
        """A copy of every :data:`SAMPLED_ROWS`-th row of the first plane, uint8, as decoded.

        For the thread that decoded it, before the picture is handed on: it takes no lock.
        """
        plane = self._frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        return np.array(rows[: plane.height : SAMPLED_ROWS, : plane.width])  # without padding

    def _convert(self, width: int, height: int) -> Image:
        if self._turns % 2:
            image = self._converter.bgr(self._frame, height, width)
        else:
            image = self._converter.bgr(self._frame, width, height)
        return np.ascontiguousarray(np.rot90(image, self._turns)) if self._turns else image
