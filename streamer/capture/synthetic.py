"""Cameras that need no camera: a test pattern that counts, and the demo clip for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from streamer.capture.pyav import PyAvSource
from streamer.capture.urls import DemoOptions, SyntheticOptions
from streamer.errors import SourceLost
from streamer.types import Frame, Image, SourceUrl
from streamer.vision.picture import ArrayPicture

NUMBER_BITS: Final = 32
"""The number of a synthetic picture stands in its top row as so many blocks, highest bit first."""


class Pace:
    """An absolute schedule: no drift while on time, no burst after being late."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin now, by ``clock``."""
        self._clock = clock
        self._start_at = clock()

    def wait(self, due_s: float, slack_s: float, stop: threading.Event) -> bool:
        """Wait until ``due_s`` seconds after the start; False when ``stop`` was set instead.

        When that instant is more than ``slack_s`` ago, the whole schedule moves so that it is now.
        """
        early_s = self._start_at + due_s - self._clock()
        if early_s < -slack_s:
            self._start_at -= early_s
        return not (stop.wait(early_s) if early_s > 0 else stop.is_set())


class SyntheticSource:
    """A moving ramp whose pictures carry their number; see :func:`read_number`. No faces."""

    def __init__(
        self,
        *,
        camera: str,
        options: SyntheticOptions,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``options`` say size, rate, length and whether it acts as a camera or as a file."""
        self.live = options.live
        self._options = options
        self.camera = camera
        self._clock = clock
        self._wall_clock = wall_clock
        ramp = np.arange(options.width + 256, dtype=np.uint32) * 2
        colours = np.stack([ramp, ramp // 2 + 64, 255 - ramp // 3], axis=1)
        self._ramp = (colours & 0xFF).astype(np.uint8)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Frames from index 0: live at their rate, else as fast as they are taken.

        After ``frames`` of them a file ends and a live source raises
        :class:`streamer.errors.SourceLost` with the reason ``eof``.
        """
        step_s = 1.0 / self._options.fps
        pace = Pace(self._clock)
        index = 0
        while self._options.frames is None or index < self._options.frames:
            image = self._draw(index)
            if stop.is_set() or (self.live and not pace.wait(index * step_s, step_s, stop)):
                return
            yield Frame(
                self.camera,
                0,
                index,
                self._clock(),
                self._wall_clock(),
                index * step_s,
                ArrayPicture(image),
            )
            index += 1
        if self.live:
            raise SourceLost("eof", "the synthetic camera reached its last frame; raise frames=")

    def _draw(self, index: int) -> Image:
        width, height = self._options.width, self._options.height
        shift = index * 4 % 256
        image = np.broadcast_to(self._ramp[None, shift : shift + width], (height, width, 3)).copy()
        bits = (index >> np.arange(NUMBER_BITS - 1, -1, -1)) & 1
        columns = np.arange(width) * NUMBER_BITS // width
        image[: width // NUMBER_BITS] = (bits[columns] * 255)[None, :, None]
        return image


def read_number(image: Image) -> int:
    """The number a synthetic picture carries, also after scaling down to 320 pixels or so."""
    block = image.shape[1] / NUMBER_BITS
    middles = ((np.arange(NUMBER_BITS) + 0.5) * block).astype(int)
    row = image[max(0, int(block / 2) - 1), middles].mean(axis=1)
    return int("".join("1" if value > 127 else "0" for value in row), 2)


CLIP_FPS: Final = 25.0
"""Frames a second of the demo clip (scripts/make_demo_clip.py)."""

_AS_IT_IS: Final = DemoOptions()


class DemoSource:
    """The demo clip as a camera: looped for ever at its own pace, or at another rate.

    ``index`` counts every picture and goes on over the seam, so that ``index`` modulo the clip's
    length is the clip's picture; so does ``pts``.
    """

    live = True

    def __init__(
        self,
        *,
        camera: str,
        clip: Path,
        options: DemoOptions = _AS_IT_IS,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """The delay of ``options`` is to set several cameras out of phase."""
        self.camera = camera
        self._delay_s = options.delay_s
        self._stretch = CLIP_FPS / options.fps
        self._clock = clock
        self._wall_clock = wall_clock
        self._clip = PyAvSource(SourceUrl(f"file:{clip}"), camera=camera, live=False, clock=clock)

    @property
    def decode_errors(self) -> int:
        """Packets of the clip that gave no picture."""
        return self._clip.decode_errors

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Frames until ``stop``. Raises SourceLost when the clip cannot be read."""
        if stop.wait(self._delay_s):
            return
        pace = Pace(self._clock)
        index = 0
        loop_s = 0.0  # where this round begins on the stream's own time
        while not stop.is_set():
            first, pts, step_s = index, 0.0, self._stretch / CLIP_FPS
            clip = self._clip.frames(stop)
            # As of a camera, whose packets come when they are due: nothing is decoded ahead,
            # where it would take processor time from the picture before.
            while pace.wait(loop_s + pts + (step_s if index > first else 0.0), step_s, stop):
                frame = next(clip, None)
                if frame is None:
                    break
                before = pts
                pts = before + step_s if frame.pts is None else frame.pts * self._stretch
                if frame.index and pts > before:
                    step_s = pts - before
                if not pace.wait(loop_s + pts, step_s, stop):
                    return
                yield Frame(
                    self.camera,
                    0,
                    index,
                    self._clock(),
                    self._wall_clock(),
                    loop_s + pts,
                    frame.picture,
                )
                index += 1
                del frame  # do not hold a picture while waiting for the next
            if index == first and not stop.is_set():
                raise SourceLost("no_frames", "the demo clip holds no pictures; reinstall streamer")
            loop_s += pts + step_s
