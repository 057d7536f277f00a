"""Signals end the program: in order, at once, and while it loads."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from streamer.signals import STOPPING
from tests.e2e.program import running

SIGNALS = pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)


@pytest.fixture(autouse=True)
def the_model(model_path: Path) -> None:
    """The program needs the real model."""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "c.yaml"
    file.write_text("cameras: {a: {source: 'synthetic:'}}\nhttp: null\npublish: {zeromq: null}")
    return str(file)


def wait_for(program: subprocess.Popen[str], word: str) -> None:
    assert program.stderr is not None
    while word not in program.stderr.readline():
        assert program.poll() is None


def wait_until_caught(program: subprocess.Popen[str], number: int) -> None:
    """Wait until the process has a handler of its own for the signal."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status = Path(f"/proc/{program.pid}/status").read_text()
        caught = re.search(r"SigCgt:\s*([0-9a-f]+)", status)
        # SIGINT has Python's own handler before ours, so SIGTERM tells.
        if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)
    raise AssertionError("it never looked after its signals")


@SIGNALS
def test_the_first_ends_in_order(config: str, number: int) -> None:
    with running("run", config) as program:
        wait_for(program, "camera_live")
        program.send_signal(number)
        out, err = program.communicate(timeout=20)
    assert program.returncode == 0, err
    assert "Ledger" in out


@SIGNALS
def test_while_it_loads_it_is_no_crash(config: str, number: int) -> None:
    with running("run", config) as program:
        wait_until_caught(program, number)
        program.send_signal(number)
        out, err = program.communicate(timeout=20)
    assert program.returncode == 0, err
    assert "Traceback" not in out + err


def test_two_in_a_row_always_end_it(config: str) -> None:
    for _ in range(4):
        with running("run", config) as program:
            wait_for(program, "started")
            program.send_signal(signal.SIGINT)
            program.send_signal(signal.SIGTERM)
            program.communicate(timeout=15)
        # In order when it was quick enough, else by the second.
        assert program.returncode in (0, 128 + signal.SIGINT, 128 + signal.SIGTERM)
