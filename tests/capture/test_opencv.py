from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamer.capture.opencv import PictureFileSource, WebcamSource
from streamer.errors import SourceLost
from tests.capture.clocks import Clock

IMAGE = np.dstack([np.full((40, 60), v, np.uint8) for v in (20, 120, 220)])
IMAGE[:20] //= 2


class FakeDevice:
    """Gives ``images`` and then fails, after ``slow_s`` seconds."""

    def __init__(
        self, clock: Clock, images: Sequence[np.ndarray], *, opened: bool = True, slow_s: float = 0
    ) -> None:
        self.clock, self.images, self.opened, self.slow_s = clock, list(images), opened, slow_s
        self.released = 0
        self.wishes: dict[int, float] = {}

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def set(self, propId: int, value: float) -> bool:  # noqa: N803
        self.wishes[propId] = value
        return False

    def read(self):
        if self.images:
            return True, self.images.pop(0)
        self.clock.now += self.slow_s
        return False, None

    def release(self) -> None:
        self.released += 1


def webcam(device: FakeDevice, name: int | str = 0, **options: object) -> WebcamSource:
    return WebcamSource(name, camera="a", opener=lambda _: device, clock=device.clock, **options)


@pytest.mark.parametrize(("slow_s", "reason"), [(0.0, "reset"), (6.0, "stall")])
def test_a_webcam_gives_frames_until_it_fails(slow_s: float, reason: str) -> None:
    device = FakeDevice(Clock(), [IMAGE, IMAGE[:, :, :1], IMAGE[:, :, 0]], slow_s=slow_s)
    frames = []
    with pytest.raises(SourceLost) as lost:
        for frame in webcam(device, width=640, height=480, fps=15).frames(threading.Event()):
            frames.append(frame)
    assert lost.value.reason == reason
    assert [f.index for f in frames] == [0, 1, 2]
    assert all(f.picture.bgr().shape == (40, 60, 3) for f in frames)
    assert device.wishes[cv2.CAP_PROP_FRAME_WIDTH] == 640
    assert device.wishes[cv2.CAP_PROP_FPS] == 15
    assert device.released == 1


def test_a_webcam_that_does_not_open() -> None:
    device = FakeDevice(Clock(), [], opened=False)
    for name, reason in [("/dev/video987", "not_found"), ("/dev/null", "error")]:
        with pytest.raises(SourceLost) as lost:
            list(webcam(device, name).frames(threading.Event()))
        assert lost.value.reason == reason
    assert device.released == 2


def test_a_real_webcam_that_is_not_there() -> None:
    with pytest.raises(SourceLost) as lost:
        list(WebcamSource(987, camera="a").frames(threading.Event()))
    assert lost.value.reason == "not_found"


def test_stop_ends_a_webcam_and_lets_go_of_it() -> None:
    device = FakeDevice(Clock(), [IMAGE] * 9)
    stop = threading.Event()
    seen = 0
    for _ in webcam(device).frames(stop):
        seen += 1
        stop.set()
    assert (seen, device.released) == (1, 1)
    half = webcam(device).frames(threading.Event())
    next(half)
    half.close()
    assert device.released == 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_still_pictures(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(path), IMAGE)
    source = PictureFileSource(path, camera="a")
    assert not source.live
    (frame,) = source.frames(threading.Event())
    assert (frame.index, frame.epoch, frame.pts) == (0, 0, None)
    image = frame.picture.bgr()
    assert np.abs(image.astype(int) - IMAGE).mean() < 8
    assert not image.flags.writeable


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01" + struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0)
    body = b"Exif\x00\x00" + tiff + b"\x00" * 4
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def test_the_orientation_of_a_photo_is_applied(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", IMAGE)[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(with_orientation(jpeg, 6))
    (frame,) = PictureFileSource(tmp_path / "a.jpg", camera="a").frames(threading.Event())
    assert (frame.picture.width, frame.picture.height) == (40, 60)
    wanted = np.rot90(IMAGE, 3)
    assert np.abs(frame.picture.bgr().astype(int) - wanted).mean() < 8


def lost_reason(path: Path, **options: int) -> str:
    with pytest.raises(SourceLost) as lost:
        list(PictureFileSource(path, camera="a", **options).frames(threading.Event()))
    assert str(path.parent) not in str(lost.value)
    return lost.value.reason


def test_pictures_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert lost_reason(path) == "not_found"
    assert lost_reason(tmp_path) == "not_found"
    path.write_bytes(b"<svg/>")
    assert lost_reason(path) == "unsupported_codec"
    png = cv2.imencode(".png", IMAGE)[1].tobytes()
    path.write_bytes(png)
    assert lost_reason(path, max_bytes=len(png) - 1) == "too_large"
    assert lost_reason(path, max_pixels=60 * 40 - 1) == "too_large"
    path.write_bytes(png[:45])
    assert lost_reason(path) == "error"
    bomb = png[:16] + struct.pack(">II", 60000, 60000) + png[24:]
    path.write_bytes(bomb)
    assert lost_reason(path) == "too_large"
