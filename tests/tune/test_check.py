"""What is recommended is run: what falls short is said, and what is run is what was recommended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from streamer.capacity import Point
from streamer.config import Config, parse_config
from streamer.tune.check import check_apart, judge, with_settings
from streamer.tune.settings import Expected, Setting

EXPECTED = Expected(
    Setting(320, 5.0), detections_per_s=5.0, latency_ms=40.0, age_ms=240.0, dropped_share=0.0,
    busy_share=0.4, score=0.9, recall=0.9, precision=0.9,
)  # fmt: skip
GOOD = Point(
    2, seconds=5.0, due=150, captured=150, wanted=50, detected=50, p50_ms=30.0, p95_ms=45.0,
    used={"inference": 0.5}, cores=2.0,
)  # fmt: skip


def config() -> Config:
    cameras = {
        "door": {"source": "rtsp://user:hunter2@192.0.2.1/x", "every": 4, "priority": 2},
        "yard": {"source": "demo:", "input_size": 640, "fill": False},
    }
    return parse_config({"cameras": cameras, "model": {"confidence": 0.7}}, {})


def test_what_comes_as_expected_is_no_problem() -> None:
    checked = judge(GOOD, EXPECTED)
    assert (checked.detections_per_s, checked.latency_ms, checked.problems) == (5.0, 45.0, [])


def test_what_falls_short_is_said_with_its_figures() -> None:
    few = judge(replace(GOOD, detected=40), EXPECTED)
    assert few.problems == ["4.0 detections a second came and 5.0 were expected"]
    late = judge(replace(GOOD, p95_ms=200.0), EXPECTED)
    assert late.problems == ["they took 200 ms and 40 were expected"]
    lossy = judge(replace(GOOD, dropped={"infer/queue_full": 10}), EXPECTED)
    assert lossy.problems == ["20% of the frames to look at were dropped"]
    dead = judge(Point(2, problem="it was ended by SIGKILL"), EXPECTED)
    assert dead.problems[0] == "it was ended by SIGKILL"
    assert dead.detections_per_s == 0.0


def test_every_camera_gets_the_setting_and_keeps_the_rest() -> None:
    given = config()
    changed = with_settings(given, list(given.cameras.values()), Setting(480, 7.5))
    assert changed.model.input_size == 480
    assert changed.model.confidence == 0.7
    assert {(c.every, c.max_fps, c.input_size) for c in changed.cameras.values()} == {
        (1, 7.5, None)
    }
    assert [c.priority for c in changed.cameras.values()] == [2, 1]
    assert [c.fill for c in changed.cameras.values()] == [True, False]
    assert given.cameras["door"].every == 4


def test_it_is_run_with_recorded_cameras_of_that_rate(model_path: Path) -> None:
    given = config()
    checked = check_apart(
        given, list(given.cameras.values()), EXPECTED, fps=10.0, base_folder=Path(), seconds=2.0
    )
    point = checked.point
    assert point.problem == ""
    assert point.cameras == 2
    # A slow machine gives less, and never more: 10 frames a second each, 5 of them looked at.
    assert 0 < point.captured <= 2 * 10 * (point.seconds + 0.5)
    assert 0 < checked.detections_per_s <= 5.6
