"""What one input size costs and finds: on the real clip, with the real model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.bench.point import recorded
from streamer.config import parse_config
from streamer.cores import usable_cores
from streamer.errors import DetectionFailed
from streamer.inference.retelling import from_rows
from streamer.testing import FakeDetector
from streamer.tune.measure import (
    CLIP_FRAMES,
    clip_pictures,
    clip_truth,
    costs_beside,
    look_at_clip,
    look_size,
    measure_here,
    measure_size,
    service_times,
)
from streamer.types import Faces, Picture
from streamer.vision.picture import ArrayPicture
from tests.evaluate import load_truth, match

CONFIG = parse_config(
    {"cameras": {"a": {"source": "demo:"}, "b": {"source": "demo:"}}, "device": "cpu"}, {}
)


@given(st.floats(0.5, 100))
def test_a_camera_sees_the_clip_at_its_true_speed(fps: float) -> None:
    pictures = clip_pictures(fps)
    assert abs(len(pictures) / fps - 10.0) <= 1 / fps
    for n, picture in enumerate(pictures):
        apart = abs(picture - n * 25 / fps) % CLIP_FRAMES
        assert min(apart, CLIP_FRAMES - apart) <= 0.5 + 1e-6


def test_smaller_faces_are_a_smaller_input() -> None:
    assert [look_size(640, px) for px in (100, 50, 25, 10)] == [640, 320, 160, 64]
    assert look_size(32, 10) == 32


def test_the_truth_is_that_of_the_clip() -> None:
    truth = load_truth()
    assert clip_truth() == [[face.bbox for face in faces] for faces in truth.frames]


def an_engine(workers: int, max_batch: int) -> Any:
    return SimpleNamespace(workers=workers, max_batch=max_batch)


def some_pictures(count: int = 4) -> list[Picture]:
    return [ArrayPicture(np.zeros((64, 64, 3), np.uint8)) for _ in range(count)]


def test_service_is_timed_as_it_would_be_given() -> None:
    detector = FakeDetector()
    found = service_times(an_engine(3, 1), detector, some_pictures(), cameras=2, seconds=0.0)
    assert found.keys() == {1}
    assert len(found[1]) == 2 * 5  # two of three workers have a camera each
    assert set(detector.batches) == {1}
    gpu = FakeDetector()
    times = service_times(an_engine(1, 16), gpu, some_pictures(), cameras=9, seconds=0.0)
    assert list(times) == [1, 2, 4, 8]
    assert set(gpu.batches) == {1, 2, 4, 8}
    assert all(seconds >= 0 for runs in times.values() for seconds in runs)


def test_a_detector_that_fails_says_so() -> None:
    def fail(_picture: Picture) -> Faces:
        raise DetectionFailed("no")

    with pytest.raises(DetectionFailed):
        service_times(an_engine(2, 1), FakeDetector(fail), some_pictures(), cameras=2, seconds=0)
    with pytest.raises(DetectionFailed):
        look_at_clip(FakeDetector(fail), [0], workers=1, seconds=9)


def test_the_clip_is_looked_at_in_its_order_and_no_longer_than_allowed() -> None:
    def shade(picture: Picture) -> Faces:
        return from_rows([[float(picture.bgr(32, 32).mean())] * 15])

    detector = FakeDetector(shade)
    wanted = [3, 0, 240, 77, 78, 79, 80, 81, 82, 83]
    found, decode_s = look_at_clip(detector, wanted, workers=2, seconds=60)
    assert sorted(found) == sorted(wanted)
    one_by_one, _ = look_at_clip(FakeDetector(shade), [77], workers=1, seconds=60)
    np.testing.assert_array_equal(found[77].boxes, one_by_one[77].boxes)
    assert 0 < decode_s < 1
    nothing, _ = look_at_clip(detector, wanted, workers=1, seconds=0.0)
    assert nothing == {}


def test_costs_are_none_where_nothing_was_found_to_measure_on() -> None:
    assert costs_beside([]) == (0.0, 0.0, 0.0)
    track_s, predict_s, publish_s = costs_beside([Faces.none()] * 20)
    assert 0 < predict_s <= track_s < 0.1
    assert 0 < publish_s < 0.1


def test_the_real_model_in_a_process_of_its_own(model_path: Path) -> None:
    pictures = [0, 50, 100]
    one = measure_size(
        CONFIG, 640, cameras=2, base_folder=Path(), pictures=pictures, seconds=0.0, look_s=60
    )
    assert (one.input_size, one.model, one.provider) == (640, "retinaface_mnet025", "cpu")
    assert one.on_cpu
    assert len(one.service_s[1]) >= 5
    assert sorted(one.found) == pictures
    for number, rows in one.found.items():
        faces = from_rows(rows)
        true = clip_truth()[number]
        assert len(match(faces.boxes, faces.scores, true)) >= len(true) - 1


def test_smaller_faces_are_looked_at_with_a_smaller_input(model_path: Path) -> None:
    values, _ = recorded(CONFIG, 1)
    one = measure_here(
        values=values, base_folder=str(Path.cwd()), input_size=320, looked_size=160, cameras=1,
        pictures=[100], seconds=0.0, look_s=60,
    )  # fmt: skip
    assert one.input_size == 320
    assert one.threads == usable_cores()  # one camera has all cores
    assert len(one.found[100]) < len(clip_truth()[100])  # at 160 the clip's faces are too small
