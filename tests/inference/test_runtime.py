"""The door to onnxruntime: nothing is said home, and nothing is left in anybody's home folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

OPEN = """
import sys
from pathlib import Path
from streamer.inference.session import open_session
open_session(Path(sys.argv[1]).read_bytes(), device="cpu", threads=1, spin=False)
"""


def _left_by(code: str, model: Path, home: Path) -> list[str]:
    home.mkdir()
    environ = {**os.environ, "HOME": str(home)}
    for name in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        environ.pop(name, None)
    subprocess.run([sys.executable, "-c", code, str(model)], env=environ, check=True, timeout=60)
    return sorted(str(path.relative_to(home)) for path in home.rglob("*"))


def test_a_session_leaves_nothing_behind_and_says_nothing(model_path: Path, tmp_path: Path) -> None:
    # A build that does say something leaves .cache/Microsoft (1.32.0, without what we set).
    assert _left_by(OPEN, model_path, tmp_path / "home") == []
