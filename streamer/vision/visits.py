"""What is told of the faces of one camera: who appeared, how good the best picture is, who left.

Pure: it is given what was found, and instants. One thread at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from streamer.changes import Quality, TrackChange
from streamer.types import Frame, Tracks
from streamer.vision.patience import Patience
from streamer.vision.quality import face_sharpness, frontality, score, size_px, worth

SURE_SCORE: Final = 0.75
"""A face appears when it is found a second time, or at once with this score: what is found once
and faintly may be none."""

LATE_S: Final = 0.5
"""Seconds more that are waited where nobody looks: a frame may be on its way to its lane."""

BEST_EVERY_S: Final = 1.0
"""A better picture of one face is told at most so often, seconds."""

BETTER: Final = 1.2
"""A picture is told when its score is so many times that of the one told last."""

JUDGE_S: Final = 0.1
JUDGE_AGAIN_S: Final = 0.3
"""How often the sharpness of one face is measured at most, seconds, where it is larger or turned
more to the camera than in its best picture by a twentieth, and where it is not: 45 to 120 us."""

MOST: Final = 1024
"""Faces known at a time; beyond that those not seen for longest leave."""


@dataclass(frozen=True, slots=True)
class _Sighting:
    """One face of one frame, of the instant ``at``: row ``row`` of ``tracks``."""

    at: float
    frame: Frame
    tracks: Tracks
    row: int


@dataclass(slots=True)
class _Visit:
    """What is known of one track. ``told_score`` is of the best picture told, at ``told_at``."""

    first_at: float
    last: _Sighting
    best: _Sighting
    quality: Quality
    judged_at: float
    best_worth: float
    sightings: int = 0
    appeared: bool = False
    told_at: float = 0.0
    told_score: float = 0.0


class Visits:
    """Follows the tracks of one camera and says what is new about them.

    Each track appears, once sure, and leaves; in between its best picture is told whenever it is
    clearly better, at most once a second, and once more when it leaves. A track that is found
    again after it left appears again; a tracker of the same patience gives it another id instead.
    """

    def __init__(self, patience: Patience | None = None) -> None:
        """Know nobody; a face leaves that was not found for as long as ``patience`` says."""
        self._patience = patience if patience is not None else Patience()
        self._visits: dict[int, _Visit] = {}  # those seen last come last
        self._view: tuple[int, int, int] | None = None
        self._looked_at = 0.0
        self._over = False

    def __len__(self) -> int:
        """How many faces are known, those included of which nothing was told yet."""
        return len(self._visits)

    def see(self, frame: Frame, tracks: Tracks, at: float) -> list[TrackChange]:
        """What is new when ``tracks`` were found in ``frame``, whose picture is still there.

        ``at`` is the instant of the frame: of its capture, or of a file on its own time, seconds.
        ``tracks`` are only those that were found, none that is predicted. Where the camera was
        dialled again or has another resolution, all that were there before have left.
        """
        if self._over:
            return []
        picture = frame.picture
        view = frame.epoch, picture.width, picture.height
        told = [] if view == self._view else self.end()
        self._view, self._looked_at = view, at
        if len(tracks):
            bare, faces = frame.without_picture(), tracks.faces
            sizes, frontalities = size_px(faces.boxes), frontality(faces.landmarks)
            worths = worth(sizes, frontalities).tolist()
            for row, number in enumerate(tracks.ids.tolist()):
                sighting = _Sighting(at, bare, tracks, row)
                visit = self._visits.pop(number, None)
                if visit is None or _worth_judging(visit, worths[row], at):
                    sharpness = face_sharpness(picture, tuple(faces.boxes[row].tolist()))
                    quality = Quality(
                        float(sizes[row]), sharpness, float(frontalities[row]),
                        score(worths[row], sharpness),
                    )  # fmt: skip
                    if visit is None:
                        visit = _Visit(at, sighting, sighting, quality, at, worths[row])
                    visit.judged_at = at
                    if quality.score > visit.quality.score:
                        visit.best, visit.quality = sighting, quality
                        visit.best_worth = worths[row]
                visit.last = sighting
                visit.sightings += 1
                self._visits[number] = visit
                if not visit.appeared and (visit.sightings > 1 or faces.scores[row] >= SURE_SCORE):
                    visit.appeared = True
                    visit.told_at, visit.told_score = at, visit.quality.score
                    told.append(_change("appeared", visit, sighting))
        for visit in self._visits.values():
            if at - visit.told_at >= BEST_EVERY_S:
                told += _best(visit, at)
        return told + self._leave(at - self._patience.lost_s, len(self._visits) - MOST)

    def leave(self, now: float, *, oldest_at: float | None = None) -> list[TrackChange]:
        """Who has left by the instant ``now`` (seconds), though no frame was looked at since.

        ``oldest_at`` is the instant of the oldest frame that is still to be looked at, if any: who
        may be in it has not left, however old it is.
        """
        by_at = now - LATE_S if oldest_at is None else min(now - LATE_S, oldest_at)
        return self._leave(by_at - self._patience.lost_s, 0)

    def end(self, *, for_ever: bool = False) -> list[TrackChange]:
        """All have left: their camera was lost or stopped, and ``for_ever`` nobody comes again."""
        self._over |= for_ever
        return self._leave(float("inf"), 0)

    def _leave(self, before_at: float, most: int) -> list[TrackChange]:
        """Let go of those seen last before an instant, and of ``most`` more at least."""
        told: list[TrackChange] = []
        for number in list(self._visits):
            visit = self._visits[number]
            if visit.last.at >= before_at and most <= 0:
                break
            del self._visits[number]
            most -= 1
            if visit.appeared:
                missed = self._looked_at > visit.last.at
                told += _best(visit, self._looked_at)
                told.append(
                    _change("left", visit, visit.last, reason="unseen" if missed else "camera")
                )
        return told


def _worth_judging(visit: _Visit, worth: float, at: float) -> bool:
    """Whether to measure how sharp a picture worth so much is: it may be the best, and it is time.

    A face cannot be better than it is worth, however sharp it is.
    """
    wait_s = JUDGE_S if worth > 1.05 * visit.best_worth else JUDGE_AGAIN_S
    return worth > visit.quality.score and at - visit.judged_at >= wait_s


def _best(visit: _Visit, at: float) -> list[TrackChange]:
    """Tell of the best picture of a visit, where it is clearly better than the one told last."""
    if not visit.appeared or visit.quality.score < BETTER * visit.told_score:
        return []
    if visit.quality.score <= visit.told_score:  # both are 0
        return []
    visit.told_at, visit.told_score = at, visit.quality.score
    return [_change("best", visit, visit.best)]


def _change(
    kind: Literal["appeared", "best", "left"],
    visit: _Visit,
    sighting: _Sighting,
    *,
    reason: Literal["", "unseen", "camera"] = "",
) -> TrackChange:
    frame, row, faces = sighting.frame, sighting.row, sighting.tracks.faces
    x1, y1, x2, y2 = faces.boxes[row].tolist()
    return TrackChange(
        kind=kind,
        camera=frame.camera,
        id=int(sighting.tracks.ids[row]),
        epoch=frame.epoch,
        frame=frame.index,
        at=frame.captured_at,
        wall_at=frame.wall_at,
        width=frame.picture.width,
        height=frame.picture.height,
        box=(x1, y1, x2, y2),
        landmarks=tuple((x, y) for x, y in faces.landmarks[row].tolist()),
        confidence=float(faces.scores[row]),
        quality=visit.quality,
        best_frame=visit.best.frame.index,
        seen_s=max(0.0, sighting.at - visit.first_at),
        reason=reason,
    )
