"""Draws what was found onto a picture, for people."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

import cv2
import numpy as np

from streamer.types import Floats, Image, Tracks
from streamer.vision.privacy import around

Colour: TypeAlias = tuple[int, int, int]

_GOLDEN_TURN: Final = 0.618034
"""Part of the colour circle between one id and the next: neighbours are always far apart."""

_DARK: Final = (24, 24, 24)

_SUBPIXEL_BITS: Final = 3
"""Points are placed to an eighth of a pixel, so that they do not jump as a face moves."""

_SEMIBOLD: Final = 600


@lru_cache(maxsize=1024)
def colour_of(identity: int) -> Colour:
    """A bright colour (blue, green, red in 0..255) for an id, the same at every call."""
    hue = identity * _GOLDEN_TURN % 1.0
    pixel = np.array([[[hue * 180, 165, 255]]], np.uint8)  # OpenCV's circle of hues has 180 parts
    blue, green, red = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def draw(
    image: Image,
    tracks: Tracks,
    scale_x: float = 1.0,
    scale_y: float = 1.0,
    *,
    covered: bool = False,
) -> None:
    """Draw boxes, landmarks, ids and scores onto ``image``, in place.

    ``image`` is a writeable uint8 BGR array (height, width, 3); ``scale_x`` and ``scale_y`` are
    its pixels for one pixel of the original frame. A face that was only predicted has corners
    without a frame, and no score. Lines and letters grow with the image, and stay readable at 320
    pixels. Faces that are ``covered`` get their frame around what covers them and no points: these
    make RetinaFace take a blot for a face, and people look twice. Raises ``ValueError`` when the
    image cannot be written to.
    """
    if not image.flags.writeable:
        raise ValueError("draw on a copy: this image is not writeable")
    # One step of weight for every 480 pixels of the shorter side.
    thick = max(1, round(min(image.shape[:2]) / 480))
    text_px = max(11, round(min(image.shape[:2]) / 36))
    scale = np.array([scale_x, scale_y], np.float32)
    boxes = tracks.faces.boxes
    if covered:
        ages_s = np.zeros_like(tracks.ages_s)  # the frame does not grow with what covers
        boxes = around(boxes, boxes, ages_s)[:, :4]
    corners = boxes.reshape(-1, 2, 2) * scale
    points = tracks.faces.landmarks * scale
    # The best face is drawn last, so that it lies on top.
    for n in range(len(tracks) - 1, -1, -1):
        colour = colour_of(int(tracks.ids[n]))
        predicted = bool(tracks.ages_s[n] > 0)
        _draw_box(image, corners[n], colour, thick, whole=not predicted)
        if not covered:
            size = float((corners[n, 1] - corners[n, 0]).min())
            _draw_points(image, points[n], colour, max(1.0, size / 40))
        score = "" if predicted else f" {tracks.faces.scores[n]:.0%}"
        label = f"#{tracks.ids[n]}{score}"
        _draw_label(image, label, corners[n], colour, text_px, thick)


def _draw_box(image: Image, corners: Floats, colour: Colour, thick: int, *, whole: bool) -> None:
    """A thin frame with strong corners, edged in dark so that it shows on any background.

    Not ``whole``: the corners alone.
    """
    (x1, y1), (x2, y2) = np.rint(corners).astype(int).tolist()
    if whole:
        cv2.rectangle(image, (x1, y1), (x2, y2), _DARK, thick + 2)
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, thick)
    arm = max(3, min(x2 - x1, y2 - y1) // 5)
    for x, towards_x in ((x1, arm), (x2, -arm)):
        for y, towards_y in ((y1, arm), (y2, -arm)):
            cv2.line(image, (x, y), (x + towards_x, y), colour, thick + 2)
            cv2.line(image, (x, y), (x, y + towards_y), colour, thick + 2)


def _draw_points(image: Image, points: Floats, colour: Colour, radius: float) -> None:
    """The five landmarks as dots of ``radius`` pixels with a dark rim."""
    unit = 1 << _SUBPIXEL_BITS
    for x, y in np.rint(points * unit).astype(int).tolist():
        for grown, fill in ((radius + 1, _DARK), (radius, colour)):
            size = round(grown * unit)
            cv2.circle(image, (x, y), size, fill, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_label(
    image: Image, text: str, corners: Floats, colour: Colour, text_px: int, thick: int
) -> None:
    """``text`` in dark on a plate of ``colour``: above the box, or in it where there is no room."""
    # Making one costs under a microsecond; sharing one between threads might cost more.
    font = cv2.FontFace("sans")
    pad = max(2, text_px // 4)
    _, _, text_width, _ = cv2.getTextSize((0, 0), text, (0, 0), font, text_px, _SEMIBOLD)
    width, height = text_width + 2 * pad, text_px + pad
    left, top = (int(v) for v in np.rint(corners[0] - thick))
    left = max(0, min(left, image.shape[1] - width))
    above = top - height
    top = above if above >= 0 else max(0, min(top, image.shape[0] - height))
    cv2.rectangle(image, (left, top), (left + width, top + height), colour, cv2.FILLED)
    # Letters stand on the base line; capitals and digits are about 0.7 of the size.
    base = top + (height + round(0.7 * text_px)) // 2
    cv2.putText(image, text, (left + pad, base), _DARK, font, text_px, _SEMIBOLD)
