"""Webcams and still pictures by OpenCV.

Untested on real webcams: the tests put a scripted device in the place of ``cv2.VideoCapture``.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np

from streamer.capture.stills import out_of_proportion, picture_size
from streamer.errors import SourceLost
from streamer.types import Frame, Image
from streamer.vision.picture import ArrayPicture

MAX_PICTURE_BYTES: Final = 64 << 20
"""Largest picture file read, bytes."""


class Device(Protocol):
    """What is used of ``cv2.VideoCapture``."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's own name
        """Whether the device gives pictures."""

    def set(self, propId: int, value: float) -> bool:  # noqa: N803
        """Ask for a property; False when the device does not have it."""

    def read(self) -> tuple[bool, Any]:
        """(True, BGR picture) or (False, None)."""

    def release(self) -> None:
        """Let go of the device."""


def open_device(device: int | str) -> Device:
    """Open a webcam: by V4L2 on Linux, whatever OpenCV has elsewhere."""
    return cv2.VideoCapture(device, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)


class WebcamSource:
    """A :class:`streamer.protocols.Source` over a local video device.

    A read is bounded by the device driver's select in OpenCV (10 s unless the driver takes
    ``read_timeout_s``); ``stop`` is seen between reads.
    """

    live = True

    def __init__(
        self,
        device: int | str,
        *,
        camera: str,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        read_timeout_s: float = 5.0,
        opener: Callable[[int | str], Device] = open_device,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """``device`` is a number or a path; sizes and rate are wishes the driver may not grant."""
        self._device = device
        self.camera = camera
        self._wishes = {
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: 1000.0 * read_timeout_s,
            cv2.CAP_PROP_BUFFERSIZE: 1.0,  # newest first: a webcam's queue is latency
            cv2.CAP_PROP_FRAME_WIDTH: width,
            cv2.CAP_PROP_FRAME_HEIGHT: height,
            cv2.CAP_PROP_FPS: fps,
        }
        self._read_timeout_s = read_timeout_s
        self._opener = opener
        self._clock = clock
        self._wall_clock = wall_clock
        self._name = f"webcam {device}" if isinstance(device, int) else device

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """One life, epoch 0 and index from 0; ``pts`` is None.

        Raises SourceLost: ``not_found`` without the device, ``error`` when it does not open,
        ``stall`` when a read took too long and ``reset`` when a read failed (unplugged).
        """
        if stop.is_set():
            return
        device = self._opener(self._device)
        try:
            if not device.isOpened():
                raise self._not_opened()
            for wish, value in self._wishes.items():
                if value is not None:
                    device.set(wish, value)
            index = 0
            while not stop.is_set():
                asked_at = self._clock()
                good, image = device.read()
                captured_at = self._clock()
                if not good or image is None:
                    if stop.is_set():
                        return
                    raise self._failed(captured_at - asked_at)
                yield Frame(
                    self.camera,
                    0,
                    index,
                    captured_at,
                    self._wall_clock(),
                    None,
                    ArrayPicture(_colour(image)),
                )
                index += 1
        finally:
            device.release()

    def _not_opened(self) -> SourceLost:
        device = self._device
        path = Path(f"/dev/video{device}" if isinstance(device, int) else device)
        if sys.platform == "linux" and not path.exists():
            return SourceLost("not_found", f"{path} is not there; plug the camera in")
        return SourceLost(
            "error", f"{self._name} did not open; check its permissions and who else uses it"
        )

    def _failed(self, waited_s: float) -> SourceLost:
        if waited_s >= self._read_timeout_s:
            return SourceLost(
                "stall", f"{self._name} gave no picture for {waited_s:.1f} s; check its cable"
            )
        return SourceLost("reset", f"{self._name} stopped giving pictures; check its cable")


def _colour(image: Any) -> Image:
    """A device's picture as contiguous BGR; grey ones get three channels."""
    array = np.asarray(image, np.uint8)
    if array.ndim == 2 or array.shape[2] == 1:
        array = np.asarray(cv2.cvtColor(array, cv2.COLOR_GRAY2BGR), np.uint8)
    return np.ascontiguousarray(array)


class PictureFileSource:
    """A :class:`streamer.protocols.Source` of one frame: a PNG, JPEG, WebP or BMP file.

    The orientation that a camera wrote into the file (EXIF) is applied.
    """

    live = False

    def __init__(
        self,
        path: Path,
        *,
        camera: str,
        max_bytes: int = MAX_PICTURE_BYTES,
        max_pixels: int = 1 << 26,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Files over ``max_bytes`` and pictures over ``max_pixels`` are refused undecoded."""
        self._path = path
        self.camera = camera
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._clock = clock
        self._wall_clock = wall_clock

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """The one frame. Raises SourceLost when the file is missing, too large or no picture."""
        if stop.is_set():
            return
        picture = ArrayPicture(self._decode(self._read()))
        yield Frame(self.camera, 0, 0, self._clock(), self._wall_clock(), None, picture)

    def _read(self) -> bytes:
        name = self._path.name
        if not self._path.is_file():
            raise SourceLost("not_found", f"{name} is not there or is not a file; check the path")
        try:
            with self._path.open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            raise SourceLost(
                "error", f"{name} cannot be read ({error.strerror}); check its permissions"
            ) from None
        if len(data) > self._max_bytes:
            raise SourceLost(
                "too_large", f"{name} is over {self._max_bytes >> 20} MiB; make it smaller"
            )
        return data

    def _decode(self, data: bytes) -> Image:
        name = self._path.name
        size = picture_size(data)
        if size is None:
            raise SourceLost(
                "unsupported_codec", f"{name} is no PNG, JPEG, WebP or BMP; convert it to one"
            )
        if size[0] * size[1] > self._max_pixels:
            raise SourceLost(
                "too_large",
                f"{name} is {size[0]}x{size[1]} and {self._max_pixels} pixels are allowed; "
                "make it smaller",
            )
        if (why := out_of_proportion(data)) is not None:
            raise SourceLost("too_large", f"{name} {why}; save it anew")
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            image = None
        if image is None:
            raise SourceLost("error", f"{name} is damaged; save it again")
        return np.ascontiguousarray(image, np.uint8)
