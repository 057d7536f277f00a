"""What is true now of every camera, as retained MQTT topics. No threads, no network.

Below ``BASE/CAMERA/``: ``state`` (a word), ``camera`` (the whole event, JSON), ``count`` (faces in
the newest result), ``presence`` (ON or OFF) and ``availability`` (online or offline). ``count`` and
``presence`` are true while ``availability`` is online: a camera that is down, or from which no
result comes, is never one without faces.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, Final

from streamer.events import camera_event, encode
from streamer.types import STATES, Beat, CameraChange, Outcome

STALE_S: Final = 30.0
"""Seconds without a result after which a camera that is live counts as offline."""


@dataclass(slots=True)
class _Camera:
    live: bool = False
    seq: int = 0
    seen_at: float = -math.inf  # the newest result
    face_at: float = -math.inf  # the newest result with faces
    count: int = 0
    count_told_at: float = -math.inf


class Board:
    """The retained topics below ``base``, and which of them are still to be published.

    ``off_delay_s``: seconds without a face until presence ends; ``pause_s``: least time between
    two counts of a camera. With ``discovery``, Home Assistant's prefix, each camera's entities
    are announced there; ``version`` is shown with them. Instants are monotonic seconds.
    """

    def __init__(
        self,
        base: str,
        *,
        boot_id: str,
        off_delay_s: float,
        pause_s: float,
        discovery: str | None = None,
        version: str = "",
    ) -> None:
        """Know no camera yet."""
        self._base = base
        self._boot_id = boot_id
        self._off_delay_s = off_delay_s
        self._pause_s = pause_s
        self._discovery = discovery
        self._version = version
        self._cameras: dict[str, _Camera] = {}
        self._values: dict[str, bytes] = {}
        self._pending: dict[str, bytes] = {}

    def outcome(self, outcome: Outcome, now: float) -> None:
        """Take one result. One that failed says nothing of faces."""
        if outcome.status == "failed":
            return
        camera = self._camera(outcome.frame.camera)
        camera.seen_at = now
        camera.count = len(outcome.tracks)
        if camera.count:
            camera.face_at = now
        self._tell(outcome.frame.camera, camera, now)

    def change(self, change: CameraChange, now: float) -> None:
        """Take what a camera does from now on."""
        camera = self._camera(change.camera)
        camera.seq += 1
        camera.live = change.state == "live"
        event = camera_event(change, seq=camera.seq, boot_id=self._boot_id, now_at=now)
        self._set(change.camera, "state", change.state.encode())
        self._set(change.camera, "camera", encode(event))
        self._tell(change.camera, camera, now)

    def beat(self, beat: Beat, now: float) -> None:
        """Let time pass: presence ends, counts that waited are told, cameras are forgotten."""
        for name in self._cameras.keys() - beat.cameras.keys():
            del self._cameras[name]
            gone = [topic for topic in self._values if topic.startswith(f"{self._base}/{name}/")]
            for topic in [*gone, *(self._entities(name) if self._discovery else ())]:
                self._values.pop(topic, None)
                self._pending[topic] = b""  # an empty retained message removes the topic
        for name, camera in self._cameras.items():
            self._tell(name, camera, now)

    def _camera(self, name: str) -> _Camera:
        known = self._cameras.get(name)
        if known is None:
            known = self._cameras[name] = _Camera()
            if self._discovery is not None:
                for topic, entity in self._entities(name).items():
                    self._put(topic, json.dumps(entity).encode())
        return known

    def _tell(self, name: str, camera: _Camera, now: float) -> None:
        online = camera.live and now - camera.seen_at < STALE_S
        if online:
            present = now - camera.face_at < self._off_delay_s or camera.count > 0
            self._set(name, "presence", b"ON" if present else b"OFF")
            count = b"%d" % camera.count
            if now - camera.count_told_at >= self._pause_s and self._set(name, "count", count):
                camera.count_told_at = now
        self._set(name, "availability", b"online" if online else b"offline")

    def _set(self, camera: str, topic: str, value: bytes) -> bool:
        return self._put(f"{self._base}/{camera}/{topic}", value)

    def _put(self, topic: str, value: bytes) -> bool:
        if self._values.get(topic) == value:
            return False
        self._values[topic] = self._pending[topic] = value
        return True

    def take(self, most: int) -> list[tuple[str, bytes]]:
        """At most so many topics that are still to be published, each with its newest value."""
        topics = list(self._pending)[:most]
        return [(topic, self._pending.pop(topic)) for topic in topics]

    def again(self) -> None:
        """Everything is to be published anew: the broker may know nothing."""
        self._pending |= self._values

    def __len__(self) -> int:
        """How many topics are still to be published."""
        return len(self._pending)

    def _entities(self, camera: str) -> dict[str, dict[str, Any]]:
        """What Home Assistant is told of a camera, by topic."""
        base = self._base
        words = "".join(c if c.isalnum() or c in "_-" else "_" for c in f"{base}_{camera}")
        # Words alone may be those of another streamer: a/b with c_d, or a with b_c_d.
        node = f"{words}_{hashlib.sha256(f'{base}/{camera}'.encode()).hexdigest()[:8]}"
        program = {"topic": f"{base}/status"}
        shared = {
            "device": {
                "identifiers": [node],
                "name": camera,
                "manufacturer": "streamer",
                "model": "camera",
                "sw_version": self._version,
            },
            "origin": {"name": "streamer", "sw_version": self._version},
            "availability_mode": "all",
        }
        both = [program, {"topic": f"{base}/{camera}/availability"}]
        entities: dict[tuple[str, str], dict[str, Any]] = {
            ("binary_sensor", "face"): {
                "name": "Face",
                "device_class": "occupancy",
                "state_topic": f"{base}/{camera}/presence",
                "availability": both,
            },
            ("sensor", "faces"): {
                "name": "Faces",
                "icon": "mdi:face-recognition",
                "state_class": "measurement",
                "unit_of_measurement": "faces",
                "state_topic": f"{base}/{camera}/count",
                "availability": both,
            },
            ("sensor", "state"): {
                "name": "State",
                "device_class": "enum",
                "options": list(STATES),
                "entity_category": "diagnostic",
                "state_topic": f"{base}/{camera}/state",
                "json_attributes_topic": f"{base}/{camera}/camera",
                "availability": [program],
            },
        }
        return {
            f"{self._discovery}/{kind}/{node}/{name}/config": {
                **shared, "unique_id": f"{node}_{name}", **entity,
            }
            for (kind, name), entity in entities.items()
        }  # fmt: skip
