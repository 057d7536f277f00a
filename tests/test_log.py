"""Log lines hold no secret and go where they should."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from streamer.log import configure, get_logger
from streamer.types import SourceUrl

SECRET = "hunter2-canary"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_lines_without_the_secret() -> None:
    out = io.StringIO()
    configure(out)
    url = SourceUrl(f"rtsp://u:{SECRET}@h/x?token={SECRET}")
    get_logger("capture").warning("camera_lost", camera="a", url=url, text=url.reveal())
    line = json.loads(out.getvalue())
    assert (line["event"], line["level"], line["stage"], line["camera"]) == (
        "camera_lost", "warning", "capture", "a",
    )  # fmt: skip
    assert SECRET not in out.getvalue()


def test_a_traceback_is_redacted_too() -> None:
    for as_json in (True, False):
        out = io.StringIO()
        configure(out, json=as_json)
        try:
            raise ValueError(f"cannot open rtsp://u:{SECRET}@h/x")
        except ValueError as error:
            get_logger("app").error("stage_crashed", exc_info=error)
        assert "ValueError" in out.getvalue()
        assert SECRET not in out.getvalue()


def test_lines_for_people() -> None:
    out = io.StringIO()
    configure(out, json=False)
    get_logger("app").info("started", cameras=3)
    assert "started" in out.getvalue()
    assert "cameras=3" in out.getvalue()


def test_standard_error_is_looked_up_at_each_write(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    get_logger("app").info("started")
    assert json.loads(capsys.readouterr().err)["event"] == "started"
