"""Boxes: how much two overlap, which of many to keep, and how the network writes them down."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.types import Floats

VARIANCES: Final = (0.1, 0.2)
"""What RetinaFace divided its targets by in training: centres and points by the first, sizes by
the second (inherited from SSD)."""


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of every box of ``a`` (M, 4) with every one of ``b`` (N, 4).

    Boxes are x1, y1, x2, y2 as edges, without the "+1" of :func:`nms`. Returns (M, N) float32 in
    0..1; two boxes without area overlap by 0.
    """
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(bottom_right - top_left, 0)
    inter = sides[..., 0] * sides[..., 1]
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a[:, None] + area_b[None, :] - inter
    overlap: Floats = np.zeros_like(inter)
    np.divide(inter, union, out=overlap, where=union > 0)
    return overlap


def nms(
    boxes: Floats, scores: Floats, threshold: float, *, limit: int | None = None
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: keep the best box, drop what overlaps it, repeat.

    ``boxes`` (N, 4) float32 in input pixels, ``scores`` (N,) float32. A box is dropped when it
    overlaps a kept one by more than ``threshold`` (0..1). Returns the indices kept, best first,
    at most ``limit``; equal scores keep the order given.

    RetinaFace's convention counts whole pixels: sides are x2 - x1 + 1. Small faces overlap a
    little more by it, and to find the same faces as the reference it must be kept.
    """
    order = np.argsort(-scores, kind="stable")
    x1, y1, x2, y2 = np.ascontiguousarray(boxes[order].T)
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    left = np.arange(len(order))
    kept: list[int] = []
    while left.size and (limit is None or len(kept) < limit):
        best, rest = left[0], left[1:]
        kept.append(int(best))
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest]) + 1
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest]) + 1
        inter = np.maximum(width, 0) * np.maximum(height, 0)
        left = rest[inter <= threshold * (areas[best] + areas[rest] - inter)]
    return order[kept]


def decode_boxes(loc: Floats, priors: Floats) -> Floats:
    """Turn the network's box numbers into boxes.

    ``loc`` (N, 4) float32 and the ``priors`` (N, 4) they belong to (centre x, y, width, height;
    see :func:`streamer.vision.anchors.priors`). Returns (N, 4) float32: x1, y1, x2, y2 as
    fractions of the input. The formula is SSD's (Liu et al., 2016):
    centre = prior centre + loc * 0.1 * prior size; size = prior size * exp(loc * 0.2).
    Numbers too large for float32 come back infinite or as NaN, without a warning.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        centre = priors[:, :2] + loc[:, :2] * np.float32(VARIANCES[0]) * priors[:, 2:]
        half = priors[:, 2:] * np.exp(loc[:, 2:] * np.float32(VARIANCES[1])) / 2
        return np.concatenate([centre - half, centre + half], axis=1)


def decode_landmarks(points: Floats, priors: Floats) -> Floats:
    """Turn the network's point numbers into points.

    ``points`` (N, 10) float32 as x, y of five points, and the ``priors`` (N, 4) they belong to.
    Returns (N, 5, 2) float32: x, y as fractions of the input;
    point = prior centre + number * 0.1 * prior size (RetinaFace, Deng et al., 2019).
    Numbers too large for float32 come back infinite, without a warning.
    """
    with np.errstate(over="ignore"):
        offsets = points.reshape(-1, 5, 2) * np.float32(VARIANCES[0])
        return priors[:, None, :2] + offsets * priors[:, None, 2:]
