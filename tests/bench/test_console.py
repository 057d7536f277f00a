"""`streamer bench` on points that are made up: the search, the table, JSON, what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from streamer.bench.console import SCHEMA, bench, search, warnings
from streamer.capacity import Point
from streamer.config import Config
from streamer.errors import ConfigError, DetectionFailed
from tests.test_capacity import GOOD

FREE = 1 << 40


def pretend(fits: int) -> object:
    """A machine that carries ``fits`` cameras."""

    def measure(_config: Config, count: int, *, base_folder: Path, seconds: float) -> Point:
        assert base_folder.is_dir()
        assert seconds == 5.0
        return replace(
            GOOD, cameras=count, memory=(200 + 20 * count) << 20, memory_free=FREE,
            p95_ms=50.0 if count <= fits else 250.0, model="m",
        )  # fmt: skip

    return measure


def test_the_table_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(None, environ={}, measure=pretend(5)) is True  # type: ignore[arg-type]
    shown = capsys.readouterr()
    assert shown.err == ""  # no bar where nobody watches
    assert "5 cameras at p95 under 100 ms" in shown.out
    assert "with 6 cameras: p95 of 250 ms is not under 100 ms" in shown.out
    assert "bottleneck: inference; " in shown.out
    assert shown.out.count(" fits ") == 4  # 1, 2, 4 and 5, not 8, 6
    assert shown.out.count("too many") == 2
    assert "none of yours was dialled" in shown.out


def test_not_even_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(None, environ={}, measure=pretend(0)) is False  # type: ignore[arg-type]
    assert "not even one camera at p95 under 100 ms; try a" in capsys.readouterr().out


def test_more_may_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(None, environ={}, most=3, measure=pretend(99)) is True  # type: ignore[arg-type]
    assert "3 cameras at p95 under 100 ms; more may fit" in capsys.readouterr().out


def test_json_is_the_only_output_and_holds_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "streamer.yaml"
    path.write_text("cameras:\n  door:\n    source: rtsp://user:hunter2@192.0.2.1/x\n")
    lines: list[str] = []
    assert bench(
        path, environ={}, as_json=True, print_line=lines.append, measure=pretend(3)  # type: ignore[arg-type]
    )  # fmt: skip
    assert capsys.readouterr().out == ""
    assert "hunter2" not in lines[0]
    assert "192.0.2.1" not in lines[0]
    told = json.loads(lines[0])
    assert (told["schema"], told["cameras"], told["more_may_fit"]) == (SCHEMA, 3, False)
    assert told["bottleneck"]["name"] == "inference"
    assert [point["passed"] for point in told["points"]] == [True, True, False, True]


def test_a_number_that_memory_is_too_small_for_is_not_run() -> None:
    ran: list[int] = []

    def measure(count: int) -> Point:
        ran.append(count)
        return replace(GOOD, cameras=count, memory=count * 100)

    points = search(measure, limit_ms=100.0, most=64, memory_free=lambda: 500)
    assert ran == [1, 2, 4, 5]
    assert {point.cameras for point in points if point.short_of_memory} == {6, 8}


def test_one_camera_that_cannot_be_run_is_no_result() -> None:
    def crash(*_: object, **__: object) -> Point:
        return Point(1, problem="its process ended with 1: x")

    with pytest.raises(DetectionFailed, match="ended with 1"):
        bench(None, environ={}, measure=crash)


@pytest.mark.parametrize("wrong", [{"limit_ms": 0.0}, {"limit_ms": 5001.0}, {"most": 0}])
def test_wrong_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="give others"):
        bench(None, environ={}, measure=pretend(1), **wrong)  # type: ignore[arg-type]


def test_what_makes_it_doubtful_is_said() -> None:
    assert warnings([GOOD]) == []
    said = warnings([replace(GOOD, others=1.5), replace(GOOD, device_warning="on the CPU; x")])
    assert said[0] == "on the CPU; x"
    assert said[1].endswith("run this again when they are quiet")
