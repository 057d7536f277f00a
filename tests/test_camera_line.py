"""One camera's line: what becomes of it when another takes its place, and what it says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from streamer.camera_line import CameraLine, source_of
from streamer.capture.isolate import Isolated
from streamer.config import Camera
from streamer.flow.fan import FanIn
from streamer.stages import Job
from streamer.testing import FakeDetector

SYNTHETIC = "synthetic:?fps=20&size=320x192"


def line(fan: FanIn[Job], before: CameraLine | None = None, **camera: Any) -> CameraLine:
    settings = Camera(**{"source": SYNTHETIC, **camera})
    source = source_of("cam", settings, Path())
    return CameraLine(
        "cam", settings, source, fan, FakeDetector(), 640, time.monotonic, before=before
    )


def test_a_source_is_isolated_only_where_it_was_asked_for() -> None:
    assert isinstance(source_of("a", Camera(source=SYNTHETIC, isolate=True), Path()), Isolated)
    assert not isinstance(source_of("a", Camera(source=SYNTHETIC), Path()), Isolated)


def test_it_is_stopped_from_the_moment_it_is_ended() -> None:
    one = line(FanIn("infer"))
    assert one.state().state == "connecting"
    one.end()
    assert one.state().state == "stopped" and not one.over
    change = one.change(time.monotonic(), 1000.0)
    assert (change.state, change.camera) == ("stopped", "cam")
    assert change.wall_at <= 1000.0


def test_one_in_the_place_of_another_goes_on_with_numbers_and_counters() -> None:
    fan: FanIn[Job] = FanIn("infer")
    first = line(fan)
    first.lane.skip()
    first.meters.faces_total = 7
    first.position.epoch, first.position.index = 1, 1
    first.end()
    fan.remove_lane(first.lane)
    second = line(fan, before=first)
    assert second.status(time.monotonic()).faces_total == 7
    assert second.lane.ledger().captured == 1
    first.position.index = 9  # it may still be reading; that moves no number of the second
    assert (second.position.epoch, second.position.index) == (1, 1)


def test_a_file_waits_for_room_and_a_camera_does_not() -> None:
    assert line(FanIn("infer")).lane.overflow == "drop_oldest"
    assert line(FanIn("infer"), source="clip.mp4").lane.overflow == "block"
