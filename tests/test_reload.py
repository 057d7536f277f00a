"""A running program follows its configuration file."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import free_port, get, running, wait_until_up

SMALL = '{source: "synthetic:?fps=10&size=320x192", input_size: 320}'


def written(http: int, cameras: str, **more: str) -> str:
    lines = [f'http: {{bind: "127.0.0.1:{http}"}}', "publish: {zeromq: null}"]
    return "\n".join([*lines, *(f"{k}: {v}" for k, v in more.items()), f"cameras: {cameras}"])


@pytest.fixture(autouse=True)
def the_model(model_path: Path) -> None:
    """The program needs the real model."""


def test_cameras_follow_the_file_and_a_wrong_edit_changes_nothing(tmp_path: Path) -> None:
    http = free_port()
    file = tmp_path / "c.yaml"
    file.write_text(written(http, f"{{a: {SMALL}, b: {SMALL}}}"))

    def cameras() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(get(f"http://127.0.0.1:{http}/api/v1/status"))[
            "cameras"
        ]
        return found

    def until(true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline, cameras()
            time.sleep(0.1)

    with running("run", str(file)) as program:
        wait_until_up(f"http://127.0.0.1:{http}/healthz", program)
        until(lambda: all(camera["detect_fps"] for camera in cameras()))
        captured = cameras()[0]["ledger"]["captured"]

        replacement = tmp_path / "new.yaml"  # as editors do: write beside it, then rename
        replacement.write_text(written(http, f"{{a: {SMALL}, c: {SMALL}}}"))
        replacement.rename(file)
        until(lambda: [camera["name"] for camera in cameras()] == ["a", "c"])
        until(lambda: all(camera["detect_fps"] for camera in cameras()))
        assert cameras()[0]["ledger"]["captured"] > captured  # a went on, it did not begin anew

        for wrong in (
            written(http, f'{{a: {SMALL}, d: {{source: "rtps://u:canary@h/x"}}}}'),
            written(http, f"{{d: {SMALL}}}", device="cpu"),
            "cameras: [",
        ):
            file.write_text(wrong)
            time.sleep(1.5)
        file.unlink()
        time.sleep(1.5)
        assert [camera["name"] for camera in cameras()] == ["a", "c"]

        file.write_text(written(http, f"{{c: {SMALL}}}"))
        until(lambda: [camera["name"] for camera in cameras()] == ["c"])
        program.send_signal(signal.SIGTERM)
        out, err = program.communicate(timeout=20)
    assert program.returncode == 0, err
    assert err.count("config_refused") >= 3
    assert err.count("config_applied") == 2
    assert "device: cannot change while streamer runs" in err
    assert "canary" not in out + err
