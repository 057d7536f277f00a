"""How true results are at each instant: speed and accuracy as one figure. Pure.

Streaming accuracy (Li, Wang and Ramanan, "Towards Streaming Perception", ECCV 2020): at the
instant of every frame, the newest result that was published by then is compared with the truth of
that frame. A result that was right of its own picture and came late is wrong of a scene that has
moved on; one that was quick and missed half the faces is wrong too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from streamer.types import Floats
from streamer.vision.boxes import iou

IOU: Final = 0.5
"""From this overlap on, a box found stands for a true one."""


class Told(NamedTuple):
    """One result of a camera, as it was published.

    ``published_at`` is when somebody could have it and ``captured_at`` the instant of the picture
    it speaks of, seconds of one clock; ``boxes`` (N, 4) float32 pixels, ``scores`` (N,) float32.
    """

    published_at: float
    captured_at: float
    boxes: Floats
    scores: Floats


class Truth(NamedTuple):
    """What was there at the instant ``at`` (seconds): ``boxes`` (M, 4) float32 pixels.

    ``doubtful`` (K, 4): faces of which it is neither right nor wrong to find them.
    """

    at: float
    boxes: Floats
    doubtful: Floats

    @staticmethod
    def of(at: float, boxes: ArrayLike, doubtful: ArrayLike = ()) -> Truth:
        """The truth from rows of four numbers each. Raises ``ValueError`` for other shapes."""
        rows = [np.asarray(some, np.float32).reshape(-1, 4) for some in (boxes, doubtful)]
        return Truth(at, rows[0], rows[1])


@dataclass(frozen=True, slots=True)
class StreamingScore:
    """Counts over the instants of any number of frames and cameras; they add up.

    ``matched`` true faces were told of, ``missed`` ones were not, ``extra`` boxes were told that
    are no true face. ``instants`` is how many frames were asked about, ``silent`` at how many of
    them nothing had been published yet.
    """

    matched: int = 0
    missed: int = 0
    extra: int = 0
    instants: int = 0
    silent: int = 0

    def __add__(self, other: StreamingScore) -> StreamingScore:
        """The counts of both."""
        return StreamingScore(
            self.matched + other.matched,
            self.missed + other.missed,
            self.extra + other.extra,
            self.instants + other.instants,
            self.silent + other.silent,
        )

    @property
    def recall(self) -> float:
        """Share of the true faces that were told of at their instant, 0..1; 1 without any."""
        true = self.matched + self.missed
        return self.matched / true if true else 1.0

    @property
    def precision(self) -> float:
        """Share of the boxes told that were true at that instant, 0..1; 1 where none was told."""
        told = self.matched + self.extra
        return self.matched / told if told else 1.0

    @property
    def f1(self) -> float:
        """Recall and precision in one: their harmonic mean, 0..1; 1 when nothing was to be told."""
        both = 2 * self.matched + self.missed + self.extra
        return 2 * self.matched / both if both else 1.0


def newest(told: Sequence[Told], instants: Iterable[float]) -> list[int]:
    """Position in ``told`` of the newest result that was published by each instant; -1 for none.

    The newest is that of the newest picture, so one that comes after its successor changes
    nothing; of two results of one picture it is the one published last.
    """
    order = sorted(range(len(told)), key=lambda n: told[n].published_at)
    published = [told[n].published_at for n in order]
    best: list[int] = []
    for n in order:
        fresher = not best or told[n].captured_at >= told[best[-1]].captured_at
        best.append(n if fresher else best[-1])
    ends = (bisect_right(published, at) for at in instants)
    return [best[end - 1] if end else -1 for end in ends]


def score_stream(
    told: Sequence[Told], truth: Sequence[Truth], *, least_iou: float = IOU
) -> StreamingScore:
    """Compare what was the newest result of a camera at each instant with the truth of it.

    ``told`` in any order; before the first result nothing was told. ``least_iou`` as in
    :func:`score_instant`.
    """
    total = StreamingScore()
    for true, position in zip(truth, newest(told, (true.at for true in truth)), strict=True):
        if position < 0:
            total += StreamingScore(0, len(true.boxes), 0, 1, 1)
        else:
            result = told[position]
            total += score_instant(result.boxes, result.scores, true, least_iou=least_iou)
    return total


def score_instant(
    boxes: Floats, scores: Floats, truth: Truth, *, least_iou: float = IOU
) -> StreamingScore:
    """Compare boxes (N, 4) that are told at one instant with the truth of it.

    Surest first, each box takes the free true one that it overlaps most, by at least
    ``least_iou`` (the rule of PASCAL VOC and COCO). A box without one that lies on a doubtful
    face by as much is not counted. Raises ``ValueError`` when ``least_iou`` is not above 0 and
    at most 1, or there are more or fewer scores than boxes.
    """
    if not 0 < least_iou <= 1:
        raise ValueError(f"least_iou is above 0 and at most 1, not {least_iou}")
    if len(boxes) != len(scores):
        raise ValueError(f"{len(boxes)} boxes need as many scores, not {len(scores)}")
    matched = extra = 0
    overlaps = iou(boxes, truth.boxes)
    excused = np.any(iou(boxes, truth.doubtful) >= least_iou, axis=1).tolist()
    for row in np.argsort(-scores, kind="stable").tolist():
        column = int(overlaps[row].argmax()) if len(truth.boxes) else -1
        if column >= 0 and overlaps[row, column] >= least_iou:
            overlaps[:, column] = -1.0  # taken
            matched += 1
        elif not excused[row]:
            extra += 1
    return StreamingScore(matched, len(truth.boxes) - matched, extra, 1, 0)
