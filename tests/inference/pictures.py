"""Pictures and the model, for tests and for scripts/record_reference.py.

Every picture of :func:`reference_pictures` is made by array arithmetic alone, so that the same
pixels come out with any version of any library.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from skimage import data, io

ROOT = Path(__file__).resolve().parents[2]
DEMO_FRAMES = (0, 60, 120, 200)


@cache
def model_bytes() -> bytes:
    """The weights all tests use."""
    return (ROOT / "models" / "retinaface_mnet025.onnx").read_bytes()


def shipped(name: str) -> NDArray[np.uint8]:
    """A picture that comes inside scikit-image, BGR (height, width, 3), whatever it was."""
    pixels = io.imread(Path(data.__file__).parent / name)
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=-1)
    return np.ascontiguousarray(pixels[:, :, 2::-1])


def padded(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The picture in the top-left corner of a black one of ``height`` x ``width``."""
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return canvas


def reference_pictures(clip: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The named pictures on which two implementations are compared; sides are multiples of 32."""
    face = shipped("astronaut.png")
    yield "astronaut-512x512", face
    yield "astronaut-half-256x256", np.ascontiguousarray(face[::2, ::2])
    yield "astronaut-quarter-128x128", np.ascontiguousarray(face[1::4, 1::4])
    yield "astronaut-double-640x384", padded(face[:192, 96:416].repeat(2, 0).repeat(2, 1), 384, 640)
    yield "astronaut-padded-640x512", padded(face, 512, 640)
    yield "astronaut-mirrored-416x512", np.ascontiguousarray(face[:416, ::-1])
    halves = np.concatenate([face[::2, ::2], face[::2, ::-2]], axis=1)
    yield "astronaut-twice-512x256", halves
    thirds = np.tile(face[:288, 80:368][::3, ::3], (4, 6, 1))
    yield "astronaut-crowd-576x384", np.ascontiguousarray(thirds)
    yield "camera-512x512", shipped("camera.png")
    yield "coffee-608x416", padded(shipped("coffee.png"), 416, 608)
    for number, frame in _frames(clip, DEMO_FRAMES):
        yield f"demo-{number}-1280x736", padded(_bgr(frame), 736, 1280)


def _frames(clip: Path, numbers: tuple[int, ...]) -> Iterator[tuple[int, Any]]:
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in numbers:
                yield number, frame
            if number == max(numbers):
                return


def _bgr(frame: Any) -> NDArray[np.uint8]:
    """BT.709 limited range to BGR, chroma repeated: not the best picture, but always the same."""
    height, width = frame.height, frame.width
    planes = frame.to_ndarray().reshape(-1).astype(np.float64)  # yuv420p: Y, then U, then V
    luma = (planes[: height * width].reshape(height, width) - 16) * (255 / 219)
    chroma = (planes[height * width :].reshape(2, height // 2, width // 2) - 128) * (255 / 224)
    u, v = chroma.repeat(2, axis=1).repeat(2, axis=2)
    blue, red = luma + 1.8556 * u, luma + 1.5748 * v
    green = luma - 0.1873 * u - 0.4681 * v
    stacked = np.stack([blue, green, red], axis=-1)
    return np.rint(np.clip(stacked, 0, 255)).astype(np.uint8)
