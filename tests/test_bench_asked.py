"""The benchmark of pictures that are sent, short: the real program, and senders beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_pictures_are_answered_while_cameras_go_on(tmp_path: Path) -> None:
    output = tmp_path / "asked.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.asked", "--cameras", "2", "--fps", "3",
         "--senders", "12", "--seconds", "3", "--output", str(output)],
        cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert min(found["detected_fps"]) > 0.2
    assert found["answers"]["200"] > 0
    assert set(found["answers"]) <= {"200", "503"}
    assert found["answer_s"] == sorted(found["answer_s"])
    assert "12 send to 2 cameras" in done.stdout
