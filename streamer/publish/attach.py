"""JPEGs that go with events: of each face, or of the whole frame. Off unless asked for.

They are made of the picture as others may have it, so a camera's privacy holds for them too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import numpy as np

from streamer.errors import DetectionFailed
from streamer.events import Attached
from streamer.types import Image, Outcome
from streamer.vision.jpeg import encode

Attach: TypeAlias = Literal["none", "crops", "frame"]

CROP_MARGIN: Final = 0.25
"""Of the face's longer side, shown on each side of it."""

CROP_PX: Final = 224
"""Longer side of a crop at most: twice what recognition needs (112 pixels)."""

QUALITY: Final = 80


class Attachments:
    """Makes the JPEGs of one publisher, at most so many bytes for an event and for a second.

    ``what`` is "crops" (one for each face that was found in the frame, best first) or "frame" (at
    most ``width`` pixels wide). Only frames that were looked at and have faces get any. What is
    more than ``event_bytes`` for an event, or than ``bytes_per_s`` allows (the bytes of a second
    may come at once), is left out. One thread uses it.
    """

    def __init__(
        self,
        what: Literal["crops", "frame"],
        *,
        width: int = 640,
        event_bytes: int = 200_000,
        bytes_per_s: float = 2_000_000.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """All that a second may bring is there."""
        self._what = what
        self._width = width
        self._event_bytes = event_bytes
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._left = bytes_per_s
        self._at = clock()

    def of(self, outcome: Outcome) -> tuple[Attached, ...]:
        """What goes with the event of ``outcome``, whose picture is still there; perhaps nothing.

        A picture that cannot be converted gives nothing: its event goes without.
        """
        now = self._clock()
        earned = self._left + (now - self._at) * self._bytes_per_s
        self._left, self._at = min(self._bytes_per_s, earned), now
        if outcome.status != "detected" or not (outcome.tracks.ages_s == 0).any():
            return ()
        if self._left <= 0:
            return ()
        try:
            made = self._frame(outcome) if self._what == "frame" else self._crops(outcome)
        except DetectionFailed:
            return ()
        self._left -= sum(len(one.jpeg) for one in made)
        return made

    def _frame(self, outcome: Outcome) -> tuple[Attached, ...]:
        picture = outcome.frame.picture
        width = min(self._width, picture.width)
        height = max(1, round(picture.height * width / picture.width))
        whole = _attached(None, picture.bgr(width, height))
        return (whole,) if len(whole.jpeg) <= self._event_bytes else ()

    def _crops(self, outcome: Outcome) -> tuple[Attached, ...]:
        if outcome.status != "detected":
            return ()
        made, length = [], 0
        tracks, picture = outcome.tracks, outcome.frame.picture
        # One conversion for all faces: the largest comes out at CROP_PX, and smaller ones smaller.
        boxes = tracks.faces.boxes
        longest = float((boxes[:, 2:] - boxes[:, :2]).max()) * (1 + 2 * CROP_MARGIN)
        scale = min(1.0, CROP_PX / max(longest, 1.0))
        width, height = (
            max(1, math.ceil(side * scale)) for side in (picture.width, picture.height)
        )
        image = picture.bgr(width, height)
        for number, box, age_s in zip(
            tracks.ids.tolist(), boxes * scale, tracks.ages_s.tolist(), strict=True
        ):
            margin = CROP_MARGIN * max(box[2] - box[0], box[3] - box[1])
            x1, y1 = np.maximum(np.floor(box[:2] - margin), 0).astype(int)
            x2, y2 = np.minimum(np.ceil(box[2:] + margin), (width, height)).astype(int)
            x2, y2 = min(x2, x1 + CROP_PX), min(y2, y1 + CROP_PX)  # rounded outwards, twice
            if age_s or x2 <= x1 or y2 <= y1:
                continue  # it is only expected here
            crop = _attached(number, np.ascontiguousarray(image[y1:y2, x1:x2]))
            if length + len(crop.jpeg) > self._event_bytes:
                break
            length += len(crop.jpeg)
            made.append(crop)
        return tuple(made)


def _attached(number: int | None, image: Image) -> Attached:
    return Attached(number, image.shape[1], image.shape[0], encode(image, QUALITY))
