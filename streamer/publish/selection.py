"""Which outcomes are published: all of them, those with faces, or those that say something new."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, TypeAlias

from streamer.types import Outcome

When: TypeAlias = Literal["all", "faces", "changes"]
"""``all``: every outcome. ``faces``: those with faces, and the first without after them, so that
one hears when they are gone. ``changes``: those whose faces are others (by id) than the last
time. With either the first of each epoch of a camera is told as well. A frame that could not be
looked at is told with either, once while it lasts: silence never means a failure."""


class Selection:
    """Chooses outcomes, camera by camera; the first of each epoch of a camera is always wanted."""

    def __init__(self, when: When) -> None:
        """Nothing was chosen yet."""
        self._when = when
        self._last: dict[str, tuple[int, frozenset[int] | None]] = {}

    def wants(self, outcome: Outcome) -> bool:
        """Whether to publish ``outcome``; to be asked of each, in order."""
        if self._when == "all":
            return True
        camera = outcome.frame.camera
        seen = None if outcome.status == "failed" else frozenset(outcome.tracks.ids.tolist())
        said = outcome.frame.epoch, seen
        news = self._last.get(camera) != said
        self._last[camera] = said
        return news or (self._when == "faces" and bool(seen))

    def forget(self, camera: str) -> None:
        """The next outcome of ``camera`` is wanted, whatever it says."""
        self._last.pop(camera, None)

    def keep(self, cameras: Collection[str]) -> None:
        """Forget all cameras but these."""
        for camera in self._last.keys() - set(cameras):
            del self._last[camera]
