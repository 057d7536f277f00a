"""How good the picture of a face is: its size, how far it looks at the camera, how sharp it is."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.types import Floats, Picture
from streamer.vision.picture import brightness

_NOSE_DOWN: Final = 0.497
"""How far down from the eyes to the mouth the nose of a frontal face is: from the five points
that face recognition aligns to (ArcFace, Deng et al., 2019; eyes at 51.6, nose at 71.7, mouth at
92.3 of 112 pixels)."""

_MIDDLE: Final = np.array([[0.5], [_NOSE_DOWN]])

_ACROSS, _DOWN = [-1, 1, 0, -1, 1], [-1, -1, 0, 1, 1]
_FROM_LEFT, _FROM_TOP = [-1, 0, 2, -1, 0], [-1, -1, 2, 0, 0]
_AXES: Final = np.array([_ACROSS, _FROM_LEFT, _ACROSS, _DOWN, _DOWN, _FROM_TOP], np.float64)
"""Twice the sides of the four outer points, and twice the way to the nose from the middle of the
left and of the upper side, as sums of the five points. In the order in which they are crossed:
the first with the fourth is the area, the second with the fifth how far aside the nose is, and
the third with the sixth how far down."""


USEFUL_PX: Final = 112.0
"""Face recognition scales faces to 112 pixels (ArcFace, 2019): larger pictures are no better."""

PROFILE: Final = 0.1
"""What the picture of a face in profile is worth, beside 1 of one that looks at the camera."""

_SIDE: Final = 64
_SHARP: Final = 100.0
"""Variance of the Laplacian that is half of all sharpness: about where blur begins to show."""


def size_px(boxes: Floats) -> Floats:
    """Square root of the area of each box of ``boxes`` (N, 4): (N,) float32, pixels, at least 0."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    size: Floats = np.sqrt(sides[:, 0] * sides[:, 1]).astype(np.float32)
    return size


def frontality(landmarks: Floats) -> Floats:
    """How frontal faces are, 0 (in profile, or no face's points) to 1 (looking at the camera).

    ``landmarks`` (..., 5, 2) pixels in the order of :data:`streamer.types.LANDMARKS`; returns
    (...,) float32. Of a head turned aside the nose nears one side of the four other points; of
    one raised or lowered it nears the eyes or the mouth. The result is the product of how
    central it is each way. A head tilted to a shoulder counts as frontal: aligning undoes that.
    """
    points = np.moveaxis(landmarks, (-2, -1), (0, 1)).reshape(5, -1).astype(np.float64)
    # Solve nose = left + aside * across and nose = top + below * down in the face's own axes.
    one, other = (_AXES @ points).reshape(2, 3, 2, -1)
    crossed = one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
    area = crossed[0]
    usable = area > 1e-6
    aside_below = crossed[1:] / np.where(usable, area, 1.0)
    central = np.maximum(1 - np.abs(aside_below - _MIDDLE) / _MIDDLE, 0)
    found = np.where(usable, central[0] * central[1], 0.0)
    return np.asarray(found.reshape(landmarks.shape[:-2]), np.float32)


def sharpness(gray: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of a grey crop (height, width) uint8: 0 is flat, more is sharper.

    The measure of Pech-Pacheco et al., 2000. It grows with contrast and falls with enlargement:
    compare crops of one face, scaled to one size. Raises ``ValueError`` on another shape or dtype
    and on a crop without pixels.
    """
    if gray.ndim != 2 or gray.dtype != np.uint8 or 0 in gray.shape:
        raise ValueError(
            "a crop must be uint8 of shape (height, width) with at least one pixel, "
            f"not {gray.dtype} of shape {gray.shape}"
        )
    _, deviation = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_32F))
    return float(deviation[0, 0]) ** 2


def face_sharpness(picture: Picture, box: tuple[float, float, float, float]) -> float | None:
    """:func:`sharpness` of the face in ``box`` (x1, y1, x2, y2 pixels), scaled to 64 x 64 pixels.

    Of the picture's brightness as it was decoded, so nothing is converted: 45 to 120 us. None where
    that cannot be had, or no pixel of the box is in the picture.
    """
    gray = brightness(picture)
    if gray is None:
        return None
    height, width = gray.shape
    x1, y1, x2, y2 = box
    left, top = max(0, int(x1)), max(0, int(y1))
    right, bottom = min(width, int(x2) + 1), min(height, int(y2) + 1)
    if left >= right or top >= bottom:
        return None
    crop = gray[top:bottom, left:right]
    # By a whole number first: averaging whole blocks takes a third of averaging parts of pixels.
    by = min(crop.shape) // _SIDE
    if by > 1:
        down, across = crop.shape[0] // by, crop.shape[1] // by
        whole = crop[: down * by, : across * by]
        crop = np.asarray(cv2.resize(whole, (across, down), interpolation=cv2.INTER_AREA), np.uint8)
    face = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
    return sharpness(np.asarray(face, np.uint8))


def worth(sizes_px: Floats, frontalities: Floats) -> Floats:
    """How much pictures of faces are worth before it is known how sharp they are: (N,), 0..1.

    ``sizes_px`` and ``frontalities`` are of :func:`size_px` and :func:`frontality`. A profile is
    worth a tenth of a frontal face, so that of two profiles the larger is better still.
    """
    turned = np.float32(PROFILE) + np.float32(1 - PROFILE) * frontalities
    return np.asarray(np.minimum(sizes_px / np.float32(USEFUL_PX), 1) * turned, np.float32)


def score(worth: float, sharpness: float | None) -> float:
    """How good a picture of a face is, 0..1: its :func:`worth`, less the more it is blurred.

    A sharpness that is not known counts as half.
    """
    return worth * (0.5 if sharpness is None else sharpness / (sharpness + _SHARP))
