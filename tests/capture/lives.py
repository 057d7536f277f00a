"""Reads a source for a while."""

from __future__ import annotations

import threading

from streamer.capture.pyav import PyAvSource
from streamer.types import Frame


def life(source: PyAvSource, count: int) -> list[Frame]:
    """Its first ``count`` frames."""
    stop, frames = threading.Event(), []
    for frame in source.frames(stop):
        frames.append(frame)
        if len(frames) == count:
            stop.set()
    return frames
