"""`streamer bench`, run as a user does; what it finds depends on the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.program import streamer


@pytest.fixture(autouse=True)
def the_model(model_path: Path) -> None:
    """It measures the real model."""


def test_bench_says_how_many_cameras_fit_and_how_it_was_found() -> None:
    done = streamer("bench", "--json", "--most", "1", "--seconds", "1", "--latency", "5000")
    found = json.loads(done.stdout)
    assert found["schema"] == 1
    assert found["cameras"] == (1 if done.returncode == 0 else 0), done.stderr


def test_bench_refuses_what_cannot_be() -> None:
    done = streamer("bench", "--most", "0")
    assert done.returncode == 2
    assert "most" in done.stderr
