"""Fits a picture into the rectangle a network wants, and maps what it found back.

The rectangle follows the picture's shape instead of being a square: 1280x720 at 640 becomes
640x384, not 640x640, which is 1.67 times fewer pixels for the same size of face.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from streamer.types import Floats

MULTIPLE: Final = 32
"""Sides of a network input are multiples of this: the largest stride of the RetinaFace pyramid."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a picture lies inside a network input. Made by :meth:`fit`.

    ``width``, ``height``: the picture, pixels. ``content_width``, ``content_height``: the picture
    after scaling, in the top-left corner of the input. ``input_width``, ``input_height``: the
    whole input, multiples of 32; what is right of and below the content is padding.
    """

    width: int
    height: int
    content_width: int
    content_height: int
    input_width: int
    input_height: int

    @staticmethod
    @lru_cache(maxsize=256)
    def fit(width: int, height: int, input_size: int) -> Letterbox:
        """The letterbox of a picture of this size, its longer side scaled to ``input_size``.

        Smaller pictures are scaled up, so that a face filling a tenth of the picture is always
        a tenth of ``input_size``. The shorter side is rounded to whole pixels, at least one.
        Raises ``ValueError`` unless the sides are at least 1 and ``input_size`` is a positive
        multiple of 32.
        """
        if width < 1 or height < 1:
            raise ValueError(f"a picture must be at least 1x1 pixels, not {width}x{height}")
        if input_size < MULTIPLE or input_size % MULTIPLE:
            raise ValueError(f"input_size must be a positive multiple of 32, not {input_size}")
        longer = max(width, height)
        # Whole-number arithmetic, halves round up: no float can land on the wrong side.
        content_width = max(1, (2 * width * input_size + longer) // (2 * longer))
        content_height = max(1, (2 * height * input_size + longer) // (2 * longer))
        return Letterbox(
            width=width,
            height=height,
            content_width=content_width,
            content_height=content_height,
            input_width=-(-content_width // MULTIPLE) * MULTIPLE,
            input_height=-(-content_height // MULTIPLE) * MULTIPLE,
        )

    @property
    def scale_x(self) -> float:
        """Input pixels for one picture pixel, across: exactly ``content_width / width``."""
        return self.content_width / self.width

    @property
    def scale_y(self) -> float:
        """Input pixels for one picture pixel, down: exactly ``content_height / height``.

        It differs a little from :attr:`scale_x`, because the content has whole pixels.
        """
        return self.content_height / self.height

    def to_original(self, boxes: Floats, landmarks: Floats) -> tuple[Floats, Floats]:
        """Map from input pixels to pixels of the picture.

        ``boxes`` (N, 4) float32 as x1, y1, x2, y2 and ``landmarks`` (N, 5, 2) float32 as x, y;
        returns new arrays of the same shapes. Boxes are clipped to the picture (0..width,
        0..height), so one that lies in the padding comes back with no area. Landmarks are not
        clipped: an eye beyond the edge of the picture is where the face says it is, and moving
        it to the edge would spoil whatever aligns faces by it.
        """
        scale = np.array([self.scale_x, self.scale_y], np.float32)
        corners = boxes.reshape(-1, 2, 2) / scale
        np.clip(corners, 0, np.array([self.width, self.height], np.float32), out=corners)
        return corners.reshape(-1, 4), landmarks / scale

    def to_input(self, boxes: Floats, landmarks: Floats) -> tuple[Floats, Floats]:
        """Map from pixels of the picture to input pixels: the inverse, without clipping."""
        scale = np.array([self.scale_x, self.scale_y], np.float32)
        return (boxes.reshape(-1, 2, 2) * scale).reshape(-1, 4), landmarks * scale
