"""How good tracks are: recall, precision, identity switches and IDF1 over a clip. Pure.

A track's box matches a true one from an IoU of 0.5 on. Pairs of the frame before are kept while
they match, else pairs are made for the greatest sum of IoU (CLEAR MOT, Bernardin and Stiefelhagen,
2008). A switch is a true face whose match has another id than its last match had. IDF1 (Ristani
et al., 2016) is the F1 of boxes that match under the best pairing of ids with people over the
whole clip. Boxes that match a doubtful face and no true one count neither way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from benchmarks.tracking_scenes import Array, Seen
from tests.evaluate import iou_table

IOU = 0.5


class Output(NamedTuple):
    """What a tracker says of one frame: (N,) ids and (N, 4) boxes."""

    ids: NDArray[np.int64]
    boxes: Array


@dataclass
class Tally:
    """Counts over any number of clips; they add up."""

    matched: int = 0
    true: int = 0
    found: int = 0
    switches: int = 0
    same_id: int = 0
    iou_sum: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        """The counts of both."""
        return Tally(
            self.matched + other.matched, self.true + other.true, self.found + other.found,
            self.switches + other.switches, self.same_id + other.same_id,
            self.iou_sum + other.iou_sum,
        )  # fmt: skip

    def figures(self) -> dict[str, Any]:
        """For people and for JSON."""
        return {
            "recall": round(self.matched / max(self.true, 1), 4),
            "precision": round(self.matched / max(self.found, 1), 4),
            "mean_iou": round(self.iou_sum / max(self.matched, 1), 4),
            "id_switches": self.switches,
            "idf1": round(2 * self.same_id / max(self.true + self.found, 1), 4),
        }


def tally(frames: Sequence[Seen], outputs: Iterable[Output]) -> Tally:
    """Score one clip: an output for each frame."""
    score = Tally()
    last: dict[int, int] = {}
    together: Counter[tuple[int, int]] = Counter()
    for frame, (all_ids, all_boxes) in zip(frames, outputs, strict=True):
        counted = _counted(frame, all_boxes)
        ids, overlaps = all_ids[counted], iou_table(frame.boxes, all_boxes[counted])
        people = frame.people.tolist()
        score.true += len(people)
        score.found += len(ids)
        worth = np.where(overlaps >= IOU, overlaps, 0.0)
        kept = np.array([[last.get(person) == i for i in ids.tolist()] for person in people])
        if worth.size:
            worth += (worth > 0) * kept
        for row, column in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
            if worth[row, column] > 0:
                person, identity = people[row], int(ids[column])
                score.matched += 1
                score.iou_sum += float(overlaps[row, column])
                score.switches += last.get(person, identity) != identity
                last[person] = identity
                together[person, identity] += 1
    score.same_id = _same_id(together)
    return score


def _counted(frame: Seen, boxes: Array) -> NDArray[np.bool_]:
    """Which boxes count: those that match a true face, or do not match a doubtful one."""
    if not len(frame.doubtful) or not len(boxes):
        return np.ones(len(boxes), np.bool_)
    doubtful = (iou_table(frame.doubtful, boxes) >= IOU).any(axis=0)
    true = (iou_table(frame.boxes, boxes) >= IOU).any(axis=0)
    return np.asarray(~doubtful | true)


def _same_id(together: Counter[tuple[int, int]]) -> int:
    """Most matches that one id for each person, and one person for each id, can explain."""
    people = sorted({person for person, _ in together})
    ids = sorted({identity for _, identity in together})
    table = np.zeros((len(people), len(ids)))
    for (person, identity), count in together.items():
        table[people.index(person), ids.index(identity)] = count
    return int(table[linear_sum_assignment(table, maximize=True)].sum())
