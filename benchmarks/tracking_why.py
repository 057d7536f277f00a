"""Why faces have no box on them between looks, for benchmarks/tracking.py: each miss has one cause.

``came``: the face came (or came back from behind something) since the last look, so nobody could
know; ``not found``: the detector did not find it at the last look, and the tracker did not fill it
in; ``too weak``: it was found, but too faintly to begin a track; ``doubtful``: found once and not
surely enough to be predicted; ``first look``: found for the first time at the last look, so that
its velocity was not known; ``moved on``: known, and elsewhere than expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from benchmarks.tracking_scenes import Array, Seen
from benchmarks.tracking_score import IOU, Output
from tests.evaluate import iou_table

CAUSES: Final = ("came", "not found", "too weak", "doubtful", "first look", "moved on")


def why(frames: Sequence[Seen], told: Sequence[Output], every: int, weak: float) -> Counter[str]:
    """How many true faces have no box of ``told`` on them, by cause; ``true`` counts all faces.

    Looked at was one frame in ``every``; faces of a score from ``weak`` on were given.
    """
    found: Counter[str] = Counter()
    looks: Counter[int] = Counter()  # how often each track was there at a look
    of_person: dict[int, int] = {}  # the track on each person at the last look
    for index, (frame, output) in enumerate(zip(frames, told, strict=True)):
        look = frames[index // every * every]
        fits = _fit(frame.boxes, output.boxes)
        if index % every == 0:
            looks.update(output.ids.tolist())
            of_person = {
                person: int(output.ids[row.argmax()])
                for person, row in zip(frame.people.tolist(), fits, strict=True)
                if row.any()
            }
        found["true"] += len(frame.people)
        for person, row in zip(frame.people.tolist(), fits, strict=True):
            if not row.any():
                found[_cause(person, look, output, of_person, looks, weak)] += 1
    return found


def _cause(
    person: int, look: Seen, output: Output, of_person: dict[int, int], looks: Counter[int],
    weak: float,
) -> str:  # fmt: skip
    here = np.flatnonzero(look.people == person)
    if not len(here):
        return "came"
    sure = look.faces.scores >= weak
    if not _fit(look.boxes[here], look.faces.boxes[sure].astype(np.float64)).any():
        return "not found"
    if person not in of_person:
        return "too weak"
    track = of_person[person]
    if track not in output.ids.tolist():
        return "doubtful"
    return "first look" if looks[track] == 1 else "moved on"


def _fit(true: Array, boxes: Array) -> np.ndarray:
    """(N, M): which boxes are on which true faces, by overlap, the best of each face largest."""
    if not len(true) or not len(boxes):
        return np.zeros((len(true), len(boxes)))
    overlaps = iou_table(true, boxes)
    return np.where(overlaps >= IOU, overlaps, 0.0)
