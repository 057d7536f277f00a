"""Little clips for the capture tests, made by PyAV when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

ONE_SLICE = {"x264-params": "slices=1:sliced-threads=0:bframes=0:keyint=10:threads=1"}


def picture(index: int, width: int, height: int) -> np.ndarray:
    """A grey ramp with a white bar that stands at ``index`` tenths of the width."""
    image = np.linspace(40, 120, width, dtype=np.uint8)[None, :, None].repeat(height, 0)
    image = np.ascontiguousarray(image.repeat(3, 2))
    left = index % 10 * width // 10
    image[:, left : left + width // 10] = 235
    return image


def make_clip(
    path: Path, *, frames: int = 10, width: int = 320, height: int = 240, fps: int = 25,
    codec: str = "libx264", muxer: str | None = None,
) -> Path:  # fmt: skip
    """Write a clip whose n-th frame is ``picture(n, …)``."""
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=fps, options=ONE_SLICE)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, width, height), "bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def bar_of(image: np.ndarray) -> int:
    """Which tenth of the width the white bar stands at."""
    tenths = np.array_split(image[image.shape[0] // 2].astype(int).mean(axis=1), 10)
    return int(np.argmax([tenth.mean() for tenth in tenths]))


def access_units(
    frames: int = 40, *, width: int = 320, height: int = 240, keys: int = 10
) -> Iterator[bytes]:
    """H.264 pictures in Annex B, the first of every ``keys`` an IDR with its parameter sets."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate = 25
    options = ONE_SLICE["x264-params"].replace("keyint=10", f"keyint={keys}:scenecut=0")
    encoder.options = {"x264-params": options, "tune": "zerolatency"}
    for index in range(frames):
        frame = av.VideoFrame.from_ndarray(picture(index, width, height), "bgr24")
        frame.pts = index
        yield from (bytes(packet) for packet in encoder.encode(frame))
    yield from (bytes(packet) for packet in encoder.encode(None))
