"""What travels from capture to inference: when it happened, and what decides its turn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streamer.flow.meters import Durations, Rate
from streamer.flow.order import FREE
from streamer.job import CameraWork, Job, label_of
from streamer.stages import CameraMeters
from streamer.testing import FakeDetector
from streamer.types import Frame, Outcome
from streamer.vision.picture import ArrayPicture
from streamer.vision.tracking import FaceTracker

FRAME = Frame("cam", 0, 0, 12.5, 0.0, None, ArrayPicture(np.zeros((8, 8, 3), np.uint8)))


def work_of(size: int) -> CameraWork:
    meters = CameraMeters(Rate(lambda: 0.0), Rate(lambda: 0.0), Durations())
    return CameraWork(FakeDetector(), FaceTracker(), meters, size=size)


class Asked:
    def put(self, outcome: Outcome) -> None:
        raise AssertionError("nothing is looked at here")


def test_frames_of_one_size_are_of_one_kind_and_those_only_filled_cost_nothing() -> None:
    job = Job(FRAME, work_of(640))
    assert label_of(job) == (12.5, 640)
    assert label_of(Job(FRAME, work_of(320))).kind == 320
    assert label_of(job._replace(looks=False)).kind is FREE


def test_pictures_that_are_asked_about_are_of_a_kind_of_their_own() -> None:
    work = replace(work_of(640), reply=Asked())
    assert label_of(Job(FRAME, work)).kind == ("asked", 640)


def test_a_file_s_frames_happen_by_its_own_time() -> None:
    job = Job(FRAME, work_of(640))
    assert job.at == 12.5
    assert job._replace(file_at=0.0).at == 0.0
