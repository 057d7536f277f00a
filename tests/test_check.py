"""`streamer check` looks at each camera and closes what it opened."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from streamer.check import check_all
from streamer.config import parse_config


def test_lines_and_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    config = parse_config(
        {"cameras": {"b": {"source": "text.mp4"}, "a": {"source": "synthetic:?size=320x240"}}}, {}
    )
    before = threading.active_count()
    assert check_all(config, base_folder=tmp_path, environ={}) is False
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["good", "good", "bad "]
    assert "320x240" in lines[1]
    assert "text.mp4" in lines[2]
    assert threading.active_count() == before


def test_an_open_door_is_told_before_it_is_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model_path: Path
) -> None:
    config = parse_config(
        {
            "cameras": {"a": {"source": "synthetic:?size=320x240"}},
            "publish": {"zeromq": {"bind": "tcp://*:5555"}},
        },
        {},
    )
    assert check_all(config, base_folder=tmp_path, environ={}) is False
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines] == ["bad ", "good", "good"]
    assert "anybody could listen" in lines[0]
