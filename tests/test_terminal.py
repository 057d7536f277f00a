"""Words to the person at the terminal, also where nobody can read them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streamer.errors import SourceLost
from streamer.terminal import complain, complain_of_stage
from tests.e2e.program import ROOT


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("the door is shut; open it")
    assert capsys.readouterr().err == "streamer: the door is shut; open it\n"


def test_a_stage_is_named_and_a_fault_of_ours_is_told_as_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost = SourceLost("eof", "it ended; look at it")
    lost.add_note("in stage 'capture:door'")
    complain_of_stage(lost)
    assert capsys.readouterr().err == ("streamer: it ended; look at it (in stage 'capture:door')\n")
    bug = ZeroDivisionError()
    bug.add_note("in stage 'infer-0'")
    complain_of_stage(bug)
    assert "ZeroDivisionError in stage 'infer-0': this is a fault" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("redirection", "code"),
    [("2>&-", 0), ("2>/dev/full", 0), (">&-", 0), (">/dev/full", 1), ("2> >(head -c 1 >&2)", 0)],
)
def test_outputs_that_cannot_be_written_stop_no_camera(
    redirection: str, code: int, model_path: object
) -> None:
    command = f"{sys.executable} -m streamer demo --seconds 3"
    options = "--no-browser --http 127.0.0.1:0 --zeromq tcp://127.0.0.1:*"
    done = subprocess.run(
        ["bash", "-c", f"{command} {options} {redirection}"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if redirection.startswith("2"):
        assert "entrance" in done.stdout
        assert "yes" in done.stdout


def test_help_into_a_full_disk_is_a_sentence() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m streamer config schema >/dev/full"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [("resolve:x", "taken apart\n"), ("capture:door", ""), ("restream:door.1", "")],
)
def test_python_is_not_taken_apart_under_a_camera_that_is_left_behind(name: str, said: str) -> None:
    program = (
        "import atexit, threading\nfrom streamer.terminal import end\n"
        "atexit.register(print, 'taken apart')\n"
        "dials = threading.Event().wait\n"
        f"threading.Thread(target=dials, name={name!r}, daemon=True).start()\nend(3)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (3, said)
