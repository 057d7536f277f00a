"""Cameras read in turn by one OpenCV loop around uniface, as a short script would.

``opencv_cameras.py CLIP FPS CAMERAS MODEL CACHE WIDTH HEIGHT next|newest``. ``next`` is what
``VideoCapture.read()`` gives of a network camera: the next frame in order, for what is not read
waits. ``newest`` is the usual cure: ``grab()`` until nothing newer has come, and convert only that
one. A camera that has nothing new is passed over, which is better than ``read()``: that would wait
for the one while others grow old.
"""

from __future__ import annotations

import sys
import time

import cv2
from recorded import Schedule, end_with_parent, say_begun, say_looked
from uniface_detector import open_uniface


def main() -> None:
    clip, fps, cameras, model, cache, width, height, mode = sys.argv[1:]
    end_with_parent()
    detect, about = open_uniface(model, cache, (int(width), int(height)))
    captures = [cv2.VideoCapture(clip) for _ in range(int(cameras))]
    good, picture = captures[0].read()
    if not good:
        raise OSError("OpenCV cannot read the clip; look whether its wheel has FFmpeg")
    detect(picture)
    captures[0].set(cv2.CAP_PROP_POS_FRAMES, 0)
    schedule = Schedule(len(captures), float(fps))
    schedule.begin()
    say_begun(schedule, about=f"OpenCV {cv2.__version__}, {about}, {mode} frame")
    taken = [-1] * len(captures)
    while True:
        time.sleep(min(schedule.wait_s(camera, n + 1) for camera, n in enumerate(taken)))
        for camera, capture in enumerate(captures):
            newest = schedule.newest(camera)
            if newest <= taken[camera]:
                continue
            wanted = newest if mode == "newest" else taken[camera] + 1
            for _ in range(wanted - taken[camera]):
                if not capture.grab():  # from the beginning: a camera has no end
                    capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
                    capture.grab()
            taken[camera] = wanted
            good, picture = capture.retrieve()
            if not good:
                raise OSError("OpenCV lost a picture of the clip; delete it, it is made anew")
            detect(picture)
            say_looked(camera, wanted)


if __name__ == "__main__":
    main()
