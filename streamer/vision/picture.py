"""A picture that is an array already, and the brightness of any picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.types import Image, Picture


@dataclass(frozen=True, slots=True, eq=False)
class ArrayPicture:
    """A :class:`streamer.types.Picture` over a uint8 BGR array of shape (height, width, 3).

    The array is taken, not copied, and made read-only. Raises ``ValueError`` on another shape
    or dtype, without any pixel, or when it is not C-contiguous (a flipped view, say).
    """

    pixels: Image

    def __post_init__(self) -> None:
        """Check the array and make it read-only."""
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] != 3 or 0 in shape or dtype != np.uint8:
            raise ValueError(
                "a picture must be uint8 BGR of shape (height, width, 3), "
                f"not {dtype} of shape {shape}"
            )
        if not self.pixels.flags.c_contiguous:
            raise ValueError("a picture must be C-contiguous; pass np.ascontiguousarray(pixels)")
        self.pixels.flags.writeable = False

    @property
    def width(self) -> int:
        """Width, pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height, pixels."""
        return int(self.pixels.shape[0])

    def bgr(self, width: int | None = None, height: int | None = None) -> Image:
        """The picture, resized when a size is given; a side that is not given stays as it is.

        Area-averaged when no side grows, else bilinear.
        Raises ``ValueError`` when a side is below 1.
        """
        size = (
            self.width if width is None else width,
            self.height if height is None else height,
        )
        if size == (self.width, self.height):
            return self.pixels
        if min(size) < 1:
            raise ValueError(f"a picture has at least 1 x 1 pixels, not {size[0]} x {size[1]}")
        shrinks = size[0] <= self.width and size[1] <= self.height
        resized = cv2.resize(
            self.pixels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        resized.flags.writeable = False
        return np.asarray(resized, np.uint8)


class Luminous(Protocol):
    """A picture that can show its brightness without being converted."""

    @property
    def turns(self) -> int:
        """Quarter turns to the left that show the rows upright, 0 to 3."""

    def luma(self, step: int) -> NDArray[np.uint8] | None:
        """Every ``step``-th row of brightness as decoded, not turned; not to be written to.

        None where the picture has no plane of brightness of 8 bits.
        """


def rows_of_luma(picture: Picture, step: int) -> tuple[NDArray[np.uint8], int] | None:
    """Every ``step``-th row of a picture's brightness as decoded, and the quarter turns it needs.

    As :class:`Luminous` says; None where it has none without converting.
    """
    if not _luminous(type(picture)):
        return None
    shining = cast("Luminous", picture)
    rows = shining.luma(step)
    return None if rows is None else (rows, shining.turns)


@cache
def _luminous(kind: type) -> bool:
    """Whether pictures of this class are :class:`Luminous`: to ask each takes 5 us."""
    return hasattr(kind, "luma") and hasattr(kind, "turns")


def brightness(picture: Picture) -> NDArray[np.uint8] | None:
    """The brightness of ``picture``, (height, width) uint8, upright; not to be written to.

    An array's brightness is its green. None where there is none without converting.
    """
    if isinstance(picture, ArrayPicture):
        return picture.pixels[:, :, 1]
    found = rows_of_luma(picture, 1)
    if found is None:
        return None
    rows, turns = found
    return np.rot90(rows, turns) if turns else rows


def encode_still(image: Image, suffix: str) -> bytes:
    """The picture file of ``image`` in the format of ``suffix`` (".png", ".jpg", ".webp", ".bmp").

    ``image`` is uint8 BGR of shape (height, width, 3). Raises ``ValueError`` when it cannot be
    written in that format.
    """
    try:
        done, data = cv2.imencode(suffix, image)
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"a picture of shape {image.shape} cannot be written as {suffix}")
    return data.tobytes()


def use_one_thread() -> None:
    """Keep OpenCV to the calling thread: the stages are the threads, and its own fight them."""
    cv2.setNumThreads(1)


def canvas(image: Image, width: int, height: int) -> Image:
    """``image`` at the top left of black, shape (height, width, 3); what does not fit is cut off.

    ``image`` is uint8 BGR of shape (height, width, 3); the result is not writeable.
    """
    if image.shape[:2] == (height, width):
        return image
    ground = np.zeros((height, width, 3), np.uint8)
    part = image[:height, :width]
    ground[: part.shape[0], : part.shape[1]] = part
    ground.flags.writeable = False
    return ground
