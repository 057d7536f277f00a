"""Whatever befalls three cameras, and in whatever order: afterwards all are live within 35 s."""

import os
import random
import time
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.oracle import others
from tests.faults.passwords import USER, encoded_secret
from tests.faults.process import machine_cpu_s
from tests.faults.program import Program
from tests.faults.proxy import FaultProxy
from tests.faults.record import Record
from tests.faults.scene import BACK_S
from tests.faults.schedule import LONGEST_S, Victim, draw, play
from tests.faults.server import ScriptedCamera

SEED = 20_240_601
NAMES = ("wild-1", "wild-2", "wild-3")


@given(st.integers(), st.floats(1, 300), st.integers(1, 5))
@settings(max_examples=50)
def test_a_schedule_is_long_enough_and_the_same_for_the_same_seed(seed, seconds, victims):
    drawn = draw(seed, seconds, victims)
    assert drawn == draw(seed, seconds, victims)
    for steps in drawn:
        spent_s = sum(step.wait_s + step.seconds for step in steps)
        assert seconds <= spent_s <= seconds + LONGEST_S + 4.0


def _run(seed: int, seconds: float, tmp_path, judge) -> None:
    record = Record(
        "3.12" if seconds > 60 else "3.12a",
        f"random faults for {seconds:g} s on three cameras, seed {seed}",
        f"all live in {BACK_S:g} s afterwards",
    )
    with ExitStack() as stack:
        victims = []
        for _ in NAMES:
            camera = stack.enter_context(ScriptedCamera())
            victims.append(Victim(camera, stack.enter_context(FaultProxy(camera.port))))
        cameras = {
            name: {"source": v.camera.url(USER, encoded_secret(), port=v.proxy.port)}
            for name, v in zip(NAMES, victims, strict=True)
        }
        program = stack.enter_context(Program(cameras, tmp_path))
        program.need(lambda s: all(s.state(n) == "live" for n in NAMES), 30)
        program.rest(2.0)
        start = program.now
        schedules = draw(seed, seconds, len(victims))
        for steps in schedules:
            print(f"seed {seed}: {', '.join(step.fault for step in steps)}", flush=True)
        worked_s = machine_cpu_s() - sum(os.times()[:2])
        play(schedules, victims, time.monotonic() + seconds)
        healed_at, healed = time.monotonic(), program.now
        back = program.wait(
            lambda s: all(
                s.state(n) == "live" and s.captured(n) > healed.captured(n) for n in NAMES
            ),
            BACK_S,
        )
        end = program.now
        worked_s = machine_cpu_s() - sum(os.times()[:2]) - worked_s
        states = {name: program.now.state(name) for name in NAMES}
        ended = program.stop()
    record.require(back is not None, f"after {BACK_S:g} s: {states}")
    if back is not None:
        record.measure("all live after", back.at - healed_at, at_most=BACK_S)
    record.note(f"{sum(end.losses(name) for name in NAMES)} losses")
    rates = others("", program, start, end, worked_s)
    record.measured += rates.measured
    record.failures += rates.failures
    record.require(not program.seen.unclosed, f"a ledger is open: {program.seen.unclosed[:1]}")
    record.require(ended.code == 0, f"exit code {ended.code}")
    record.require(not program.seen.leaks, f"the secret shows: {program.seen.leaks[:1]}")
    judge(record)


def test_some_seconds_of_anything(tmp_path, model_path, judge):
    _run(SEED, 25.0, tmp_path, judge)


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_five_minutes_of_anything(tmp_path, model_path, judge):
    _run(random.randrange(10**6), 300.0, tmp_path, judge)
