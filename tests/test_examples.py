"""The programs of examples/ do what docs/extending.md says, run as a reader would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamer.resources import resource
from tests.e2e.program import ROOT, free_port

EXAMPLES = ROOT / "examples"


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True, text=True, timeout=120, cwd=EXAMPLES,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 40


def test_a_detector_of_ones_own(tmp_path: Path) -> None:
    picture = np.zeros((120, 160, 3), np.uint8)
    cv2.circle(picture, (100, 60), 8, (255, 255, 255), -1)
    cv2.imwrite(str(tmp_path / "lamp.png"), picture)
    said = run("own_detector.py", str(tmp_path / "lamp.png"))
    assert "'detected': 1" in said
    box = [float(word) for word in said.splitlines()[-1].strip("[]").split()]
    assert np.allclose(box, [84, 44, 116, 76], atol=6), said


def test_a_source_of_ones_own(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.full((48, 64, 3), 80 * number, np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    said = run("own_source.py", str(tmp_path))
    assert "captured=3" in said


def test_a_sink_of_ones_own(tmp_path: Path, model_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(
        f"cameras: {{clip: {{source: '{resource('demo.mp4')}', every: 5, input_size: 320}}}}\n"
        f"http: {{bind: '127.0.0.1:{free_port()}'}}\n"
        "publish: {zeromq: null}\n"
    )
    lines = run("own_sink.py", str(file), "30").splitlines()
    assert any(line.startswith("face ") and line.endswith(" at clip") for line in lines)
    assert lines[-1] == "the bell is off"
