"""The benchmark of viewers, short: the real program, and viewers in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_viewers_get_pictures_and_leave_nothing_behind(tmp_path: Path) -> None:
    output = tmp_path / "viewers.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.viewers", "--cameras", "2", "--fps", "5",
         "--viewers", "6", "--width", "320", "--seconds", "3", "--no-stuck",
         "--output", str(output)],
        cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert found["left"] == {"threads": 0, "descriptors": 0}
    assert min(found["detected_fps"]) > 0.2
    least, best = found["pictures_fps"]
    assert least > 0.2
    assert best < 1.5 * least + 1, "all are served alike"
    assert found["sent"] >= 6 * 2
    assert "6 viewers of 2 cameras" in done.stdout
