"""From a BGR array to a JPEG, and the words burnt into a picture that must not look live."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from streamer.types import Image

_DIM: Final = 0.45
"""How bright a picture stays under the words: dark enough to be seen as not live."""
_GLYPH_WIDTH: Final = 18.0
"""Mean advance of FONT_HERSHEY_SIMPLEX at scale 1, pixels (cv2.getTextSize of digits)."""


def encode(image: Image, quality: int = 80) -> bytes:
    """The JPEG of ``image``, baseline, 4:2:0.

    ``image`` is uint8 BGR of shape (height, width, 3), 1 to 65500 pixels a side; ``quality`` is
    1..100. Raises ``ValueError`` on anything else.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(
            "a JPEG is made of a uint8 BGR image of shape (height, width, 3), "
            f"not {image.dtype} of shape {image.shape}"
        )
    if max(image.shape) > 65500:  # libjpeg's JPEG_MAX_DIMENSION
        raise ValueError(f"a JPEG has at most 65500 pixels a side, not {image.shape[1::-1]}")
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality is 1 to 100, not {quality}")
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} could not be made a JPEG")
    return data.tobytes()


def dim(image: Image, words: str) -> None:
    """Darken ``image`` in place and write ``words`` (ASCII) across its middle, in white.

    ``image`` is writeable uint8 BGR of shape (height, width, 3). The letters shrink until the
    words fit the width.
    """
    cv2.convertScaleAbs(image, dst=image, alpha=_DIM)
    height, width = image.shape[:2]
    scale = min(0.9 * width / (_GLYPH_WIDTH * max(1, len(words))), height / 100.0, 1.2)
    thickness = 1 if scale < 0.7 else 2
    (text_width, text_height), _ = cv2.getTextSize(
        words, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness
    )
    at = (max(0, (width - text_width) // 2), (height + text_height) // 2)
    cv2.putText(
        image, words, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness, cv2.LINE_AA
    )
