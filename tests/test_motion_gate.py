"""The motion gate in the running program, on a scene as a camera sends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.motion_scenes import FPS, Scene, Visit, encode, in_order
from streamer.app import App
from streamer.status import CameraStatus
from streamer.testing import CollectingSink
from streamer.types import Result
from tests.test_cameras import config

VISITS = (Visit("fade", 260, 900, 400, 2),)
SCENE = Scene("one comes and goes", in_order(VISITS)[-1] + 1, noise=3, visits=VISITS)
COMES_S = in_order(VISITS)[0]
STANDS_S = COMES_S + VISITS[0].comes_s


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "scene.mkv"
    path.write_bytes(encode(SCENE))
    return path


def watched(clip: Path, **camera: Any) -> tuple[list[Result], CameraStatus]:
    """Every result of the clip, and how the camera stood at the end."""
    sink = CollectingSink()
    cameras = {"cam": {"source": str(clip), "input_size": 320, **camera}}
    app = App(config(cameras), base_folder=clip.parent, environ={}, extra_sinks={"all": sink})
    app.run()
    results = [outcome for outcome in sink.outcomes if isinstance(outcome, Result)]
    (status,) = app.status().cameras
    assert status.ledger.closes
    assert len(results) + status.ledger.skipped == status.ledger.captured
    return results, status


def test_a_still_scene_is_hardly_looked_at_and_who_comes_is_seen_at_once(
    model_path: Path, clip: Path
) -> None:
    """And who stands still stays: between two looks the faces are where they were."""
    del model_path
    every, _ = watched(clip)
    gated, status = watched(clip, motion=True)
    first = next(r.frame.index for r in every if len(r.tracks))
    seen = next(r.frame.index for r in gated if len(r.tracks))
    assert (seen - first) / FPS <= 0.3
    still = [r for r in gated if FPS <= r.frame.index < COMES_S * FPS]
    assert sum(r.status == "detected" for r in still) <= 0.2 * len(still)
    stands = [r for r in gated if (STANDS_S + 0.2) * FPS <= r.frame.index < (STANDS_S + 2) * FPS]
    assert all(len(r.tracks) == 1 for r in stands)
    assert len({int(r.tracks.ids[0]) for r in stands}) == 1
    held = [r for r in stands if r.status == "tracked"]
    assert len(held) >= 5
    boxes = {tuple(r.tracks.faces.boxes[0].tolist()) for r in held}
    assert len(boxes) <= 3, "it stands where it was found, and drifts nowhere"
    assert [len(r.tracks) for r in gated[-FPS:]] == [0] * FPS
    assert status.still == status.ledger.settled["tracked"] > 0.4 * status.ledger.captured
    assert 1 <= status.wakes <= 4


def test_without_fill_still_frames_are_skipped(model_path: Path, clip: Path) -> None:
    del model_path
    results, status = watched(clip, motion=True, fill=False, max_fps=5)
    assert 0 < status.still < status.ledger.skipped
    assert all(r.status == "detected" for r in results)
