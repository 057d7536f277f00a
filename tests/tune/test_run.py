"""`streamer tune` on measurements that are made up: what is measured, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamer.capacity import Point
from streamer.config import Camera, Config, parse_config
from streamer.errors import DetectionFailed
from streamer.inference.simulation import SimulatedCamera
from streamer.tune.check import Checked
from streamer.tune.measure import SizeMeasured, clip_pictures
from streamer.tune.run import Tuned, find, live_cameras, look_time_s, simulated
from streamer.tune.settings import INPUT_SIZES, Expected, Setting
from tests.tune.test_settings import FPS, found_at, measured

SLOW_FPS = 5.0
"""Of cameras where the rate does not matter: fewer frames are sooner simulated."""


def config(**cameras: dict[str, Any]) -> Config:
    given = cameras or {"a": {"source": "demo:"}, "b": {"source": "demo:"}}
    return parse_config({"cameras": given}, {})


class Pretended:
    """Measures a machine that takes ``each_s`` at 640, and looks at the clip for no time at all."""

    def __init__(self, each_s: float = 0.02, *, pictures: int = 250, **settings: object) -> None:
        self.each_s = each_s
        self.pictures = pictures
        self.settings = settings
        self.asked: list[dict[str, Any]] = []

    def __call__(self, _config: Config, input_size: int, **how: Any) -> SizeMeasured:
        self.asked.append({"input_size": input_size, **how})
        rows = {n: rows for n, rows in found_at(input_size).items() if n < self.pictures}
        each_s = self.each_s * (input_size / 640) ** 2
        return measured(input_size, each_s, found=rows, **self.settings)


def ran_well(_config: Config, cameras: Any, expected: Expected, **_how: Any) -> Checked:
    return Checked(Point(len(cameras)), expected.detections_per_s, expected.latency_ms, [])


def found(measure: Pretended, given: Config | None = None, **settings: Any) -> Tuned:
    given = given or config()
    how: dict[str, Any] = {
        "fps": SLOW_FPS,
        "face_px": 100,
        "look_s": 60.0,
        "checked_by": None,
    } | settings
    say = how.pop("say", lambda *_: None)
    cameras = list(given.cameras.values())
    return find(given, cameras, Path(), measure=measure, say=say, **how)


def test_files_are_not_tuned() -> None:
    given = config(
        file={"source": "clip.mp4"},
        url={"source": "file:///tmp/clip.mp4"},
        whole={"source": "synthetic:?live=0"},
        live={"source": "synthetic:"},
        demo={"source": "demo:"},
        webcam={"source": "/dev/video0"},
        door={"source": "rtsp://192.0.2.1/x"},
    )
    assert list(live_cameras(given)) == ["live", "demo", "webcam", "door"]


def test_cameras_are_simulated_as_they_are_configured() -> None:
    given = config(
        a={"source": "demo:", "every": 3, "input_size": 320, "priority": 2.0, "fill": False},
        b={"source": "demo:", "max_fps": 4.0, "pacing": "all"},
    )
    a, b = simulated(given, list(given.cameras.values()), FPS)
    assert a == SimulatedCamera(
        FPS, 320, phase_s=0.0, every=3, fill=False, max_age_s=1.0, priority=2.0
    )
    assert (b.size, b.max_fps, b.max_age_s, round(b.phase_s, 3)) == (640, 4.0, None, 0.618)


def test_every_size_is_measured_and_the_configured_one_too() -> None:
    said: list[tuple[str, int, int]] = []
    measure = Pretended()
    given = config(a={"source": "demo:"}, b={"source": "demo:", "input_size": 416})
    it = found(measure, given, say=lambda *words: said.append(words), checked_by=ran_well)
    sizes = [one["input_size"] for one in measure.asked]
    assert sizes == sorted({*INPUT_SIZES, 416})
    assert all(one["cameras"] == 2 for one in measure.asked)
    assert (it.cameras, it.left_out, it.mixed) == (2, [], True)
    assert it.now is not None
    assert it.now.setting == Setting(640, None)
    assert it.best in it.tried
    assert it.checked is not None
    assert [step for _, step, _ in said] == list(range(8))
    assert {steps for _, _, steps in said} == {8}


def test_what_would_take_too_long_is_left_out_and_said() -> None:
    measure = Pretended(0.5)
    it = found(measure, fps=FPS, look_s=60.0)
    sizes = [one["input_size"] for one in measure.asked]
    assert sizes == [320, 480]  # 9 and 21 s; 640 would take 38 more
    assert [words.split(" was")[0] for words in it.left_out] == [
        "input size 640", "input size 960", "input size 1280",
    ]  # fmt: skip
    assert "give --seconds" in it.left_out[0]
    assert it.now is None
    assert {each.setting.input_size for each in it.tried} == {320, 480}


def test_a_model_that_is_too_slow_to_tune_with_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DetectionFailed, match=r"give --seconds \d+ to try it, or use a smaller"):
        found(Pretended(pictures=99))


def test_the_time_to_look_is_by_pixels_and_by_who_looks() -> None:
    count = len(set(clip_pictures(FPS)))
    one = measured(640, 0.02, service_s={1: [0.02]})
    assert look_time_s(one, 640, FPS, 100) == pytest.approx(0.02 * count / 2)
    assert look_time_s(one, 1280, FPS, 100) == pytest.approx(0.08 * count / 2)
    assert look_time_s(one, 1280, FPS, 50) == pytest.approx(0.02 * count / 2)
    alone = measured(640, 0.02, service_s={1: [0.02]}, threads=2)
    assert look_time_s(alone, 640, FPS, 100) == pytest.approx(0.02 * count)


def test_what_is_checked_is_what_is_recommended() -> None:
    seen: list[tuple[Any, ...]] = []

    def check(given: Config, cameras: list[Camera], best: Expected, **how: Any) -> Checked:
        seen.append((len(cameras), best, how["fps"]))
        return ran_well(given, cameras, best)

    it = found(Pretended(), checked_by=check)
    assert seen == [(2, it.best, SLOW_FPS)]
