"""The pixels of one still picture file, decoded within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from streamer.types import Image
from streamer.vision.picture import ArrayPicture

_REDUCED: Final = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A :class:`streamer.types.Picture` that was shrunk when it was decoded.

    ``width`` and ``height`` are the original's, upright, in pixels; ``kept`` is what is kept of
    it, and larger pictures than that are made from it.
    """

    width: int
    height: int
    kept: ArrayPicture

    def bgr(self, width: int | None = None, height: int | None = None) -> Image:
        """As of any picture."""
        return self.kept.bgr(width or self.width, height or self.height)


def decode_still(data: bytes, width: int, height: int, *, longest: int) -> Still:
    """Decode a JPEG, PNG, WebP or BMP file, upright as its EXIF orientation says.

    ``width`` and ``height`` are what its header says, pixels, before that; the caller has found
    them bearable, and a file that has others is refused. Of the pixels no more are kept than make
    the longer side ``longest``: of a JPEG the rest is never decoded, to a half, a quarter or an
    eighth, which takes a quarter of the time and memory or less. Transparency is left out, and of
    a film the first picture is taken. Raises ``ValueError`` with a sentence for a damaged file.
    """
    reduced = _reduction(data, width, height, longest)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[reduced])
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("the picture is damaged or cut off; send it again whole")
    down, across = image.shape[:2]
    told = -(-width // reduced), -(-height // reduced)
    if (across, down) == told:
        upright = width, height
    elif (down, across) == told:
        upright = height, width
    else:
        raise ValueError("the picture has another size than it says; save it anew")
    if max(across, down) > longest:
        scale = longest / max(across, down)
        size = max(1, round(across * scale)), max(1, round(down * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return Still(*upright, ArrayPicture(np.ascontiguousarray(image, np.uint8)))


def _reduction(data: bytes, width: int, height: int, longest: int) -> int:
    """By how much a JPEG may be reduced: its longer side stays ``longest`` or more.

    Never so far that sides which differ would look alike: the orientation is told by them.
    """
    if data.startswith(b"\xff\xd8"):
        for by in (8, 4, 2):
            alike = width != height and -(-width // by) == -(-height // by)
            if max(width, height) >= by * longest and not alike:
                return by
    return 1
