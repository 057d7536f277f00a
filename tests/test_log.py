"""Log lines hold no secret and go where they should."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from streamer.log import BURST, EVERY_S, MOST_KEYS, Seldom, configure, get_logger
from streamer.testing import ManualClock
from streamer.types import SourceUrl
from tests.printing import print_safely

SECRET = "hunter2-canary"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers = list(logging.getLogger().handlers)
    yield
    print_safely()
    logging.getLogger().handlers = handlers


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


def test_what_is_repeated_is_said_seldom_and_says_how_often_it_was_not() -> None:
    clock = ManualClock()
    seldom = Seldom(clock)

    def said(event: str, camera: str = "door") -> int | None:
        try:
            line = seldom(None, "", {"stage": "infer", "event": event, "camera": camera})
        except structlog.DropEvent:
            return None
        return int(line.get("left_out", 0))

    assert [said("a") for _ in range(BURST + 2)] == [0] * BURST + [None, None]
    assert said("b") == 0  # another event, or camera, has room of its own
    assert said("a", "hall") == 0
    clock.advance(EVERY_S / 2)
    assert said("a") is None
    clock.advance(EVERY_S / 2)
    assert said("a") == 3
    assert said("a") is None
    clock.advance(1000 * EVERY_S)
    assert [said("a") for _ in range(BURST + 1)] == [1] + [0] * (BURST - 1) + [None]


def test_what_is_counted_is_bounded() -> None:
    seldom = Seldom(ManualClock())
    for number in range(3 * MOST_KEYS):
        seldom(None, "", {"event": "x", "camera": str(number)})
    assert len(seldom._seen) == MOST_KEYS


def test_a_stream_of_lines_is_cut_where_it_is_written() -> None:
    out = io.StringIO()
    configure(out)
    for _ in range(500):
        get_logger("infer").warning("detection_failed", camera="door")
    assert BURST <= len(out.getvalue().splitlines()) <= BURST + 5


def test_what_libraries_say_is_a_line_of_ours_without_secrets() -> None:
    out = io.StringIO()
    configure(out)
    configure(out)  # once only, however often
    logging.getLogger("some.library").warning("cannot open %s", f"rtsp://u:{SECRET}@h/x")
    logging.getLogger("some.library").info("chatter")
    try:
        raise KeyError(f"rtsp://u:{SECRET}@h/x")
    except KeyError:
        logging.getLogger("another").exception("oh")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["event"], first["level"], first["name"]) == (
        "library_says", "warning", "some.library",
    )  # fmt: skip
    assert first["text"].startswith("cannot open rtsp://")
    assert (second["level"], "KeyError" in second["exception"]) == ("error", True)
    assert SECRET not in out.getvalue()
