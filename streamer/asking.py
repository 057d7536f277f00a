"""Pictures that somebody asks about, looked at beside the cameras and never before them.

They wait in a lane of their own of the same fan, so that the same fair order decides. One is
looked at at a time, alone, and the lane's weight says how little it gets while cameras wait.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

import numpy as np

from streamer.errors import DetectionFailed
from streamer.flow.fan import FanIn
from streamer.flow.meters import Durations, Rate
from streamer.flow.order import Terms
from streamer.protocols import Detector
from streamer.stages import CameraMeters, CameraWork, Job
from streamer.types import Faces, Frame, Image, Outcome, Picture, Tracks
from streamer.vision.picture import ArrayPicture, canvas

LANE: Final = "asked/"
"""No camera can have this name."""


class Asking:
    """Hands pictures to the workers and gives each outcome to whoever asked."""

    def __init__(
        self,
        lanes: FanIn[Job],
        detector: Callable[[], Detector],
        *,
        size: int,
        waiting: int,
        weight: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``detector`` looks at them, its input ``size`` pixels long; any thread may call it.

        At most ``waiting`` pictures wait: one more and the oldest is let go, its outcome never
        comes. ``weight`` is the share beside a camera's 1 while both have pictures waiting.
        """
        self._lane = lanes.add_lane(
            LANE, capacity=waiting, overflow="drop_oldest", terms=Terms(weight, None, alone=True)
        )
        self._detector = detector
        self._size = size
        self._clock = clock
        self._count = itertools.count()
        rate = Rate(clock)
        self._meters = CameraMeters(rate, rate, Durations())  # nobody reads them

    def warm_up(self) -> None:
        """Look at a black square, the shape that no camera has.

        A GPU takes seconds to choose how to run a new shape, and cameras would wait for it. Call
        it before they run.
        """
        square = ArrayPicture(np.zeros((self._size, self._size, 3), np.uint8))
        try:
            self._detector().detect([square])
        except DetectionFailed:
            pass  # whoever asks will be told

    def look(self, picture: Picture) -> Future[Outcome]:
        """Have ``picture`` looked at. The faces are in its own pixels.

        The outcome's stamps say how long it took. Raises :class:`streamer.flow.channel.Closed`
        when the program is ending.
        """
        reply = _Reply()
        work = CameraWork(self._detector(), _Untracked(), self._meters, self._size, False, reply)
        frame = Frame(LANE, 0, next(self._count), self._clock(), 0.0, None, _Framed(picture))
        self._lane.put(Job(frame, work))
        return reply.future


class _Reply:
    """The other end of a question."""

    def __init__(self) -> None:
        self.future: Future[Outcome] = Future()

    def put(self, outcome: Outcome, /) -> None:
        """Answer, if anybody still waits."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(outcome)


class _Untracked:
    """Gives faces numbers: there is no picture before."""

    def update(self, faces: Faces, at: float) -> Tracks:  # noqa: ARG002
        return Tracks(np.arange(1, len(faces) + 1, dtype=np.int64), faces)

    def predict(
        self,
        at: float,  # noqa: ARG002
        *,
        within: tuple[int, int] | None = None,  # noqa: ARG002
        missed: bool = False,  # noqa: ARG002
    ) -> Tracks:
        return Tracks.none()

    def reset(self) -> None:
        """Nothing is known."""


class _Framed:
    """A picture on a black ground of the cameras' shape, 16:9, or else a square one.

    A network is made ready for each shape of input: pictures of every shape would have that done
    again and again, and on a GPU cameras wait for it. The picture is at the top left, so its
    pixels keep their coordinates.
    """

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        wide = 5 * picture.height <= 3 * picture.width  # at 640 it is 640x384, as 16:9 is
        self.width = max(picture.width, picture.height)
        self.height = max(picture.height, round(self.width * 9 / 16)) if wide else self.width

    def bgr(self, width: int | None = None, height: int | None = None) -> Image:
        """As of any picture."""
        width, height = width or self.width, height or self.height
        across = max(1, round(self._picture.width * width / self.width))
        down = max(1, round(self._picture.height * height / self.height))
        return canvas(self._picture.bgr(across, down), width, height)
