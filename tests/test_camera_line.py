"""One camera's line: what becomes of it when another takes its place, and what it says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from streamer.camera_line import CameraLine, Numbers, source_of
from streamer.capture.isolate import Isolated
from streamer.config import Camera
from streamer.flow.fan import FanIn
from streamer.stages import Job
from streamer.testing import FakeDetector
from streamer.types import Frame
from streamer.vision.picture import ArrayPicture
from streamer.vision.privacy import Privacy
from tests.test_stages import ONE_FACE

SYNTHETIC = "synthetic:?fps=20&size=320x192"


def line(
    fan: FanIn[Job],
    before: CameraLine | None = None,
    numbers: Numbers | None = None,
    **camera: Any,
) -> CameraLine:
    settings = Camera(**{"source": SYNTHETIC, **camera})
    source = source_of("cam", settings, Path())
    return CameraLine(
        "cam", settings, source, fan, FakeDetector(), 640, time.monotonic, before=before,
        numbers=numbers, privacy=Privacy(),
    )  # fmt: skip


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


def test_one_that_is_added_anew_goes_on_with_numbers_and_ids_only() -> None:
    fan: FanIn[Job] = FanIn("infer")
    first = line(fan)
    assert first.work.tracker.update(ONE_FACE, 1.0).ids.tolist() == [1]
    first.lane.skip()
    first.position.epoch, first.position.index = 1, 5
    first.end()
    fan.remove_lane(first.lane)
    second = line(fan, numbers=first.numbers)
    assert (second.position.epoch, second.position.index) == (1, 5)
    assert second.work.tracker.update(ONE_FACE, 1.0).ids.tolist() == [2]
    assert second.lane.ledger().captured == 0


def test_a_file_waits_for_room_and_a_camera_does_not() -> None:
    assert line(FanIn("infer")).lane.overflow == "drop_oldest"
    assert line(FanIn("infer"), source="clip.mp4").lane.overflow == "block"


def test_a_face_is_followed_over_a_missed_look_at_the_slowest_rate_asked_for() -> None:
    for camera, seconds in (
        ({}, 2.0), ({"max_fps": 0.5}, 5.0), ({"motion": True}, 2.5),
        ({"motion": True, "motion_floor_fps": 0.25, "max_fps": 5}, 10.0),
    ):  # fmt: skip
        one = line(FanIn("infer"), **camera)
        work = one.work
        frame = Frame("cam", 0, 0, 100.0, 0.0, None, ArrayPicture(np.zeros((64, 64, 3), np.uint8)))
        found = work.tracker.update(ONE_FACE, 100.0)
        assert [c.kind for c in work.visits.see(frame, found, 100.0)] == ["appeared"]
        later = work.tracker.update(ONE_FACE, 100.0 + seconds - 0.01)
        assert later.ids.tolist() == found.ids.tolist()
        assert "motion" not in camera or work.patience.holds_s == seconds
        assert work.visits.leave(100.0 + seconds + 0.4) == []
        assert [c.kind for c in work.visits.leave(100.0 + seconds + 0.6)] == ["left"]


def test_ids_go_on_where_one_takes_the_place_of_another() -> None:
    fan: FanIn[Job] = FanIn("infer")
    first = line(fan)
    assert first.work.tracker.update(ONE_FACE, 1.0).ids.tolist() == [1]
    first.end()
    fan.remove_lane(first.lane)
    second = line(fan, before=first)
    assert second.work.tracker.update(ONE_FACE, 1.0).ids.tolist() == [2]
