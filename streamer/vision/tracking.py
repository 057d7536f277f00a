"""Gives faces an identity from frame to frame by where they are and how they move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.types import Faces, Floats, Tracks
from streamer.vision.boxes import iou

_NEWEST_WEIGHT: Final = 0.5
"""Weight of the newest step in a track's velocity. One step alone carries the detector's jitter
of a pixel or so; the mean of the last few does not."""

_LEAST_STEP_S: Final = 1e-3
"""A movement in less time than this says nothing about velocity: no camera is that quick."""


@dataclass(slots=True, eq=False)
class _Known:
    """The tracks alive, as arrays of one length, oldest first."""

    ids: NDArray[np.int64]
    boxes: Floats
    speeds: Floats  # (N, 2), pixels per second of the centre, across and down
    steps: NDArray[np.int64]  # how many movements each speed is made of
    seen_at: NDArray[np.float64]

    def where(self, chosen: NDArray[np.bool_]) -> _Known:
        return _Known(
            self.ids[chosen],
            self.boxes[chosen],
            self.speeds[chosen],
            self.steps[chosen],
            self.seen_at[chosen],
        )


class IouTracker:
    """A :class:`streamer.protocols.Tracker`: overlap with a box moved at constant velocity.

    Each track's last box is moved by its velocity to the instant of the new faces; pairs that
    overlap by at least ``min_iou`` (0..1) are joined, the best overlap first. A face that finds
    no track starts one; a track that finds no face for more than ``max_lost_s`` seconds ends.
    Ids are int64 from 1, one camera's tracker never gives one twice, and
    ``update`` answers in the order of the faces. For one thread at a time.

    Raises ``ValueError`` when ``max_lost_s`` is negative or ``min_iou`` is not in 0..1.
    """

    def __init__(self, *, max_lost_s: float = 1.0, min_iou: float = 0.3) -> None:
        """Know nobody yet."""
        if max_lost_s < 0:
            raise ValueError(f"max_lost_s must not be negative, not {max_lost_s}")
        if not 0 <= min_iou <= 1:
            raise ValueError(f"min_iou must be in 0..1, not {min_iou}")
        self._max_lost_s = max_lost_s
        self._min_iou = min_iou
        self._next_id = 1
        self._known = _Known(
            np.zeros(0, np.int64),
            np.zeros((0, 4), np.float32),
            np.zeros((0, 2), np.float32),
            np.zeros(0, np.int64),
            np.zeros(0, np.float64),
        )

    def update(self, faces: Faces, at: float) -> Tracks:
        """Match ``faces`` seen at the instant ``at`` (seconds) to those seen before.

        Instants that do not move forward are allowed; they teach nothing about velocity.
        """
        known = self._known
        if len(known.ids):
            known = known.where(at - known.seen_at <= self._max_lost_s)
        old, new = self._pairs(known, faces, at)
        ids = np.zeros(len(faces), np.int64)
        ids[new] = known.ids[old]
        self._move(known, old, faces.boxes[new], at)
        fresh = np.flatnonzero(ids == 0)
        ids[fresh] = np.arange(self._next_id, self._next_id + len(fresh))
        self._next_id += len(fresh)
        if len(fresh):
            known = _Known(
                np.concatenate([known.ids, ids[fresh]]),
                np.concatenate([known.boxes, faces.boxes[fresh]]),
                np.concatenate([known.speeds, np.zeros((len(fresh), 2), np.float32)]),
                np.concatenate([known.steps, np.zeros(len(fresh), np.int64)]),
                np.concatenate([known.seen_at, np.full(len(fresh), at)]),
            )
        self._known = known
        return Tracks(ids, faces)

    def _pairs(self, known: _Known, faces: Faces, at: float) -> tuple[list[int], list[int]]:
        """Positions of tracks and of the faces they are joined to."""
        if not len(known.ids) or not len(faces):
            return [], []
        ahead_s = np.maximum(at - known.seen_at, 0).astype(np.float32)
        moved = known.boxes + np.tile(known.speeds * ahead_s[:, None], 2)
        overlap = iou(moved, faces.boxes)
        rows, columns = np.nonzero((overlap >= self._min_iou) & (overlap > 0))
        best_first = np.argsort(-overlap[rows, columns], kind="stable")
        old: dict[int, int] = {}
        taken: set[int] = set()
        candidates = zip(rows[best_first].tolist(), columns[best_first].tolist(), strict=True)
        for row, column in candidates:
            if row not in old and column not in taken:
                old[row] = column
                taken.add(column)
        return list(old.keys()), list(old.values())

    def _move(self, known: _Known, old: list[int], boxes: Floats, at: float) -> None:
        """Put the tracks at positions ``old`` where their faces are now, and learn their speed."""
        if not old:
            return
        passed_s = at - known.seen_at[old]
        onward = passed_s > _LEAST_STEP_S
        shift = (boxes - known.boxes[old]).reshape(-1, 2, 2).mean(axis=1)
        speed = shift / np.where(onward, passed_s, 1).astype(np.float32)[:, None]
        # The first movement is all there is to know; later ones are averaged in.
        weight = np.where(known.steps[old] == 0, 1, _NEWEST_WEIGHT) * onward
        known.speeds[old] += (weight[:, None] * (speed - known.speeds[old])).astype(np.float32)
        known.steps[old] += onward
        known.boxes[old] = boxes
        known.seen_at[old] = np.maximum(known.seen_at[old], at)
