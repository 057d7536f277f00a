"""What every runner measures, and how it says it. Only the standard library and, for clips, OpenCV.

Runners lie beside this file and are run by path, so they find it as ``measured``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = tuple[float, float, float, float, float]
"""One face: x1, y1, x2, y2 in pixels of the clip, and its confidence, 0..1."""


class Stopwatch:
    """Wall and CPU seconds of this process, all its threads together, since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def say(self, faces: list[list[Row]], *, frames: int | None = None, about: str) -> None:
        """Print the result as one line of JSON: what passed until now, and what was found.

        ``faces`` has a list for each frame of the clip, in order. ``frames`` is how many were
        looked at, where that is not as many: several cameras play the same clip.
        """
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        count = len(faces) if frames is None else frames
        line = {
            "frames": count,
            "fps": count / wall,
            "cpu_ms": cpu / count * 1e3,
            "peak_mib": peak_mib(),
            "about": about,
            "faces": faces,
        }
        sys.stdout.write("\n" + json.dumps(line) + "\n")  # libraries may have left half a line
        sys.stdout.flush()


def peak_mib() -> float:
    """The most memory this process ever had, MiB (VmHWM: unlike ru_maxrss never a parent's)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def loop(clip: str, detect: Callable[[Any], list[Row]], *, about: str) -> None:
    """Read ``clip`` with OpenCV and look at each BGR picture in turn, as a short script would.

    The first picture is looked at once beforehand, so that loading is not measured. Raises
    ``OSError`` where OpenCV cannot read the clip.
    """
    import cv2

    capture = cv2.VideoCapture(clip)
    good, picture = capture.read()
    if not good:
        raise OSError("OpenCV cannot read the clip; look whether its wheel has FFmpeg")
    detect(picture)
    capture.release()
    faces = []
    watch = Stopwatch()
    capture = cv2.VideoCapture(clip)
    while True:
        good, picture = capture.read()
        if not good:
            break
        faces.append(detect(picture))
    capture.release()
    watch.say(faces, about=about)
