"""What /openapi.json promises, tried against the running program by schemathesis.

With FUZZ=whole in the environment (``make fuzz-http``) every phase of it, a minute or more.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.app import App
from streamer.config import parse_config
from tests.web.synthetic import until

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "control-" + "c" * 20


@pytest.fixture
def program(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The whole program, with room for one camera more: each that is added would be dialled."""
    monkeypatch.setattr("streamer.roster.MAX_CAMERAS", 2)
    config = parse_config(
        {
            "cameras": {"well": {"source": "synthetic:?fps=2&size=320x192", "input_size": 320}},
            "model": {"input_size": 320},
            "device": "cpu",
            "publish": {"zeromq": None},
            "http": {
                "bind": "127.0.0.1:0",
                "requests_per_s": 100_000,
                "tokens": {"control": TOKEN},
                "cameras": {"networks": ["127.0.0.0/8"], "sources": ["network"]},
            },
        },
        {},
    )
    app = App(config, base_folder=ROOT, environ={})
    runner = threading.Thread(target=app.run)
    runner.start()
    try:
        until(lambda: any(c.detect_fps for c in app.status().cameras), 60)
        yield app
    finally:
        app.stop()
        runner.join(20)
        assert app.http is not None
        assert app.http._changing is not None
        app.http._changing._fitting.shutdown(wait=True)  # an engine that is being retuned
    assert not runner.is_alive()


@pytest.mark.timeout(900)
def test_schemathesis_finds_no_fault(program: App, tmp_path: Path) -> None:
    assert program.http is not None
    whole = os.environ.get("FUZZ") == "whole"
    examples, phases = ("20", "examples,coverage,fuzzing") if whole else ("3", "fuzzing")
    done = subprocess.run(
        [
            sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()",
            "--config-file", str(Path(__file__).with_name("schemathesis.toml")),
            "run", f"{program.http.url}openapi.json",
            "--header", f"Authorization: Bearer {TOKEN}",
            "--exclude-path", "/api/v1/events",  # it never ends; test_told.py hears it
            "--exclude-path", "/api/v1/cameras/{name}/live.mjpg",  # nor does that; test_feeds.py
            "--max-examples", examples, "--seed", "7", "--no-color", "--request-timeout", "60",
            "--phases", phases,
            "--generation-database", "none",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert re.search(r"(\d+) generated, \1 passed", done.stdout), done.stdout[-3000:]
