"""Recorded cameras in real time, for every program that is measured. Only the standard library.

Runners lie beside this file and are run by path, so they find it as ``recorded``. What a runner
says on its standard output, one line each:

* ``{"starts": [...], "endpoint": ..., "about": ...}`` once, as soon as the cameras begin. Frame
  ``n`` of camera ``c`` is due at ``starts[c] + n / fps``, seconds of ``time.monotonic()``, which
  all processes of a machine share. With an endpoint, results are heard there by ZeroMQ;
* without one, ``@ CAMERA FRAME`` for each frame that was looked at, both numbers from 0;
* perhaps ``{"end": {...}}`` as the last line.

A runner ends when its standard input does, so none is left behind by a parent that was killed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

LEAD_S: Final = 0.5
"""From the first line to the first frame."""

SPREAD_S: Final = 2.0
"""Cameras begin within so many seconds: key frames are 2 s apart, and must not come all at once."""

GOLDEN: Final = 0.618034
"""Multiples of its fraction never fall together, however many there are."""


class Schedule:
    """When the frames of so many cameras are due; it begins with :meth:`begin`."""

    def __init__(
        self, cameras: int, fps: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``fps``: frames a second of each camera, above 0."""
        self._cameras = cameras
        self._fps = fps
        self._clock = clock
        self.starts: list[float] = []
        """When frame 0 of each camera is due, monotonic seconds; empty before :meth:`begin`."""

    def begin(self) -> None:
        """Begin half a second from now, each camera at a phase of its own."""
        first = self._clock() + LEAD_S
        self.starts = [first + number * GOLDEN % 1.0 * SPREAD_S for number in range(self._cameras)]

    def due(self, camera: int, frame: int) -> float:
        """When frame ``frame`` (from 0) of a camera comes, monotonic seconds."""
        return self.starts[camera] + frame / self._fps

    def newest(self, camera: int) -> int:
        """The newest frame of a camera that has come by now; below 0 before the first."""
        return int((self._clock() - self.starts[camera]) * self._fps // 1)

    def wait_s(self, camera: int, frame: int) -> float:
        """Seconds until a frame comes; 0 when it is there. A camera never waits for anybody."""
        return max(0.0, self.due(camera, frame) - self._clock())


def say_begun(schedule: Schedule, *, about: str, endpoint: str | None = None) -> None:
    """Say when the cameras begin, and what runs (``about``: names and versions)."""
    _say(json.dumps({"starts": schedule.starts, "endpoint": endpoint, "about": about}))


def say_looked(camera: int, frame: int) -> None:
    """Say that the faces of a frame are known."""
    _say(f"@ {camera} {frame}")


def say_end(found: dict[str, Any]) -> None:
    """Say what else is to be known at the end."""
    _say(json.dumps({"end": found}))


def _say(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")  # libraries may have left half a line
    sys.stdout.flush()


def end_with_parent(end: Callable[[], object] = lambda: os._exit(0)) -> None:
    """Call ``end`` once, from a thread of its own, when the standard input ends."""

    def wait() -> None:
        # Not by sys.stdin: Python would wait for its lock when the program ends by itself.
        while os.read(0, 4096):
            pass
        end()

    threading.Thread(target=wait, daemon=True).start()
