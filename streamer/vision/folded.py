"""The head of a folded RetinaFace (see ``inference/graph.py``): pictures in, candidates out.

The counterpart of :mod:`streamer.vision.retinaface`, for a network that subtracts the mean and
decodes its priors itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.errors import DetectionFailed
from streamer.types import Faces, Floats, Image, Picture
from streamer.vision.anchors import priors
from streamer.vision.boxes import decode_boxes, decode_landmarks
from streamer.vision.boxes import nms as suppress
from streamer.vision.letterbox import Letterbox
from streamer.vision.retinaface import MEAN_BGR

COLUMNS: Final = 15
"""Numbers of a candidate: x1, y1, x2, y2, score, then x, y of five landmarks."""

_TOP_SCORE: Final = 1.001
"""As in the plain head: beyond it is no probability."""

_FARTHEST: Final = 1e6
"""As in the plain head: input pixels. No face is ever so far away or so large."""

_PLACES: Final = 16
"""Candidates of all but equal scores may change places, by no more than this."""


def to_pixels(
    pictures: Sequence[Picture], letterboxes: Sequence[Letterbox], out: Image | None = None
) -> Image:
    """Write pictures into one input of a folded network, each scaled and in its letterbox.

    All letterboxes have the same input size. Returns (N, input_height, input_width, 3) uint8,
    padded with the mean, which is whole numbers: the network sees the same zeros as behind
    :func:`streamer.vision.retinaface.to_input`. ``out``, when given, is an array of that shape
    to write to. Raises ``ValueError`` when there are no pictures or sizes do not fit together.
    """
    first = letterboxes[0] if letterboxes else None
    if first is None or len(pictures) != len(letterboxes):
        raise ValueError("give at least one picture and one letterbox for each")
    shape = (len(pictures), first.input_height, first.input_width, 3)
    batch = np.empty(shape, np.uint8) if out is None else out
    if batch.shape != shape:
        raise ValueError(f"out must have shape {shape}, not {batch.shape}")
    for canvas, picture, box in zip(batch, pictures, letterboxes, strict=True):
        height, width = box.content_height, box.content_width
        pixels = picture.bgr(width, height)
        if pixels.shape != (height, width, 3) or (box.input_height, box.input_width) != shape[1:3]:
            raise ValueError("a picture or its letterbox is of another size than was asked")
        canvas[:height, :width] = pixels
        canvas[height:] = MEAN_BGR
        canvas[:height, width:] = MEAN_BGR
    return batch


def overfull(
    candidates: Floats, letterboxes: Sequence[Letterbox], confidence: float
) -> NDArray[np.bool_]:
    """For each picture, whether more priors passed ``confidence`` than the graph could give.

    ``candidates`` (N, K, 15) float32. Returns (N,). Only for these may :func:`from_folded` miss
    faces, the worst ones; run them through the plain network to have them all.
    """
    count = len(priors(letterboxes[0].input_height, letterboxes[0].input_width))
    return np.asarray((candidates[:, -1, 4] > confidence) & (candidates.shape[1] < count))


def from_folded(
    candidates: Floats,
    extremes: Floats,
    letterboxes: Sequence[Letterbox],
    *,
    confidence: float,
    nms: float,
    max_faces: int,
) -> list[Faces]:
    """Read the faces from what a folded network said: the counterpart of ``from_output``.

    ``candidates`` (N, K, 15) float32: x1, y1, x2, y2, score and five landmarks in input pixels,
    best first. ``extremes`` (1, 3) float32: 0, or NaN where a number of the plain outputs was not
    finite; the lowest and the highest probability. ``letterboxes`` and the rest, and what comes
    back, are as for :func:`streamer.vision.retinaface.from_output`.
    Raises :class:`DetectionFailed` when a number is not finite or no probability.
    """
    if candidates.shape[::2] != (len(letterboxes), COLUMNS) or extremes.shape != (1, 3):
        raise DetectionFailed(
            f"the folded model gave outputs of shapes {candidates.shape} and {extremes.shape}; "
            "set inference.fold to false and restart"
        )
    ((nought, lowest, highest),) = extremes
    if not (nought == 0 and lowest >= 0 and highest <= _TOP_SCORE):  # NaN fails each of them
        raise DetectionFailed(
            "the model gave numbers that are not finite or scores outside 0..1; "
            "check the model and the device"
        )
    return [
        _faces_of_one(rows[rows[:, 4] > confidence], box, nms, max_faces)
        for rows, box in zip(candidates, letterboxes, strict=True)
    ]


def _faces_of_one(rows: Floats, box: Letterbox, threshold: float, max_faces: int) -> Faces:
    if not len(rows):
        return Faces.none()
    if not np.abs(rows).max() < _FARTHEST:  # NaN fails it too
        raise DetectionFailed("the model gave a face beyond all measure; check the device")
    best = suppress(rows[:, :4], rows[:, 4], threshold, limit=max_faces)
    boxes, points = box.to_original(rows[best, :4], rows[best, 5:].reshape(-1, 5, 2))
    real = np.logical_and(boxes[:, 2] > boxes[:, 0], boxes[:, 3] > boxes[:, 1])
    scores = np.minimum(rows[best, 4], np.float32(1))
    return Faces(boxes[real], scores[real], points[real])


def farthest(
    plain: Sequence[Floats], candidates: Floats, extremes: Floats, *, height: int, width: int
) -> float:
    """How far a folded network's candidates are from what the plain one said, at the worst.

    ``plain`` is ``loc`` (1, P, 4), ``conf`` (1, P, 2) and ``landmarks`` (1, P, 10) for one picture
    of ``height`` x ``width`` input pixels, ``candidates`` (1, K, 15) and ``extremes`` (1, 3) what
    came for the same. Returns the largest difference of any number, in input pixels (scores as
    they are); NaN where a number is not finite, infinity where shapes are not these.
    """
    table = priors(height, width)
    expected = [(1, len(table), columns) for columns in (4, 2, 10)]
    if [array.shape for array in plain] != expected or extremes.shape != (1, 3):
        return float("inf")
    if candidates.ndim != 3 or candidates.shape[::2] != (1, COLUMNS):
        return float("inf")
    (loc,), (conf,), (points,) = plain
    size = np.array([width, height], np.float32)
    boxes = decode_boxes(loc, table) * np.tile(size, 2)
    marks = (decode_landmarks(points, table) * size).reshape(-1, 10)
    rows = np.concatenate([boxes, conf[:, 1:], marks], axis=1)
    rows = rows[np.argsort(-conf[:, 1], kind="stable")]
    count = candidates.shape[1]
    nearest = np.full(count, np.inf)
    with np.errstate(invalid="ignore"):  # infinities end as NaN
        for step in range(-_PLACES, _PLACES + 1):
            places = np.clip(np.arange(count) + step, 0, len(rows) - 1)
            nearest = np.minimum(nearest, np.abs(candidates[0] - rows[places]).max(axis=1))
        said = np.abs(extremes[0] - [0, conf.min(), conf.max()])
    return float(np.max([*nearest, *said]))
