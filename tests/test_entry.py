"""Signals while the program loads, by a stand-in for the command line that sends them itself."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from streamer.entry import LONG_RUNNING, STOPPING


def loading(code: str, *words: str, first: str = "") -> tuple[int, str, str]:
    """Run ``code`` while the entry loads; exit code, output, complaints. ``first`` goes before."""
    program = f"""
import os, signal, sys, types
{first}
class Loading(types.ModuleType):
    def __getattr__(self, name):
        if name != "main":
            raise AttributeError(name)
        {code}
        return lambda: print("went on")
sys.modules["streamer.cli.commands"] = Loading("streamer.cli.commands")
sys.argv = ["streamer", *{words!r}]
from streamer.entry import main
main()
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def send(number: int) -> str:
    return f"os.kill(os.getpid(), {int(number)})"


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
@pytest.mark.parametrize("command", LONG_RUNNING)
def test_from_the_first_import_it_ends_as_asked(command: str, number: int) -> None:
    assert loading(send(number), command, "c.yaml") == (0, "", "")


def test_other_commands_keep_the_usual_meaning() -> None:
    assert loading(send(signal.SIGINT), "version") == (130, "", "")
    assert loading(send(signal.SIGTERM), "version") == (-signal.SIGTERM, "", "")


@pytest.mark.parametrize("command", ["run", "version"])
def test_what_is_ignored_stays_ignored(command: str) -> None:
    first = "; ".join(f"signal.signal({int(n)}, signal.SIG_IGN)" for n in STOPPING)
    code = "; ".join(send(number) for number in STOPPING)
    assert loading(code, command, first=first) == (0, "went on\n", "")


def test_when_all_is_loaded_ctrl_c_is_python_s_again() -> None:
    program = (
        "import signal, sys; sys.argv = ['streamer', 'version']\n"
        "from streamer.cli import commands as cli\n"
        "cli.main = lambda: print(signal.getsignal(2) is signal.default_int_handler)\n"
        "from streamer.entry import main; main()"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
