"""uniface's detector with the weights that streamer uses, from a folder it takes as its cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
from measured import Row

CONFIDENCE = 0.6  # streamer's default; uniface's is 0.5, which would be another question


def open_uniface(
    model: str, cache: str, size: tuple[int, int]
) -> tuple[Callable[[Any], list[Row]], str]:
    """A function from a BGR picture to its faces, and the versions of what runs it.

    ``size`` is width and height of the network's input. A square is uniface's own way; it takes
    any other size with anchors of the wrong shape and then finds nothing (seen in 4.2.1: width and
    height change places), so for that pictures are shrunk first and ``dynamic_size`` is on.

    uniface looks into ``cache`` for its weights before it asks the network, so ``model`` is copied
    there; it checks the SHA-256.
    """
    Path(cache).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, Path(cache) / "retinaface_mnet025.onnx")
    os.environ["UNIFACE_CACHE_DIR"] = cache
    from uniface.constants import RetinaFaceWeights
    from uniface.detection import RetinaFace

    square = size[0] == size[1]
    detector = RetinaFace(
        model_name=RetinaFaceWeights.MNET_025,
        confidence_threshold=CONFIDENCE,
        input_size=size,
        dynamic_size=not square,
    )

    def detect(picture: Any) -> list[Row]:
        across, down = 1.0, 1.0
        if not square:
            across, down = picture.shape[1] / size[0], picture.shape[0] / size[1]
            picture = cv2.resize(picture, size)
        rows = []
        for face in detector.detect(picture):
            x1, y1, x2, y2 = (float(side) for side in face.bbox)
            rows.append((x1 * across, y1 * down, x2 * across, y2 * down, float(face.confidence)))
        return rows

    about = f"uniface {version('uniface')}, onnxruntime {version('onnxruntime')}, "
    return detect, about + f"input {size[0]}x{size[1]}"
