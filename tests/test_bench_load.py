"""The benchmark of loads that change: what it makes of what was heard, and one short real run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.load import back_after_s, oldest_news_s, oldest_result_s, per_s
from benchmarks.load_run import Heard


def heard(camera: str, instants: list[float], late_s: float = 0.05) -> list[Heard]:
    return [Heard(camera, at, at + late_s) for at in instants]


def at_fps(fps: float, since: float, until: float) -> list[float]:
    return [since + n / fps for n in range(round((until - since) * fps))]


def test_the_oldest_result_is_the_oldest_when_it_was_heard() -> None:
    assert oldest_result_s([]) == 0
    results = [*heard("a", [1.0, 2.0]), *heard("b", [1.5], late_s=0.4)]
    assert oldest_result_s(results) == pytest.approx(0.4)


def test_news_grow_old_until_the_next_of_the_same_camera_is_heard() -> None:
    results = sorted([*heard("a", [1.0, 3.0]), *heard("b", [1.5, 2.0])], key=lambda one: one.at)
    assert oldest_news_s(results) == pytest.approx(2.05)
    assert oldest_news_s(heard("a", [1.0])) == 0


def test_the_full_rate_is_back_when_a_whole_second_of_frames_was_looked_at() -> None:
    half, whole = at_fps(10, 0.0, 2.0), at_fps(20, 2.0, 5.0)
    results = heard("a", [*half, *whole])
    assert per_s(results, 0.0, 2.0) == pytest.approx(10)
    assert back_after_s(results, 0.0, 5.0, 20.0) == pytest.approx(2.0)
    assert back_after_s(results, 2.0, 5.0, 20.0) == 0
    assert back_after_s(results, 0.0, 2.5, 20.0) is None


def test_the_program_is_run_cameras_come_and_go_and_nothing_is_unaccounted_for(
    model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del model_path
    monkeypatch.setattr(load, "WARM_S", 1.0)
    found = load.doubled(2, 3.0, 1.0, 2.0)
    assert set(found["frames"]) == {"cam0", "cam1", "cam2", "cam3"}
    for frames in found["frames"].values():
        assert frames["captured"] > 0
        assert frames["closes"]
    assert found["oldest_result_ms"] > 0
