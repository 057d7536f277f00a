"""What can be told of a camera's health from its frames alone. Pure: no clock is asked here."""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from streamer.types import Picture

LOOK_EVERY_S: Final = 1.0
"""How often a picture that moves is compared with an earlier one, seconds."""

SAMPLED_ROWS: Final = 8
"""One row in so many is compared: the digits of a clock in the picture are higher than that."""

ENCODER_NOISE: Final = 3
"""Steps of brightness by which an encoder that is given one picture again and again lets it vary
(2 measured with x264, at key pictures); the noise of a sensor is above it somewhere."""

LEAP_S: Final = 5.0
"""A stream's own time that runs ahead of ours by more than this between two pictures leapt."""


@runtime_checkable
class Sampled(Protocol):
    """A picture that can show a few of its rows without being converted."""

    def sample(self) -> NDArray[np.uint8]:
        """A copy of every :data:`SAMPLED_ROWS`-th row of brightness, as it was decoded."""


def sample(picture: Picture) -> NDArray[np.uint8] | None:
    """Rows of ``picture`` as it was captured; None where it would have to be converted first."""
    # Here, since the process of an isolated camera loads this module and never gets here.
    from streamer.vision.picture import ArrayPicture

    if isinstance(picture, ArrayPicture):
        return picture.pixels[::SAMPLED_ROWS].copy()
    return picture.sample() if isinstance(picture, Sampled) else None


class Stillness:
    """Notices pictures that stay the same, but for :data:`ENCODER_NOISE`: a sensor's never do.

    A moving picture is looked at once in :data:`LOOK_EVERY_S`; one that was the same for half of
    ``frozen_s`` at every frame, so that no rhythm of the scene can pass for a standstill.
    """

    def __init__(self, frozen_s: float) -> None:
        """Frozen is the same picture for ``frozen_s`` seconds, above 0."""
        self._frozen_s = frozen_s
        self._rows: NDArray[np.uint8] | None = None
        self._since_at = 0.0
        self._look_at = 0.0
        self.frozen = False

    def begin(self) -> None:
        """Forget what was seen: another life begins."""
        self._rows = None
        self.frozen = False

    def see(self, picture: Picture, now: float) -> bool:
        """Take in the picture of the instant ``now``; True when ``frozen`` changed."""
        if self._rows is not None and now < self._look_at:
            return False
        rows = sample(picture)
        if rows is None:
            return False
        before = self.frozen
        if self._rows is None or not _alike(rows, self._rows):
            self._rows = rows
            self._since_at = now
            self.frozen = False
        elif now - self._since_at >= self._frozen_s:
            self.frozen = True
        suspect = now - self._since_at >= self._frozen_s / 2
        self._look_at = now if suspect else now + min(LOOK_EVERY_S, self._frozen_s / 2)
        return self.frozen is not before


def _alike(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    """Whether no two brightnesses at the same place are further apart than the encoder's noise."""
    return a.shape == b.shape and int((np.maximum(a, b) - np.minimum(a, b)).max()) <= ENCODER_NOISE


class Flood:
    """Notices a source that gives more pictures in a second than any camera does."""

    def __init__(self, most_a_second: float) -> None:
        """More than ``most_a_second`` pictures within a second are a flood."""
        self._most = most_a_second
        self._count = 0.0
        self._since_at = -1.0

    def begin(self, now: float) -> None:
        """Count from ``now`` on: another life begins."""
        self._count = 0
        self._since_at = now

    def see(self, now: float, count: float = 1) -> bool:
        """Count a picture, or more, at the instant ``now``; True when there are too many."""
        if now - self._since_at >= 1.0:
            self.begin(now)
        self._count += count
        return self._count > self._most


class StreamTime:
    """Counts where the stream's own time stood still, went back or leapt.

    Nothing decides by that time; the count tells a person what a camera is like.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._last: tuple[float, float] | None = None
        self.jumps = 0

    def begin(self) -> None:
        """Another life begins, and with it another time; that is no jump."""
        self._last = None

    def see(self, pts: float | None, now: float) -> None:
        """Take in the stream's time of a picture, seconds or None, seen at the instant ``now``."""
        if pts is None:
            return
        if self._last is not None:
            step_s = pts - self._last[0]
            if step_s <= 0 or step_s - (now - self._last[1]) > LEAP_S:
                self.jumps += 1
        self._last = (pts, now)
