"""How good found faces are: matching with the truth, recall, precision, mean IoU.

Pure functions over arrays. Boxes are x1, y1, x2, y2 in pixels, float, shape (N, 4).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamer.types import Floats

DEMO: Final = Path(__file__).resolve().parent.parent / "streamer" / "assets" / "demo.json"

Box: TypeAlias = Sequence[float] | Floats
Boxes: TypeAlias = Sequence[Box] | Floats


class Match(NamedTuple):
    """Row ``found`` of the boxes found goes with row ``true`` of the truth."""

    found: int
    true: int
    iou: float


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over many frames. ``iou_sum`` is the sum of the IoU of all matches."""

    matched: int = 0
    missed: int = 0
    extra: int = 0
    iou_sum: float = 0.0

    def __add__(self, other: Score) -> Score:
        """The score of both sets of frames together."""
        return Score(
            self.matched + other.matched,
            self.missed + other.missed,
            self.extra + other.extra,
            self.iou_sum + other.iou_sum,
        )

    @property
    def recall(self) -> float:
        """Share of the true faces that were found, 0..1; 1 where there are none."""
        true = self.matched + self.missed
        return self.matched / true if true else 1.0

    @property
    def precision(self) -> float:
        """Share of the found faces that are true, 0..1; 1 where none was found."""
        found = self.matched + self.extra
        return self.matched / found if found else 1.0

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the matches, 0..1; 0 where there are none."""
        return self.iou_sum / self.matched if self.matched else 0.0


class FaceTruth(NamedTuple):
    """One true face: who, the box, the visible share 0..1, the points by name (pixels)."""

    person: str
    bbox: tuple[float, float, float, float]
    visible: float
    keypoints: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class ClipTruth:
    """The truth of a whole clip: the faces of each frame."""

    width: int
    height: int
    fps: float
    frames: tuple[tuple[FaceTruth, ...], ...]


def load_truth(path: Path = DEMO) -> ClipTruth:
    """Read a JSON file as ``scripts/make_demo_clip.py`` writes it; the demo's own by default.

    Raises ``ValueError`` when the frames are not numbered 0, 1, 2, ...
    """
    clip = json.loads(path.read_text(encoding="utf-8"))
    if [frame["frame"] for frame in clip["frames"]] != list(range(len(clip["frames"]))):
        raise ValueError(f"{path}: frames must be numbered 0, 1, 2, ...; build the file again")
    frames = tuple(tuple(_face(face) for face in frame["faces"]) for frame in clip["frames"])
    return ClipTruth(clip["width"], clip["height"], clip["fps"], frames)


def _face(face: dict[str, Any]) -> FaceTruth:
    x1, y1, x2, y2 = face["bbox"]
    points = {name: (float(x), float(y)) for name, (x, y) in face["keypoints"].items()}
    return FaceTruth(face["person"], (x1, y1, x2, y2), face["visible"], points)


def truth_of(truth: ClipTruth, frame_index: int) -> tuple[FaceTruth, ...]:
    """The true faces of frame ``frame_index`` (0 or more) of the clip played in a loop."""
    if frame_index < 0:
        raise ValueError(f"frame_index must be 0 or more, not {frame_index}")
    return truth.frames[frame_index % len(truth.frames)]


def iou_table(one: Boxes, other: Boxes) -> NDArray[np.float64]:
    """Intersection over union of each box of ``one`` (N, 4) with each of ``other`` (M, 4).

    Returns (N, M), 0..1. Boxes that share no area, and boxes without area, give 0.
    """
    a = np.asarray(one, np.float64).reshape(-1, 1, 4)
    b = np.asarray(other, np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0.0), axis=-1)
    areas = [np.prod(np.maximum(box[..., 2:] - box[..., :2], 0.0), axis=-1) for box in (a, b)]
    union = areas[0] + areas[1] - shared
    share = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return np.asarray(share, np.float64)


def match(
    boxes: Boxes, scores: Sequence[float] | Floats, truth: Boxes, iou: float = 0.5
) -> list[Match]:
    """Pair found boxes with true ones: surest first, each with the free true box it fits best.

    ``boxes`` (N, 4), ``scores`` (N,), ``truth`` (M, 4). A pair needs an IoU of at least ``iou``
    (over 0, at most 1). No box is in two pairs.
    """
    if not 0 < iou <= 1:
        raise ValueError(f"iou must be over 0 and at most 1, not {iou}")
    if len(boxes) != len(scores):
        raise ValueError(f"{len(boxes)} boxes need as many scores, not {len(scores)}")
    overlaps = iou_table(boxes, truth)
    matches = []
    for found in np.argsort(-np.asarray(scores, np.float64), kind="stable"):
        best = int(np.argmax(overlaps[found])) if len(truth) else -1
        if best >= 0 and overlaps[found, best] >= iou:
            matches.append(Match(int(found), best, float(overlaps[found, best])))
            overlaps[:, best] = -1.0  # taken
    return matches


def score_frames(
    predicted: Iterable[Iterable[tuple[Box, float]]], expected: Iterable[Boxes], iou: float = 0.5
) -> Score:
    """Compare the (box, score) pairs found in each frame with the true boxes of the same frame.

    For a ``streamer.types.Faces`` the pairs are ``zip(faces.boxes, faces.scores)``. Raises
    ``ValueError`` when one has more frames than the other.
    """
    total = Score()
    for found, true in zip(predicted, expected, strict=True):
        pairs = list(found)
        matches = match([box for box, _ in pairs], [score for _, score in pairs], true, iou)
        n = len(matches)
        total += Score(n, len(true) - n, len(pairs) - n, sum(one.iou for one in matches))
    return total
