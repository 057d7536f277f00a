"""A function in a process of its own: its answer, its errors, and every way to end without one."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from streamer.apart import Crashed, run_apart
from streamer.errors import DeviceError

SECRET = "rtsp://user:hunter2@host/x"


def answer(payload: bytes, *, add: list[int]) -> dict[str, object]:
    print("a library that talks")
    os.write(1, b"and one that talks in C")
    return {"bytes": len(payload), "sum": sum(add), "pid": os.getpid()}


def refuse(_payload: bytes) -> None:
    raise DeviceError("there is none; buy one")


def break_down(_payload: bytes) -> None:
    raise ZeroDivisionError(f"of {SECRET}\x1b[31m")


def die(_payload: bytes, *, number: int) -> None:
    os.kill(os.getpid(), number)


def leave(_payload: bytes) -> None:
    sys.stderr.flush()
    os._exit(7)


def hang(_payload: bytes) -> None:
    time.sleep(600)


def test_the_answer_comes_back_whatever_is_printed() -> None:
    found = run_apart(answer, b"\0\n{" * 100_000, timeout_s=60, add=[1, 2])
    assert (found["bytes"], found["sum"]) == (300_000, 3)
    assert found["pid"] != os.getpid()


def test_what_a_user_can_mend_is_raised_as_it_was() -> None:
    with pytest.raises(DeviceError, match=r"^there is none; buy one$"):
        run_apart(refuse, timeout_s=60)


def test_a_bug_is_one_line_without_secrets() -> None:
    with pytest.raises(Crashed) as caught:
        run_apart(break_down, timeout_s=60)
    text = str(caught.value)
    assert "ended with 1" in text
    assert "ZeroDivisionError" in text
    assert "hunter2" not in text
    assert text.isprintable()


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGILL, "SIGILL: it was built for a newer"), (signal.SIGSEGV, "SIGSEGV"),
     (signal.SIGKILL, "SIGKILL: memory"), (signal.SIGRTMIN + 3, "signal 37")],
)  # fmt: skip
def test_a_crash_is_named(number: int, words: str) -> None:
    with pytest.raises(Crashed, match=words):
        run_apart(die, timeout_s=60, number=int(number))


def test_silence_is_a_crash_too() -> None:
    with pytest.raises(Crashed, match="ended with 7: it said nothing"):
        run_apart(leave, timeout_s=60)


def test_a_hang_is_stopped() -> None:
    began = time.monotonic()
    with pytest.raises(Crashed, match="did not end within 2 s"):
        run_apart(hang, timeout_s=2)
    assert time.monotonic() - began < 30


def test_without_a_python_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Crashed, match="No such file"):
        run_apart(hang, timeout_s=5)
