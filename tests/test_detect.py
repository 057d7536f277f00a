"""`streamer detect` from inside: files in a row, names, failures."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

from streamer.detect import FileList
from streamer.flow.fan import FanIn
from streamer.flow.meters import Durations, Rate
from streamer.stages import CameraMeters, Job
from streamer.testing import FakeDetector, ManualClock


def read(files: FileList, stop: threading.Event) -> list[Job]:
    """All that is offered, in order."""
    lanes: FanIn[Job] = FanIn("infer")
    lane = lanes.add_lane("files", capacity=100, overflow="block")
    clock = ManualClock()
    meters = CameraMeters(Rate(clock), Rate(clock), Durations())
    files.read(lane, FakeDetector(), meters, stop=stop)
    lane.close()
    lanes.close()
    jobs = []
    for batch in lanes.batches(1):
        with batch:
            jobs += batch.items
    return jobs


def test_frames_of_each_file_count_from_zero_and_a_bad_file_is_noted(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "b.png").write_text("nothing")
    files = FileList([tmp_path / name for name in ("a.png", "b.png", "c.png")])
    jobs = read(files, threading.Event())
    assert [(job.frame.camera, job.frame.index) for job in jobs] == [("a.png", 0), ("c.png", 0)]
    assert jobs[0].work.tracker is not jobs[1].work.tracker  # nobody walks from file to file
    assert files.done == 3
    assert len(files.failed) == 1
    assert "b.png" in files.failed[0]


def test_stop_ends_before_the_next_file(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 60, 3), np.uint8))
    stop = threading.Event()
    stop.set()
    assert read(FileList([tmp_path / "a.png"] * 3), stop) == []
