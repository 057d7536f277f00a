"""One point of `streamer bench`: recorded cameras in place of yours, run and measured for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamer.apart import Crashed
from streamer.bench import point as bench_point
from streamer.bench.point import measure, measure_apart, processor_time, recorded
from streamer.capacity import Point
from streamer.config import Config
from streamer.errors import ModelError

SECRET = "rtsp://user:hunter2@192.0.2.1/x"


def config(model: Path | None = None, **cameras: dict[str, Any]) -> Config:
    return Config(
        cameras=cameras or {"a": {"source": "synthetic:?size=128x64&fps=20"}},
        model={"path": None if model is None else str(model), "input_size": 64},
        device="cpu",
        publish={"zeromq": {"bind": "tcp://127.0.0.1:5555"}},
    )


def test_cameras_are_recordings_with_the_settings_of_yours() -> None:
    given = config(
        a={"source": SECRET, "every": 3, "input_size": 320},
        b={"source": "synthetic:?size=320x240&fps=10&frames=5&live=0", "max_fps": 4},
        c={"source": "clip.mp4"},
    )
    values, fps = recorded(given, 4)
    cameras = Config(**values).cameras
    assert [camera.url.scheme for camera in cameras.values()] == ["demo", "synthetic"] + [
        "demo"
    ] * 2
    assert fps == 25 + 10 + 25 + 25
    assert (cameras["cam0"].every, cameras["cam0"].input_size) == (3, 320)
    assert (cameras["cam1"].source, cameras["cam1"].max_fps) == (
        "synthetic:?size=320x240&fps=10", 4.0,
    )  # fmt: skip
    assert cameras["cam3"].every == 3  # they take turns
    assert cameras["cam3"].source != cameras["cam0"].source  # out of step
    text = json.dumps(values)
    for private in ("hunter2", "192.0.2.1", "clip.mp4", ":5555", "8080"):
        assert private not in text


def test_a_point_is_measured_in_a_process_of_its_own(model_path: Path) -> None:
    point = measure_apart(config(model_path), 2, base_folder=Path.cwd(), seconds=1.0)
    assert point.problem == ""
    assert (point.cameras, point.provider) == (2, "cpu")
    assert point.captured > 0
    assert point.wanted == point.captured
    assert point.detected > 0
    assert abs(point.due - 40 * point.seconds) <= 1
    assert point.p50_ms is not None
    assert point.p95_ms is not None
    assert point.p50_ms <= point.p95_ms
    assert set(point.used) == {"decode", "inference", "publish", "other"}
    assert point.memory > 10 << 20


def test_a_model_that_is_not_there_is_said_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        measure_apart(config(tmp_path / "none.onnx"), 1, base_folder=tmp_path, seconds=1.0)


def test_skipped_frames_are_not_wanted(model_path: Path) -> None:
    given = config(model_path, a={"source": "synthetic:?size=128x64&fps=40", "every": 4})
    values, fps = recorded(given, 1)
    found = measure(
        b"", values=values, base_folder=".", fps=fps, warm_s=0.1, seconds=1.0,
    )  # fmt: skip
    point = Point(**found)
    assert 0 < point.wanted < point.captured / 2
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("said", "short"),
    [("its process was ended by SIGKILL: memory may have run out", True), ("with 1: x", False)],
)
def test_a_process_that_breaks_down_is_a_point_with_a_problem(
    monkeypatch: pytest.MonkeyPatch, said: str, short: bool
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise Crashed(said)

    monkeypatch.setattr(bench_point, "run_apart", crash)
    point = measure_apart(config(), 3, base_folder=Path.cwd(), seconds=1.0)
    assert (point.cameras, point.problem, point.short_of_memory) == (3, said, short)


def test_processor_time_is_told_by_station() -> None:
    before = processor_time()
    sum(number * number for number in range(2_000_000))
    after = processor_time()
    assert after["other"] > before["other"]  # pytest's own thread is no stage
    assert after["decode"] >= 0.0
