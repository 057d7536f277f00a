"""SIGTERM and SIGINT end the program with 0 in 9 s from every state; a second one, at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.oracle import STOP_S
from tests.faults.passwords import USER, Auth, encoded_secret
from tests.faults.process import tree
from tests.faults.program import ROOT, Program, Sample
from tests.faults.proxy import FullBacklog
from tests.faults.record import Record
from tests.faults.server import Script, ScriptedCamera

PID_1 = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True)
class State:
    """A state to stop in: how the camera gets the program there, and how that is seen."""

    name: str
    script: Script
    reached: Callable[[Sample, ScriptedCamera], bool]
    """Whether it is in the state now, by a sample (of camera cam-0) and the camera."""
    cameras: int = 1
    host: str = ""
    fault: str = ""
    closed: bool = False
    black_hole: bool = False
    edited: bool = False
    """A camera is added to the configuration file, and the signal sent as soon as it is there."""


def _is(*states: str) -> Callable[[Sample, ScriptedCamera], bool]:
    return lambda sample, _: sample.state("cam-0") in states


def _asked(method: str, ago_s: float) -> Callable[[Sample, ScriptedCamera], bool]:
    """Not live, and the camera was asked so at least ``ago_s`` seconds ago."""

    def reached(sample: Sample, camera: ScriptedCamera) -> bool:
        asked = camera.said(method)
        return (
            sample.state("cam-0") == "connecting"
            and bool(asked)
            and (time.monotonic() - asked[-1].at >= ago_s)
        )

    return reached


def _silent(sample: Sample, _: ScriptedCamera) -> bool:
    """In the midst of a read that will not return for a while."""
    age_s = sample.cameras["cam-0"]["newest_age_s"]
    return sample.state("cam-0") == "stalled" or (age_s is not None and age_s > 1.5)


STATES = (
    State("connecting", Script(silent_from="accept"), _is("connecting")),
    State("connecting, SYN dropped", Script(), _is("connecting"), black_hole=True),
    State("opening", Script(silent_from="SETUP"), _asked("SETUP", 0.0)),
    State("first frame awaited", Script(act="keepalive"), _asked("PLAY", 2.0)),
    State("stalled", Script(act="stall", after=15), _silent),
    State("backing off", Script(), _is("backing_off"), closed=True),
    State("waiting after 401", Script(auth=Auth(password="no")), _is("backing_off", "refused")),
    State("live, inferring", Script(), _is("live")),
    State("inference paused", Script(), _is("live"), fault="pausable"),
    State("a change is applied", Script(), _is("live"), edited=True),
    State("name server hangs", Script(), _is("connecting"), host="x.test", fault="hanging_names"),
    State("24 cameras connecting", Script(silent_from="accept"), _is("connecting"), cameras=24),
)


@pytest.fixture(scope="module")
def ended(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model_path: object
) -> dict[tuple, Record]:
    """How each state ended by each signal that is asked for.

    A program is told to stop as soon as it is in its state, and the next is started while it
    ends: most of that is waiting.
    """
    asked = {}
    wanted = {item.callspec.params.get("number") for item in request.session.items
              if getattr(item, "callspec", None) and item.module is request.module}  # fmt: skip
    with ExitStack() as stack, ThreadPoolExecutor(2 * len(STATES)) as pool:
        for number in (signal.SIGTERM, signal.SIGINT):
            if number.name not in wanted:
                continue
            for state in STATES:
                program = _brought_into(state, tmp_path_factory.mktemp("stop"), stack)
                if state.fault == "pausable":
                    program.send(signal.SIGUSR1)
                    program.rest(0.5)
                asked[state.name, number.name] = pool.submit(_stopped, state, program, number)
                print(f"{number.name} while {state.name}", flush=True)
        return {key: future.result() for key, future in asked.items()}


def _brought_into(state: State, folder: Path, stack: ExitStack, **more: Any) -> Program:
    camera = stack.enter_context(ScriptedCamera(state.script))
    if state.closed or state.black_hole:
        camera.down()
    if state.black_hole:
        stack.enter_context(FullBacklog(camera.port))
    url = camera.url(USER, encoded_secret(), host=state.host)
    cameras = {f"cam-{n}": {"source": url} for n in range(state.cameras)}
    program = stack.enter_context(Program(cameras, folder, fault=state.fault, **more))
    reached = program.wait(lambda s: state.reached(s, camera), 20)
    assert reached, f"the state {state.name!r} was not reached: {program.now.cameras['cam-0']}"
    if state.edited:  # two cameras instead of one: the session is opened anew for other threads
        program.values["cameras"]["cam-1"] = {"source": url}
        program.write_config()
        assert program.wait(lambda s: "cam-1" in s.cameras, 15), "the edit was not followed"
    return program


def _stopped(state: State, program: Program, number: signal.Signals) -> Record:
    record = Record("46", f"{number.name} while {state.name}", "exit 0 in 9 s, ledger closed")
    ended = program.stop(number)
    record.measure("ended in", ended.seconds, at_most=STOP_S)
    record.require(ended.code == 0, f"exit code {ended.code}: {ended.err[-600:]}")
    ledger = ended.ledger()
    record.require(bool(ledger), "no ledger was printed")
    for name, (in_flight, closes) in ledger.items():
        record.require(closes and in_flight == 0, f"{name} ends with {in_flight} in flight")
    record.require(not program.seen.leaks, f"the secret shows: {program.seen.leaks[:1]}")
    return record


@pytest.mark.parametrize("number", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
@pytest.mark.parametrize("state", [state.name for state in STATES])
def test_it_ends_in_order(state, number, ended, judge):
    judge(ended[state, number])


@pytest.mark.parametrize("state", [STATES[0], STATES[7]], ids=lambda state: state.name)
def test_as_pid_1(state, tmp_path, model_path, judge):
    with ExitStack() as stack:
        program = _brought_into(state, tmp_path, stack, wrap=PID_1)
        assert program.pid != program.process.pid
        record = _stopped(state, program, signal.SIGTERM)
    record.fault = f"SIGTERM as PID 1 while {state.name}"
    judge(record)


LOADING = ("/_struct.", "/_multiarray_umath.", "/_pydantic_core.")
"""Libraries that the program loads on its way, from its first moments until it listens."""


@pytest.mark.parametrize("wrap", [(), PID_1], ids=["usual", "as PID 1"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_starting(number, wrap, tmp_path, judge):
    record = Record("46", f"{number.name}{' as PID 1' if wrap else ''} while starting", "exit 0")
    config = tmp_path / "streamer.yaml"
    config.write_text("cameras: {a: {source: 'synthetic:'}}\nhttp: null\npublish: {zeromq: null}")
    command = ["setpriv", "--pdeathsig", "KILL", *wrap, sys.executable, "-m", "streamer", "run"]
    for library in LOADING:
        process = subprocess.Popen(
            [*command, str(config)], cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            pid = _loading(library, process)
            began_at = time.monotonic()
            os.kill(pid, number)
            out, err = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            out, err = "", "it runs on"
        finally:
            process.kill()
            process.communicate()
        record.measure("ended in", time.monotonic() - began_at, at_most=STOP_S)
        record.require(process.returncode == 0, f"exit code {process.returncode}: {err[-600:]}")
        record.require("Traceback" not in out + err, f"a traceback: {err[-600:]}")
    judge(record)


def _loading(library: str, process: subprocess.Popen[str]) -> int:
    """Wait until the program has loaded ``library``; its PID, seen from here."""
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        for pid in tree(process.pid):
            try:
                if library in Path(f"/proc/{pid}/maps").read_text():
                    return pid
            except OSError:
                continue  # it ended, or becomes another program just now
        time.sleep(0.002)
    raise AssertionError(f"it never loaded {library}: {process.poll()}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(number, tmp_path, model_path, judge):
    record = Record("49", f"{number.name} twice while connecting", f"exit {128 + number} in 1 s")
    with ExitStack() as stack:
        program = _brought_into(STATES[0], tmp_path, stack)
        program.send(number)
        program.rest(0.5)
        began_at = time.monotonic()
        program.send(number)
        ended = program.ended(began_at)
    record.measure("ended in", ended.seconds, at_most=1.0)
    record.require(ended.code == 128 + number, f"exit code {ended.code}")
    judge(record)
