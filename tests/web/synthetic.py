"""Synthetic cameras and hand-made readings for the tests of the HTTP door."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streamer.flow.channel import ChannelStats
from streamer.flow.ledger import Ledger
from streamer.flow.meters import DurationStats
from streamer.status import CameraStatus, SinkStatus, SourceState, Status
from streamer.types import Faces, Failure, Frame, Outcome, Picture, Result, Stamps, Tracks
from streamer.vision.picture import ArrayPicture
from streamer.web.live import LiveView

CAMERAS = ("door", "yard", "hall")


def pixels(index: int, *, width: int = 320, height: int = 180) -> np.ndarray:
    """A quiet background with a white square that moves with ``index``."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.linspace(40, 110, width, dtype=np.uint8)[None, :, None]
    x = 8 * index % (width - 60)
    image[height // 2 : height // 2 + 40, x : x + 40] = 255
    return image


def tracks(index: int, count: int = 1, *, width: int = 320, height: int = 180) -> Tracks:
    boxes = np.zeros((count, 4), np.float32)
    for n in range(count):
        x = width * (0.12 + 0.25 * n) + 10 * np.sin(index / 6 + n)
        boxes[n] = (x, height * 0.2, x + width * 0.16, height * 0.2 + width * 0.2)
    centre = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    spread = np.array([[-2, -2], [2, -2], [0, 0], [-1.5, 2], [1.5, 2]], np.float32)
    landmarks = (centre + spread[None] * width * 0.015).astype(np.float32)
    scores = np.linspace(0.98, 0.7, count).astype(np.float32)
    return Tracks(np.arange(1, count + 1, dtype=np.int64), Faces(boxes, scores, landmarks))


def outcome(
    camera: str = "door",
    index: int = 0,
    *,
    at: float | None = None,
    faces: int = 1,
    failed: bool = False,
    picture: Picture | None = None,
    width: int = 320,
    height: int = 180,
) -> Outcome:
    at = time.monotonic() if at is None else at
    frame = Frame(
        camera=camera,
        epoch=0,
        index=index,
        captured_at=at,
        wall_at=1_700_000_000.0 + index,
        pts=None,
        picture=picture or ArrayPicture(pixels(index, width=width, height=height)),
    )
    stamps = Stamps(at, at, at)
    if failed:
        return Failure(frame, stamps, "detection failed")
    return Result(frame, tracks(index, faces, width=width, height=height), stamps)


def camera_status(name: str, *, now: float, **changes: Any) -> CameraStatus:
    values: dict[str, Any] = {
        "name": name,
        "source": SourceState("live", now - 60.0),
        "url": "rtsp://***@camera.example/stream",
        "ledger": Ledger(
            captured=1234,
            settled={"detected": 1200, "failed": 1},
            skipped=20,
            dropped={("infer", "queue_full"): 12},
            waiting=1,
            held=0,
        ),
        "lane": ChannelStats(name, 1, 1, 1, 1214, 1201, {"queue_full": 12}),
        "faces_total": 99,
        "faces_now": 1,
        "capture_fps": 12.0,
        "detect_fps": 11.8,
        "latency": DurationStats((0.1, 1.0), (5, 1, 0), 0.9),
        "latency_p50_s": 0.034,
        "latency_p95_s": 0.0648,
        "latency_p99_s": 0.0712,
        "newest_age_s": 0.05,
    }
    return CameraStatus(**{**values, **changes})


@dataclass
class Machine:
    """Stands for the rest of streamer: what ``app`` gives the HTTP door."""

    cameras: tuple[str, ...] = CAMERAS
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    readings: int = 0
    stuck_s: float = 0.0

    def status(self) -> Status:
        self.readings += 1
        now = time.monotonic()
        channel = ChannelStats("live", 0, 4, 1, 10, 10, {})
        return Status(
            version="0.1.0",
            boot_id="b00t",
            model="retinaface_mnet025",
            provider="CPUExecutionProvider",
            requested_device="auto",
            uptime_s=61.5,
            cameras=[
                camera_status(name, now=now, **self.changes.get(name, {})) for name in self.cameras
            ],
            sinks=[SinkStatus("live", channel, 10, True)],
            stages={"infer": DurationStats((0.1, 1.0), (5, 1, 0), 0.9)},
            device_warning="running on the CPU, because it is a test",
            inference_faults={"hang": 2},
            inference_stuck_s=self.stuck_s,
        )

    def metrics(self, accept: str) -> tuple[bytes, str]:
        if "openmetrics" in accept:
            return b"# EOF\n", "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return b"streamer_up 1\n", "text/plain; version=0.0.4; charset=utf-8"


class Playing:
    """Writes a new outcome of every camera ``fps`` times a second, on its own thread."""

    def __init__(self, live: LiveView, fps: float = 12.0, *, faces: int = 1, **size: int) -> None:
        self.live = live
        self.fps = fps
        self.faces = faces
        self.size = size
        self.quiet: set[str] = set()
        self.written = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="playing", daemon=True)

    def __enter__(self) -> Playing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        index = 0
        while not self._stop.wait(1.0 / self.fps):
            index += 1
            for n, camera in enumerate(self.live.cameras):
                if camera not in self.quiet:
                    faces = self.faces + n % 2
                    self.live.write(outcome(camera, index, faces=faces, **self.size))
                    self.written += 1


def until(true: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Wait for something another thread does; fail when it does not."""
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def split(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and JPEG of one binary message of /ws/live."""
    size = int.from_bytes(message[:4], "big")
    return json.loads(message[4 : 4 + size]), message[4 + size :]
