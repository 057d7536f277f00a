"""What a camera's results would have said, from when its frames were looked at. Pure.

The faces found in every frame of a clip are known, and so is, from a simulation or a real run,
which frames were looked at and when that was published. The tracker is the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from streamer.inference.simulation import Look
from streamer.types import Faces, Tracks
from streamer.vision.streaming_score import Told
from streamer.vision.tracking import FaceTracker, joined


def retell(
    looks: Sequence[Look],
    found: Callable[[int], Faces],
    *,
    within: tuple[int, int],
    fill: bool = True,
) -> list[Told]:
    """Every result of one camera, as :mod:`streamer.stages` would have made it.

    ``found`` gives the faces that the detector finds in a frame by its number; ``within`` is the
    picture's width and height, pixels. Without ``fill`` nothing is predicted.
    """
    tracker = FaceTracker()
    told = []
    for frame, captured_at, published_at, detected in sorted(looks):
        if detected:
            tracks = tracker.update(found(frame), captured_at)
            if fill:
                tracks = joined(tracks, tracker.predict(captured_at, within=within))
        else:
            tracks = tracker.predict(captured_at, within=within)
        told.append(_told(published_at, captured_at, tracks))
    return told


def foretell(
    looks: Sequence[Look],
    found: Callable[[int], Faces],
    instants: Iterable[float],
    *,
    within: tuple[int, int],
) -> list[Told]:
    """What is to be expected at each instant (ascending), from all that was published by then.

    As if whoever listens moved the faces on to the instant at which he asks, by the tracker's
    own prediction.
    """
    tracker = FaceTracker()
    news = sorted((look for look in looks if look.detected), key=lambda look: look.published_at)
    position, newest_at, told = 0, float("-inf"), []
    for at in instants:
        while position < len(news) and news[position].published_at <= at:
            look = news[position]
            position += 1
            if look.captured_at > newest_at:  # one that comes after its successor is no news
                newest_at = look.captured_at
                tracker.update(found(look.frame), newest_at)
        told.append(_told(at, at, tracker.predict(at, within=within)))
    return told


def _told(published_at: float, captured_at: float, tracks: Tracks) -> Told:
    return Told(published_at, captured_at, tracks.faces.boxes, tracks.faces.scores)


def as_rows(faces: Faces) -> list[list[float]]:
    """Faces as plain numbers, for another process: box, score and five points, 15 in a row."""
    rows = zip(faces.boxes, faces.scores, faces.landmarks, strict=True)
    return [[*map(float, (*box, score, *points.flat))] for box, score, points in rows]


def from_rows(rows: Sequence[Sequence[float]]) -> Faces:
    """Faces from what :func:`as_rows` gave. Raises ``ValueError`` for other shapes."""
    table = np.asarray(rows, np.float32).reshape(-1, 15)
    boxes, scores, points = table[:, :4], table[:, 4], table[:, 5:].reshape(-1, 5, 2)
    return Faces(*(np.ascontiguousarray(part) for part in (boxes, scores, points)))
