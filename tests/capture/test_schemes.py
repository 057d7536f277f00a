from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamer.capture import schemes
from streamer.capture.opencv import PictureFileSource, WebcamSource
from streamer.capture.pyav import PyAvSource
from streamer.capture.schemes import check_url, make_source
from streamer.capture.synthetic import DemoSource, SyntheticSource
from streamer.errors import ConfigError
from streamer.types import SourceUrl
from tests.capture.clips import make_clip


@pytest.mark.parametrize(
    ("text", "kind", "live"),
    [("rtsp://u:p@camera/x", PyAvSource, True), ("RTSPS://camera/x", PyAvSource, True),
     ("http://camera/x", PyAvSource, True), ("https://camera/x.jpg", PyAvSource, True),
     ("clips/a.mp4", PyAvSource, False), ("file:a.PNG", PictureFileSource, False),
     ("/x/a.jpeg", PictureFileSource, False), ("webcam:0", WebcamSource, True),
     ("/dev/video1", WebcamSource, True), ("synthetic:", SyntheticSource, True),
     ("synthetic:?live=0", SyntheticSource, False)],
)  # fmt: skip
def test_each_scheme_has_its_source(text: str, kind: type, live: bool) -> None:
    source = make_source(SourceUrl(text), camera="door", base_folder=Path("/etc/streamer"))
    assert type(source) is kind
    assert source.live is live


def test_the_demo_is_the_shipped_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "demo.mp4", frames=2)
    monkeypatch.setattr(schemes, "resource", lambda name: clip if name == "demo.mp4" else None)
    source = make_source(SourceUrl("demo:?delay=0"), camera="door", base_folder=Path())
    assert type(source) is DemoSource
    assert next(source.frames(threading.Event())).picture.width == 320

    def missing(name: str) -> Path:
        raise FileNotFoundError(f"{name} does not ship; reinstall")

    monkeypatch.setattr(schemes, "resource", missing)
    with pytest.raises(ConfigError, match="reinstall"):
        make_source(SourceUrl("demo:"), camera="door", base_folder=Path())


def test_relative_files_are_found_from_the_base_folder(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", frames=2)
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((4, 4, 3), np.uint8))
    for text, count in [("a.mp4", 2), ("b.png", 1), (f"file://{tmp_path}/a.mp4", 2)]:
        source = make_source(SourceUrl(text), camera="door", base_folder=tmp_path)
        assert len(list(source.frames(threading.Event()))) == count


def test_bad_urls_are_configuration_errors_without_the_secret() -> None:
    with pytest.raises(ConfigError) as error:
        make_source(SourceUrl("rtsp://u:hunter2@/x"), camera="door", base_folder=Path())
    assert str(error.value).startswith("cameras.door.source: ")
    assert "hunter2" not in str(error.value)
    assert check_url("rtsp://u:hunter2@/x") is not None


def test_checking_urls_loads_nothing_heavy() -> None:
    code = (
        "import sys, streamer.capture.schemes as s; s.check_url('rtsp://a/b');"
        "print([m for m in ('av', 'cv2', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
