"""Makes faces unknowable in every picture that leaves the process.

A picture is wrapped at one place, where its faces are known (``streamer.stages``), and whoever
asks it for pixels gets them covered: live view, snapshots, restream and files need not know. It
costs nothing until somebody asks.

What is left of a face are some nine averages of its colour, drawn towards their mean: that is
less than anybody could be known by, whatever the size of the picture. Fewer cells would do, more
would not: of four to a face RetinaFace takes some for a face (measured on the demo clip).
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final, Literal, TypeAlias
from weakref import WeakValueDictionary

import cv2
import numpy as np

from streamer.types import Faces, Floats, Frame, Image, Picture
from streamer.vision.tracking import FaceTracker

Mode: TypeAlias = Literal["none", "blur", "pixelate", "box"]

CELLS: Final = 3
"""Averages along the longer side of a face: all that is left of it."""

FADE: Final = 0.6
"""Part of the way that each average goes to the mean of all: blotches of full contrast are now
and then taken for a face, which would make a person look twice."""

MARGIN: Final = 0.45
"""Added on each side, in lengths of the face: RetinaFace's boxes end at chin and forehead, and an
outline of hair around a blot is now and then taken for a face."""

GROWTH: Final = 2.0
"""Added to the margin for each second since the face was seen: people walk past at two or three
lengths of their face a second, and the prediction takes care of the even part of it."""

HELD_S: Final = 1.0
"""A face that looks do not find any more stays covered for so long."""

_BOX: Final = (48, 48, 48)

_WHOLE: Final = 6
"""Averages along the longer side of a picture that is covered whole."""


def hide(image: Image, regions: Floats, mode: Mode) -> None:
    """Cover ``regions`` of ``image``, in place.

    ``image`` is a writeable uint8 BGR array (height, width, 3). ``regions`` (N, 5) are x1, y1,
    x2, y2 and the length of a face there, pixels of ``image``; they are cut to it, and their edges
    rounded outwards. ``mode`` "none" does nothing.
    """
    if mode == "none" or not len(regions):
        return
    height, width = image.shape[:2]
    corners = np.concatenate([np.floor(regions[:, :2]), np.ceil(regions[:, 2:4])], axis=1)
    corners = np.clip(corners, 0, np.array([width, height, width, height]))
    for (x1, y1, x2, y2), size in zip(
        corners.astype(int).tolist(), regions[:, 4].tolist(), strict=True
    ):
        part = image[y1:y2, x1:x2]
        if not part.size:
            continue
        if mode == "box":
            part[:] = _BOX
            continue
        cell = max(size / CELLS, 1.0)
        grid = max(1, int((x2 - x1) / cell)), max(1, int((y2 - y1) / cell))
        few = cv2.resize(part, grid, interpolation=cv2.INTER_AREA)
        mean = few.reshape(-1, 3).mean(axis=0)
        few = (few + FADE * (mean - few)).astype(np.uint8)
        smooth = cv2.INTER_LINEAR if mode == "blur" else cv2.INTER_NEAREST
        part[:] = cv2.resize(few, (x2 - x1, y2 - y1), interpolation=smooth)


def around(boxes: Floats, before: Floats, ages_s: Floats) -> Floats:
    """What to cover for faces expected at ``boxes``, which were at ``before`` so long ago.

    All (N, 4) in pixels, and ``ages_s`` (N,) seconds, 0 for faces seen in this picture. Returns
    (N, 5) regions as for :func:`hide`: the hull of both boxes, for a face may have stopped on its
    way, and a margin that grows with the age.
    """
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], before[:, 2:] - before[:, :2])
    sizes = sides.max(axis=1, initial=1.0)
    more = (sizes * (MARGIN + GROWTH * ages_s))[:, None]
    return np.concatenate(
        [
            np.minimum(boxes[:, :2], before[:, :2]) - more,
            np.maximum(boxes[:, 2:], before[:, 2:]) + more,
            sizes[:, None],
        ],
        axis=1,
    ).astype(np.float32)


class Privacy:
    """What is covered in the pictures of one camera.

    ``mode`` may be set by any thread at any time and holds at once, for pictures that are waiting
    somewhere too; those that were taken while it was "none" are then covered whole, because
    nothing was noted of their faces. The rest is for one thread at a time.
    """

    def __init__(self, mode: Mode = "none") -> None:
        """Know no face yet."""
        self.mode: Mode = mode
        self._tracker = FaceTracker(max_lost_s=HELD_S)
        self._seen: dict[int, Floats] = {}
        self._view: tuple[int, int, int] | None = None  # epoch, width and height of the last look
        self._looked_at = 0.0

    def looked(self, frame: Frame, faces: Faces, at: float) -> Frame:
        """The frame as others may have it, of the instant ``at`` (s), with ``faces`` found in it.

        Give all that might be faces, weak ones too. Those found a short while ago and not now
        are covered as well.
        """
        if self.mode == "none":
            self._view = None
            return self.unknown(frame)
        if self._view != _view(frame):  # what was known has nothing to do with what comes
            self._tracker.reset()
            self._seen.clear()
        self._view, self._looked_at = _view(frame), at
        found = self._tracker.update(faces, at)
        seen = dict(zip(found.ids.tolist(), found.faces.boxes, strict=True))
        alive = set(self._tracker.alive())
        self._seen = {n: box for n, box in (self._seen | seen).items() if n in alive}
        return self.expected(frame, at)

    def expected(self, frame: Frame, at: float, *, still: bool = False) -> Frame:
        """The frame of the instant ``at`` (s), not looked at, as others may have it.

        ``still``: nothing has moved in it since the last look.
        """
        if self._view != _view(frame):
            return self.unknown(frame)
        tracks = self._tracker.everybody(self._looked_at if still else at)
        before = np.array([self._seen[n] for n in tracks.ids.tolist()], np.float32)
        regions = around(tracks.faces.boxes, before.reshape(-1, 4), tracks.ages_s)
        return replace(frame, picture=MaskedPicture(frame.picture, self, regions))

    def unknown(self, frame: Frame) -> Frame:
        """A frame of which nobody knows what is in it, as others may have it: covered whole."""
        return replace(frame, picture=MaskedPicture(frame.picture, self, None))


class PrivacyByName:
    """That of every camera. Not locked: its owner is."""

    def __init__(self) -> None:
        """No camera yet."""
        self._known: dict[str, Privacy] = {}
        # Of cameras that are gone, as long as a picture of theirs waits somewhere.
        self._left: WeakValueDictionary[str, Privacy] = WeakValueDictionary()

    def of(self, name: str, mode: Mode) -> Privacy:
        """That of a camera of this mode, which holds for what waits of one that is gone too."""
        left = self._left.get(name)
        if left is not None and mode != "none":
            left.mode = mode
        return self._known.setdefault(name, Privacy(mode))

    def forget(self, name: str) -> None:
        """The camera is gone, and what was known of its faces; its pictures stay covered."""
        self._left[name] = self._known.pop(name)


def _view(frame: Frame) -> tuple[int, int, int]:
    return frame.epoch, frame.picture.width, frame.picture.height


class MaskedPicture:
    """A :class:`streamer.types.Picture` whose faces are covered as its camera's mode says."""

    __slots__ = ("_last", "_lock", "_picture", "_regions", "height", "privacy", "width")

    width: int
    height: int

    def __init__(self, picture: Picture, privacy: Privacy, regions: Floats | None) -> None:
        """Cover ``regions`` (N, 5), in pixels of ``picture``; None: all of it."""
        self._picture = picture
        self.privacy = privacy
        self._regions = regions
        self._lock = threading.Lock()
        self._last: tuple[Mode, Image] | None = None
        self.width, self.height = picture.width, picture.height

    @property
    def mode(self) -> Mode:
        """How it is covered now; "none": not at all."""
        return self.privacy.mode

    def bgr(self, width: int | None = None, height: int | None = None) -> Image:
        """As :meth:`streamer.types.Picture.bgr`. The last size asked for is kept."""
        mode = self.mode
        if mode == "none":
            return self._picture.bgr(width, height)
        width = self.width if width is None else width
        height = self.height if height is None else height
        with self._lock:
            last = self._last
            if last is None or last[0] != mode or last[1].shape != (height, width, 3):
                image = self._picture.bgr(width, height).copy()
                hide(image, self._scaled(width, height), mode)
                image.flags.writeable = False
                self._last = last = mode, image
            return last[1]

    def _scaled(self, width: int, height: int) -> Floats:
        """The regions in pixels of a picture of this size."""
        if self._regions is None:
            length = max(width, height) * CELLS / _WHOLE
            return np.array([[0, 0, width, height, length]], np.float32)
        x, y = width / self.width, height / self.height
        return np.asarray(self._regions * np.array([x, y, x, y, max(x, y)], np.float32))


def mode_of(picture: Picture) -> Mode:
    """How the faces of ``picture`` are covered now; "none" where they are not."""
    return picture.mode if isinstance(picture, MaskedPicture) else "none"
