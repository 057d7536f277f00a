"""`streamer models`, run as a user does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamer.config import DEVICES
from tests.e2e.program import streamer


@pytest.fixture(autouse=True)
def the_model(model_path: Path) -> None:
    """All of these need the real model."""


def test_models_list_path_and_verify() -> None:
    listed = streamer("models", "list")
    assert listed.returncode == 0, listed.stderr
    for name in ("retinaface_mnet025", "retinaface_resnet50"):
        assert name in listed.stdout
    path = streamer("models", "path").stdout.strip()
    assert Path(path).is_file()
    assert "retinaface_mnet025: good" in streamer("models", "verify").stdout
    assert path in streamer("models", "pull").stdout
    wrong = streamer("models", "path", "nosuch")
    assert wrong.returncode == 2
    assert "there is no model 'nosuch'; use one of retinaface_mnet025" in wrong.stderr


def test_bench_measures_what_is_here(tmp_path: Path) -> None:
    plot = tmp_path / "models.svg"
    done = streamer("models", "bench", "--json", "--device", "cpu", "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    assert "retinaface_mnet025" in json.dumps(json.loads(done.stdout))
    assert "<svg" in plot.read_text()


def test_a_device_that_does_not_exist_is_a_wrong_argument() -> None:
    ended = streamer("models", "bench", "--device", "quux")
    assert ended.returncode == 2
    assert f"--device must be {DEVICES}, not 'quux'" in ended.stderr
    assert DEVICES in " ".join(streamer("models", "bench", "--help").stdout.split())
