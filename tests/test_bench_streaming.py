"""The benchmark of streaming accuracy: what it makes of what was heard, and its picture."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import streaming
from benchmarks.streaming_plot import Line, Panel, plot_svg
from benchmarks.streaming_real import WARM_S, Heard, Real, replay, score
from benchmarks.streaming_scenes import score_scene
from benchmarks.tracking_scenes import SETTINGS, scene
from streamer.inference.simulation import Machine, SimulatedCamera, simulate
from streamer.tune.measure import clip_truth
from streamer.tune.settings import Clip
from streamer.vision.streaming_score import StreamingScore
from tests.tune.test_settings import found_at, measured

FPS = 25.0


@cache
def clip() -> Clip:
    return Clip([measured(640, 0.02)], fps=FPS)


def heard(
    camera: str, frames: range, *, late_s: float = 0.03, wrong_by: float = 0.0, first: float = 0.0
) -> list[Heard]:
    """The truth of these frames of the clip, heard so late and so many pixels off."""
    found, truth = [], clip_truth()
    for seq, frame in enumerate(frames):
        boxes = [tuple(side + wrong_by for side in box) for box in truth[frame % 250]]
        at = first + frame / FPS
        found.append(Heard(camera, frame, at, at + late_s, True, boxes, [0.9] * len(boxes), seq))
    return found


def test_the_truth_heard_in_time_is_right_and_late_or_elsewhere_is_not() -> None:
    real = score(heard("a", range(200)), clip())
    assert real.score.f1 > 0.99
    assert real.detections_per_s == pytest.approx(25, abs=0.3)
    assert real.latency_ms == pytest.approx(30)
    assert real.lost == 0
    assert score(heard("a", range(200), late_s=1.5), clip()).score.f1 < 0.8
    assert score(heard("a", range(200), wrong_by=60.0), clip()).score.f1 < 0.4


def test_frames_that_were_dropped_count_as_well() -> None:
    """The truth is asked at every frame, also at those of which nothing was ever heard."""
    every_fifth = score(heard("a", range(0, 200, 5)), clip())
    all_of_them = score(heard("a", range(196)), clip())
    assert every_fifth.score.instants == all_of_them.score.instants
    assert every_fifth.score.f1 < all_of_them.score.f1
    assert every_fifth.detections_per_s == pytest.approx(5, abs=0.3)


def test_all_cameras_count_over_the_same_time() -> None:
    both = score(heard("a", range(200)) + heard("b", range(150), first=0.5), clip())
    seconds = 0.5 + 149 / FPS - (0.5 + WARM_S)
    assert both.score.instants == pytest.approx(2 * seconds * FPS, abs=3)
    some = [one for one in heard("a", range(200)) if one.seq % 10]
    assert score(some, clip()).lost == 19  # not the first, which nobody knows of


def test_scenes_are_scored_as_published_and_moved_on() -> None:
    frames = scene(next(s for s in SETTINGS if s.name == "walkers"), 1)[:120]
    plan = SimulatedCamera(FPS, 640, every=5)
    run = simulate([plan], Machine({640: {1: [0.02]}}), seconds=119.5 / FPS).cameras[0]
    told, moved = score_scene(frames, run)
    assert told.instants == moved.instants == 95
    assert 0.4 < told.f1 < moved.f1 <= 1.0


def bench(score_of_all: float, busy_share: float) -> Any:
    expected = SimpleNamespace(
        score=score_of_all, detections_per_s=5.0, latency_ms=20.0, busy_share=busy_share
    )
    return SimpleNamespace(simulated=lambda _case: expected)


def test_agreement_is_of_runs_that_nobody_disturbed() -> None:
    runs = {
        (640, 1, 1): Real(StreamingScore(90, 10, 10), 5.0, 25.0, 0),
        (640, 1, 2): Real(StreamingScore(80, 20, 20), 5.0, 25.0, 0),
        (640, 1, 4): Real(StreamingScore(10, 90, 90), 1.0, 900.0, 0, others=0.9),
    }
    found = streaming.agreement(bench(0.95, 0.5), runs)
    assert [case["score_off"] for case in found["cases"]] == [0.05, 0.15, 0.85]
    assert found["score_off"]["with_room"] == {"cases": 2, "median": 0.1, "worst": 0.15}
    assert found["score_off"]["without_room"] == {"cases": 0}
    assert found["disturbed"] == 1
    assert streaming.agreement(bench(0.95, 0.95), runs)["score_off"]["without_room"]["cases"] == 2


def test_the_picture_is_svg_with_every_score_in_it() -> None:
    panels = [
        Panel("<one>", "x", [Line("a & b", {1: 0.5, 2: 0.75}, ran={2: 0.7}),
                             Line("c", {1: 0.9, 3: 0.95}, dashed=True)]),
        Panel("two", "y", [Line("d", {4: 1.0})]),
    ]  # fmt: skip
    text = plot_svg(panels, title="a < b", note="so & so")
    root = ET.fromstring(text)
    name = "{http://www.w3.org/2000/svg}"
    titles = [circle.findtext(f"{name}title") for circle in root.iter(f"{name}circle")]
    assert titles == [
        "a & b, 1: 0.500 (simulated)", "a & b, 2: 0.750 (simulated)", "a & b, 2: 0.700 (run)",
        "c, 1: 0.900 (simulated)", "c, 3: 0.950 (simulated)", "d, 4: 1.000 (simulated)",
    ]  # fmt: skip
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for circle in root.iter(f"{name}circle"):
        assert 0 < float(circle.get("cx", "-1")) < width
        assert 0 < float(circle.get("cy", "-1")) < height
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_svg([Panel("empty", "x", [])], title="", note="")


def test_the_real_program_is_heard_and_scored(model_path: Path) -> None:
    """How good it is depends on the machine; that it is heard and compared does not."""
    found = [measured(320, 0.02, found=found_at(640))]
    cameras = [SimulatedCamera(10.0, 320, every=2)]
    real = replay(cameras, Clip(found, fps=10.0), seconds=1.5)
    assert real.score.instants > 0
    assert 0 < real.detections_per_s <= 6
    assert real.latency_ms > 0
