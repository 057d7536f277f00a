"""Gives faces an identity over time, and says where they are when nobody looked.

Detections come at any rate and unevenly, so everything is reckoned in seconds and face sizes, not
in frames and overlaps: at five detections a second a walker's boxes no longer overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamer.types import Faces, Floats, Tracks
from streamer.vision.association import GATE, WEAK_GATE, assign, gains
from streamer.vision.kalman import Array, Motion, box_speeds, measured, pictured
from streamer.vision.patience import Patience

# Chosen with benchmarks/tracking.py, on its clips and on other seeds than it reports.
_SURE_SCORE: Final = 0.75
"""A face seen once is predicted only from this score on; one seen twice always is."""

_CALM_RATE: Final = 0.3
_TYPICAL_OFF: Final = 0.5
_MOST_UNREST: Final = 100.0
"""How the unrest of the camera (shaking, or a detector that jitters) is learned: the variance
is multiplied, at each look, by how far the median face is off as a share of the typical, to the
power of the rate. Half of the expected is typical: less than the median of a normal
distribution (0.69), because faces that are far off are not matched and so not counted."""

MOST_TRACKS: Final = 512
"""Tracks alive at once; beyond that those not seen for longest end."""


@dataclass(slots=True, eq=False)
class _Known:
    """The tracks alive, as arrays of one length, oldest first."""

    motion: Motion
    ids: NDArray[np.int64]
    seen: NDArray[np.int64]  # how often it was detected
    missed: NDArray[np.int64]  # looks in a row that did not find it
    scores: Floats  # of the last detection
    last_at: Array

    @staticmethod
    def of(ids: NDArray[np.int64], numbers: Array, scores: Floats, at: float) -> _Known:
        seen = np.ones(len(ids), np.int64)
        return _Known(Motion.of(numbers), ids, seen, seen - 1, scores, np.full(len(ids), at))

    def copy(self) -> _Known:
        """The same tracks, to be changed by themselves; ids never change."""
        return _Known(
            self.motion.copy(), self.ids, self.seen.copy(), self.missed.copy(), self.scores.copy(),
            self.last_at.copy(),
        )  # fmt: skip

    def where(self, chosen: NDArray[np.bool_]) -> _Known:
        """A copy of those ``chosen`` (N,)."""
        return _Known(
            self.motion.where(chosen), self.ids[chosen], self.seen[chosen], self.missed[chosen],
            self.scores[chosen], self.last_at[chosen],
        )  # fmt: skip

    def and_also(self, more: _Known) -> _Known:
        return _Known(
            self.motion.and_also(more.motion),
            np.concatenate([self.ids, more.ids]),
            np.concatenate([self.seen, more.seen]),
            np.concatenate([self.missed, more.missed]),
            np.concatenate([self.scores, more.scores]),
            np.concatenate([self.last_at, more.last_at]),
        )


def _nobody() -> _Known:
    return _Known.of(np.zeros(0, np.int64), np.zeros((0, 14)), np.zeros(0, np.float32), 0.0)


class FaceTracker:
    """A :class:`streamer.protocols.Tracker` that also says where faces are between detections.

    Each track's motion is filtered (:mod:`streamer.vision.kalman`), and detections are given to
    tracks so that all together are likeliest (:mod:`streamer.vision.association`): first those
    with a score of at least ``confident`` (0..1), then, to tracks still without one, the weaker
    ones (the idea of ByteTrack, Zhang et al., 2022). A weak face never starts a track. A track
    ends when no face was given to it for ``max_lost_s`` seconds, and is predicted for at most
    ``max_predict_s`` seconds after its last detection.

    Ids are int64 from 1 and one camera's tracker never gives one twice, not after :meth:`reset`
    either. :meth:`update` and :meth:`reset` are for one thread at a time; the others may be
    called from any thread meanwhile, and see the state before or after.

    Raises ``ValueError`` when a time is negative or ``confident`` is not in 0..1.
    """

    def __init__(
        self,
        *,
        confident: float = 0.0,
        max_lost_s: float = 2.0,
        max_predict_s: float = 0.5,
        ids: Iterator[int] | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Know nobody yet. ``ids`` are given to tracks in turn; 1, 2, 3 and so on without.

        ``patience``, where given, says in the place of ``max_lost_s`` when a track ends.
        """
        if not 0 <= confident <= 1:
            raise ValueError(f"confident must be in 0..1, not {confident}")
        for name, value in (("max_lost_s", max_lost_s), ("max_predict_s", max_predict_s)):
            if not value >= 0:
                raise ValueError(f"{name} must be 0 or more, not {value}")
        self._confident = confident
        self._max_lost_s = max_lost_s
        self._patience = patience
        self._max_predict_s = max_predict_s
        self._ids = ids if ids is not None else count(1)
        self._unrest = 1.0
        # One attribute, replaced as a whole and never changed: who reads it needs no lock.
        self._state: tuple[float, _Known] = (-np.inf, _nobody())

    def update(self, faces: Faces, at: float) -> Tracks:
        """Match ``faces`` seen at the instant ``at`` (seconds) to those seen before.

        Answers with the faces that have a track, in the order given: all but weak ones that
        continue none. Instants that do not move forward are taken for the latest one.
        """
        before_at, before = self._state
        known = self._still_alive(before, at)
        known.motion.advance(at - before_at)
        at = max(at, before_at)
        numbers = measured(faces)
        strong = faces.scores >= self._confident
        rows, columns = self._pairs(known, numbers, strong)
        known.missed += 1
        self._correct(known, rows, columns, numbers, faces.scores, at)
        where = np.full(len(faces), -1)  # which track each face has
        where[columns] = rows
        if len(rows) < len(faces):
            fresh = np.flatnonzero(strong & (where < 0))
            if len(fresh):
                where[fresh] = np.arange(len(known.ids), len(known.ids) + len(fresh))
                ids = np.array(list(islice(self._ids, len(fresh))), np.int64)
                new = _Known.of(ids, numbers[fresh], faces.scores[fresh], at)
                known = known.and_also(new)
            tracked = where >= 0
            if not tracked.all():
                where = where[tracked]
                faces = Faces(faces.boxes[tracked], faces.scores[tracked], faces.landmarks[tracked])
        self._state = at, known
        return Tracks(
            known.ids[where], faces, speeds=box_speeds(known.motion.speed.take(where, axis=0))
        )

    def predict(
        self, at: float, *, within: tuple[int, int] | None = None, missed: bool = False
    ) -> Tracks:
        """Every track moved to the instant ``at`` (seconds), the surest first.

        Only tracks last detected at most ``max_predict_s`` ago, and sure enough to be faces:
        detected twice, or once with a high score; one that the last look did not find is left
        out unless it was detected three times, and one that the last two looks did not find
        always. Scores fall with age, to half at ``max_predict_s``. Instants before the last
        update are taken for it. With ``within`` (width, height of the picture, pixels) boxes are
        cut to the picture, and faces with their middle outside it are left out. With ``missed``
        only those that the last look did not find; it is quick where there are none.
        """
        known_at, known = self._state
        if missed and not known.missed.any():
            return Tracks.none()
        ages = np.maximum(at - known.last_at, 0.0)
        sure = (known.seen > 1) | (known.scores >= _SURE_SCORE)
        found = known.missed <= (known.seen > 2)
        wanted = (ages <= self._max_predict_s) & sure & found
        if missed:
            wanted &= known.missed > 0
        chosen = np.flatnonzero(wanted)
        weights = 1 - 0.5 * ages[chosen] / max(self._max_predict_s, 1e-9)
        scores = known.scores[chosen] * weights
        order = np.argsort(-scores, kind="stable")
        chosen, scores = chosen[order], scores[order]
        numbers = known.motion.after(max(at - known_at, 0.0) if len(known.ids) else 0.0, chosen)
        if within is not None:
            width, height = within
            x, y = numbers[:, 0], numbers[:, 1]
            inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
            if not inside.all():
                chosen, scores, numbers = chosen[inside], scores[inside], numbers[inside]
        boxes, landmarks = pictured(numbers)
        if within is not None:
            np.maximum(boxes, 0, out=boxes)
            np.minimum(boxes, np.array([*within, *within], np.float32), out=boxes)
        predicted = Faces(boxes, scores.astype(np.float32), landmarks)
        speeds = box_speeds(known.motion.speed.take(chosen, axis=0), at - known_at)
        return Tracks(known.ids[chosen], predicted, ages[chosen].astype(np.float32), speeds)

    def everybody(self, at: float) -> Tracks:
        """Every track that has not ended moved to the instant ``at`` (s), sure or not.

        In no order; scores are those of the last detection.
        """
        known_at, known = self._state
        passed_s = max(at - known_at, 0.0) if len(known.ids) else 0.0
        boxes, landmarks = pictured(known.motion.after(passed_s, known.ids > 0))
        ages = np.maximum(at - known.last_at, 0.0).astype(np.float32)
        return Tracks(known.ids, Faces(boxes, known.scores, landmarks), ages)

    def reset(self) -> None:
        """End all tracks, as when the camera was dialled again. Ids go on from where they were."""
        self._state = (-np.inf, _nobody())
        self._unrest = 1.0

    def alive(self) -> list[int]:
        """The ids of the tracks that have not ended, oldest first."""
        ids: list[int] = self._state[1].ids.tolist()
        return ids

    def _still_alive(self, known: _Known, at: float) -> _Known:
        """A copy of the tracks that go on."""
        lost_s = self._max_lost_s if self._patience is None else self._patience.lost_s
        alive = at - known.last_at <= lost_s
        if len(alive) > MOST_TRACKS:
            alive[np.argsort(-known.last_at, kind="stable")[MOST_TRACKS:]] = False
        return known.copy() if alive.all() else known.where(alive)

    def _pairs(
        self, known: _Known, numbers: Array, strong: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Positions of tracks and of the faces they get, strong faces first."""
        if not len(known.ids) or not len(numbers):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        gates = np.where(strong, GATE, WEAK_GATE)
        pairs = gains(known.motion, known.missed, numbers, self._unrest, gates)
        is_strong = strong[pairs.columns]
        if is_strong.all():
            return assign(pairs)
        rows, columns = assign(pairs.where(is_strong))
        free = known.seen > 1  # a weak face alone is no witness that another was one
        free[rows] = False
        more_rows, more_columns = assign(pairs.where(~is_strong & free[pairs.rows]))
        return np.concatenate([rows, more_rows]), np.concatenate([columns, more_columns])

    def _correct(
        self,
        known: _Known,
        rows: NDArray[np.intp],
        columns: NDArray[np.intp],
        numbers: Array,
        scores: Floats,
        at: float,
    ) -> None:
        """Tell the tracks at ``rows`` what was seen of them, and learn how unruly the camera is."""
        if not len(rows):
            return
        off = known.motion.correct(rows, numbers.take(columns, axis=0), self._unrest)
        seen = known.seen[rows]
        far = sorted(off[seen > 2].tolist())
        if far:
            change = min(max(far[len(far) // 2] / _TYPICAL_OFF, 0.2), 20.0) ** _CALM_RATE
            self._unrest = min(max(self._unrest * change, 1.0), _MOST_UNREST)
        known.seen[rows] = seen + 1
        known.missed[rows] = 0
        known.scores[rows] = scores[columns]
        known.last_at[rows] = at


def joined(seen: Tracks, predicted: Tracks) -> Tracks:
    """``seen``, and those of ``predicted`` that it does not have, best first.

    For a frame that was looked at: it fills in faces that the detector missed just now.
    """
    if not len(predicted):
        return seen
    more = (predicted.ids[:, None] != seen.ids).all(axis=1)  # np.isin takes 50 us for three
    if not more.any():
        return seen
    one, other = seen.faces, predicted.faces
    scores = np.concatenate([one.scores, other.scores[more]])
    order = np.argsort(-scores, kind="stable")
    faces = Faces(
        np.concatenate([one.boxes, other.boxes[more]])[order],
        scores[order],
        np.concatenate([one.landmarks, other.landmarks[more]])[order],
    )
    ids = np.concatenate([seen.ids, predicted.ids[more]])[order]
    ages_s = np.concatenate([seen.ages_s, predicted.ages_s[more]])
    speeds = np.concatenate([seen.speeds, predicted.speeds[more]])
    return Tracks(ids, faces, ages_s[order], speeds[order])


def held(found: Tracks, passed_s: float) -> Tracks:
    """``found`` as it is ``passed_s`` seconds later in a scene that stood still: where it was."""
    return Tracks(found.ids, found.faces, found.ages_s + np.float32(max(passed_s, 1e-3)))
