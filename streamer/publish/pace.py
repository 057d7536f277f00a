"""Which results a bridge passes on: people's brokers do not want 25 messages a second."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal, TypeAlias

from streamer.publish import selection
from streamer.types import Outcome

When: TypeAlias = selection.When | Literal["never"]
"""As :data:`streamer.publish.selection.When`, or none at all."""


class Pace:
    """Chooses outcomes by ``when``, at most ``max_per_s`` a second of each camera.

    A change that comes too soon after the last is not lost: what is different is still different
    in the next result, and is told then.
    """

    def __init__(self, when: When, max_per_s: float) -> None:
        """Nothing was told yet."""
        self._selection = None if when == "never" else selection.Selection(when)
        self._pause_s = 1.0 / max_per_s
        self._told_at: dict[str, float] = {}

    def wants(self, outcome: Outcome, now: float) -> bool:
        """Whether to pass ``outcome`` on at the instant ``now``, seconds; if so, it was told."""
        camera = outcome.frame.camera
        if self._selection is None or now - self._told_at.get(camera, -math.inf) < self._pause_s:
            return False
        if not self._selection.wants(outcome):
            return False
        self._told_at[camera] = now
        return True

    def keep(self, cameras: Collection[str]) -> None:
        """Forget all cameras but these."""
        for camera in self._told_at.keys() - set(cameras):
            del self._told_at[camera]
        if self._selection is not None:
            self._selection.keep(cameras)
