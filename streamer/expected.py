"""Where faces are by now: a result is some tens of milliseconds old when it is published."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec.structs import replace

from streamer.events import FacesEvent
from streamer.types import Outcome

AHEAD_S: Final = 0.5
"""For so long a face is taken to move on, seconds."""


def with_expected(event: FacesEvent, outcome: Outcome, now_at: float) -> FacesEvent:
    """``event``, which tells ``outcome``, with where each face is expected at ``now_at``.

    ``now_at`` is the instant of publishing, seconds of the clock that stamped the frame. Boxes
    move on as their tracks do, for half a second at most, and are cut to the picture.
    """
    if outcome.status == "failed" or not event.faces:
        return event
    frame, tracks = outcome.frame, outcome.tracks
    ahead_s = min(max(0.0, now_at - frame.captured_at), AHEAD_S)
    boxes = tracks.faces.boxes.astype(np.float64) + tracks.speeds * ahead_s
    sides = (frame.picture.width, frame.picture.height) * 2
    faces = tuple(
        replace(face, expected=(x1, y1, x2, y2))
        for face, (x1, y1, x2, y2) in zip(
            event.faces, np.clip(boxes, 0, sides).round(2).tolist(), strict=True
        )
    )
    return replace(event, faces=faces)
