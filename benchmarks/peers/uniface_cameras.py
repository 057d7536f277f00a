"""Cameras read in turn by one OpenCV loop around uniface, as a short script would.

``uniface_cameras.py CLIP MODEL CACHE WIDTH HEIGHT CAMERAS FPS SECONDS`` plays CLIP as so many
cameras of FPS frames a second, each a little after the one before. A frame that is not read waits,
as it does in OpenCV's buffer of a network camera. Prints one line of JSON: for each look the
camera, the second of its end and its age there, from the instant the camera had the frame.
"""

from __future__ import annotations

import json
import sys
import time

import cv2
from uniface_detector import open_uniface


def main() -> None:
    clip, model, cache, *numbers = sys.argv[1:]
    width, height, cameras = (int(number) for number in numbers[:3])
    fps, seconds = (float(number) for number in numbers[3:])
    detect, about = open_uniface(model, cache, (width, height))
    captures = [cv2.VideoCapture(clip) for _ in range(cameras)]
    _, picture = captures[0].read()
    detect(picture)
    looks: list[tuple[int, float, float]] = []
    read = [0] * cameras
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds:
        due = [(count + number / cameras) / fps for number, count in enumerate(read)]
        waiting = [number for number in range(cameras) if due[number] <= now]
        if not waiting:
            time.sleep(min(due) - now)
        for number in waiting:
            good, picture = captures[number].read()
            if not good:  # from the beginning, as a camera has no end
                captures[number].set(cv2.CAP_PROP_POS_FRAMES, 0)
                good, picture = captures[number].read()
            detect(picture)
            read[number] += 1
            ended = time.monotonic() - began
            looks.append((number, ended, ended - due[number]))
    sys.stdout.write("\n" + json.dumps({"looks": looks, "about": about}) + "\n")


if __name__ == "__main__":
    main()
