"""What people see in a terminal."""

from __future__ import annotations

import io
import json
import logging
import threading
from typing import Any

import pytest
from rich.console import Console

from streamer import console
from streamer.console import Watch, ledger_lines, ledger_table, live_table, print_ledger
from streamer.flow.channel import ChannelStats
from streamer.flow.ledger import Ledger
from streamer.flow.meters import Durations
from streamer.log import configure
from streamer.status import CameraStatus, SourceState, Status
from tests.printing import print_safely


def camera(name: str, **changes: Any) -> CameraStatus:
    values: dict[str, Any] = {
        "name": name,
        "source": SourceState("live", 0.0),
        "url": "demo:",
        "ledger": Ledger(10, {"detected": 5}, 3, {("infer", "queue_full"): 1}, 1, 0),
        "lane": ChannelStats(name, 1, 1, 1, 7, 5, {}),
        "faces_total": 12,
        "faces_now": 2,
        "capture_fps": 25.0,
        "detect_fps": 12.5,
        "latency": Durations().stats(),
        "latency_p50_s": 0.021,
        "latency_p95_s": None,
        "latency_p99_s": None,
        "newest_age_s": 0.1,
    }
    return CameraStatus(**{**values, **changes})


def status(*cameras: CameraStatus) -> Status:
    return Status("0", "b", "retinaface_mnet025", "cpu", "auto", 5.0, cameras, (), {})


def text(table: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=140).print(table)
    return out.getvalue()


def test_the_live_table_names_state_rates_and_drops() -> None:
    lost = SourceState("backing_off", 0.0, "refused", "nobody listens there")
    shown = text(live_table(status(camera("door"), camera("yard", source=lost))))
    door = next(line for line in shown.splitlines() if "door" in line)
    assert door.split() == ["door", "live", "25.0", "12.5", "2", "21", "-", "3", "1"]
    assert "backing off: refused" in shown


def test_without_a_terminal_cameras_that_did_not_end_have_lines_with_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = [camera(state, source=SourceState(state, 0.0)) for state in ("ended", "stopped")]
    assert console.LOG_EVERY_S == 60.0  # as docs/logs.md says: the log is for what changes
    monkeypatch.setattr(console, "LOG_EVERY_S", 0.0)
    asked, twice = [], threading.Event()

    def read() -> Status:
        asked.append(1)
        if len(asked) > 2:
            twice.set()
        return status(*over, camera("door"))

    out, handlers = io.StringIO(), list(logging.getLogger().handlers)
    try:
        configure(out, json=True)
        with Watch(read):
            assert twice.wait(20)
    finally:
        print_safely()
        logging.getLogger().handlers = handlers
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines
    assert {line["camera"] for line in lines} == {"door"}
    assert (lines[0]["p50_ms"], lines[0]["p99_ms"]) == (21, None)


def test_the_ledger_says_when_it_closes_and_when_not() -> None:
    good = text(ledger_table(status(camera("door"))))
    assert "yes" in good
    assert "infer/queue_full 1" in good
    lost = Ledger(10, {"detected": 5}, 3, {}, 0, 0)
    bad = text(ledger_table(status(camera("door", ledger=lost))))
    assert "NO, 2 lost" in bad


def test_print_ledger_fits_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_ledger(status(camera("door"), camera("a-camera-with-a-rather-long-name")))
    out = capsys.readouterr().out
    assert all(len(line) <= 160 for line in out.splitlines())
    assert "a-camera-with-a-rather-long-name" in out


def test_a_narrow_terminal_gets_every_figure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ledger_lines(status(camera("door")))
    assert all(len(line) <= 40 for line in lines)
    text_of_all = "\n".join(lines)
    for figure in ("captured  10", "detected  5", "skipped   3", "infer/queue_full 1", "yes"):
        assert figure in text_of_all
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    print_ledger(status(camera("door")))
    assert "captured  10" in capsys.readouterr().out
