"""What `streamer tune` prints: lines that can be set, figures, no secret, and its doubts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamer.capacity import Point
from streamer.config import Camera, Config, load_config, parse_config
from streamer.errors import ConfigError
from streamer.tune.check import Checked
from streamer.tune.console import SCHEMA, tune, yaml_lines
from streamer.tune.measure import SizeMeasured
from streamer.tune.settings import Expected, Setting
from tests.tune.test_run import Pretended, ran_well

CONFIG = """
model: {input_size: 320}
cameras:
  door: {source: "rtsp://user:hunter2@192.0.2.1/x", every: 5}
  "1": {source: "rtsp://user:hunter2@192.0.2.2/x", input_size: 480}
  "on": {source: "demo:", max_fps: 2}
  clip: {source: "clip.mp4", every: 2}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "streamer.yaml"
    file.write_text(CONFIG)
    return file


def run(path: Path, **settings: Any) -> tuple[bool, list[str]]:
    lines: list[str] = []
    how = {"measure": Pretended(), "checked_by": ran_well, "environ": {}, "fps": 5.0} | settings
    return tune(path, print_line=lines.append, **how), lines


def test_the_table_and_the_lines_to_set(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, _ = run(path)
    shown = capsys.readouterr()
    assert good
    assert shown.err == ""  # no bar where nobody watches
    assert "now" in shown.out
    assert "mixed" in shown.out
    assert "best" in shown.out
    assert "set this in the configuration:" in shown.out
    assert "it was run: " in shown.out
    assert "taken for granted:" in shown.out
    for secret in ("hunter2", "192.0.2"):
        assert secret not in shown.out


def test_json_is_the_only_output_and_its_lines_are_of_the_configuration(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, lines = run(path, as_json=True)
    assert good
    assert capsys.readouterr().out == ""
    assert "hunter2" not in lines[0]
    assert "192.0.2" not in lines[0]
    told = json.loads(lines[0])
    assert (told["schema"], told["cameras"], told["fps"]) == (SCHEMA, 3, 5.0)
    best = told["recommended"]
    assert best["holds"] is True
    assert 0 < best["score"] <= 1
    assert best["input_size"] in {one["input_size"] for one in told["measured"]}
    assert told["configured"]["mixed"] is True
    assert told["checked"]["problems"] == []
    assert any(best["score"] == one["score"] for one in told["tried"])
    assert "found" not in told["measured"][0]


def test_the_lines_make_every_live_camera_what_was_recommended(path: Path) -> None:
    before = yaml.safe_load(CONFIG)
    _, lines = run(path, as_json=True)
    best = json.loads(lines[0])["recommended"]
    changes = yaml.safe_load("\n".join(best["yaml"]))
    for name, camera in changes.get("cameras", {}).items():
        before["cameras"][name] |= camera
    before["model"] |= changes.get("model", {})
    after = parse_config(before, {})
    for name in ("door", "1", "on"):
        camera = after.cameras[name]
        assert (camera.input_size or after.model.input_size) == best["input_size"]
        assert (camera.every, camera.max_fps) == (1, best["max_fps"])
    assert after.cameras["clip"].every == 2  # files are left as they are


@pytest.mark.parametrize("max_fps", [None, 7.5])
def test_only_what_differs_is_to_be_set(path: Path, max_fps: float | None) -> None:
    config = load_config(path, {})
    door = config.cameras["door"]
    lines = yaml_lines(config, {"door": door}, Setting(320, max_fps))
    wanted = ["cameras:", "  door:", "    every: 1"]
    assert lines == wanted + ([] if max_fps is None else ["    max_fps: 7.5"])
    as_is = Camera(source="demo:", max_fps=max_fps)
    assert yaml_lines(config, {"door": as_is}, Setting(320, max_fps)) == []
    limited = Camera(source="demo:", max_fps=3)
    assert "max_fps: null" in yaml_lines(config, {"door": limited}, Setting(320, None))[-1]


def test_a_setting_that_falls_short_is_no_success(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ran_badly(_config: Config, cameras: Any, _expected: Expected, **_how: Any) -> Checked:
        return Checked(Point(len(cameras), others=1.5), 1.0, 900.0, ["they took 900 ms"])

    good, _ = run(path, checked_by=ran_badly)
    shown = capsys.readouterr().out
    assert not good
    assert "it fell short when it was run: they took 900 ms" in shown
    assert "other programs took up to 1.5 of 1 cores" in shown


def test_too_many_cameras_are_said_to_be_too_many(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, _ = run(path, cameras=60, measure=Pretended(0.1), check=False)
    shown = capsys.readouterr().out
    assert not good
    assert "watch fewer cameras" in shown
    assert "each of 60 cameras" in shown
    assert "it was not run" in shown


def test_an_age_that_cannot_be_kept_is_named(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text('cameras: {door: {source: "rtsp://192.0.2.1/x", max_age_s: 0.05}}')
    good, _ = run(path, measure=Pretended(1.0), check=False)
    shown = capsys.readouterr().out
    assert not good
    assert "no setting can keep max_age_s here" in shown
    assert "watch fewer cameras" not in shown
    assert "`motion`: it is counted on that something moves all the time" in shown


def test_what_the_device_said_is_passed_on(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(path, measure=Pretended(warning="no GPU was found; mend the driver"))
    assert capsys.readouterr().out.count("no GPU was found; mend the driver") == 1


def test_times_that_cannot_be_true_are_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Disturbed(Pretended):
        def __call__(self, config: Config, input_size: int, **how: Any) -> SizeMeasured:
            one = super().__call__(config, input_size, **how)
            return replace(one, service_s={1: [0.2]}) if input_size == 640 else one

    run(path, measure=Disturbed())
    assert "input size 640 seemed slower than 960: something" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong", [{"fps": 0.0}, {"fps": 101.0}, {"face_px": 9}, {"face_px": 101}, {"cameras": 0},
              {"look_s": 0.0}]
)  # fmt: skip
def test_wrong_numbers_are_refused(path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="give others"):
        run(path, **wrong)


def test_files_alone_are_refused(path: Path) -> None:
    path.write_text("cameras: {a: {source: clip.mp4}}")
    with pytest.raises(ConfigError, match="none is live"):
        run(path)
