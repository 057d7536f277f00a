"""Many cameras at once: all away (row 20, and the CPU of row 9), and half-open again and again."""

import time
from bisect import bisect_left

import pytest

from tests.faults.clips import moving
from tests.faults.passwords import USER, encoded_secret
from tests.faults.program import HEALTHY, Program
from tests.faults.proxy import FaultProxy
from tests.faults.record import Record
from tests.faults.server import Script, ScriptedCamera

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CAMERAS = 100
SETTLED_S = 20.0
"""By then the waits of most cameras have grown to 16 s and more."""
HALF_OPEN = 50


def test_a_hundred_cameras_that_are_away(tmp_path, model_path, judge):
    record = Record("20", f"{CAMERAS} cameras away at once", "20 % dial in any second at most")
    with ScriptedCamera() as camera, FaultProxy(camera.port) as proxy:
        proxy.mode = "refuse"
        url = camera.url(USER, encoded_secret(), port=proxy.port)
        cameras = {f"cam-{n}": {"source": url} for n in range(CAMERAS)}
        with Program(cameras, tmp_path) as program:
            program.rest(SETTLED_S)
            start = program.now
            program.rest(40.0)
            end = program.now
            ended = program.stop()
    dials = sorted(proxy.dials)
    late = [at for at in dials if at >= dials[0] + SETTLED_S]
    most = max(bisect_left(late, at + 1.0) - n for n, at in enumerate(late))
    record.measure("most in one second", most / CAMERAS * 100, at_most=20.0, unit="%")
    record.note(f"{len(dials)} dials in {end.at - dials[0]:.0f} s")
    for name, fps in ((name, 20.0) for name in HEALTHY):
        rate = (end.detected(name) - start.detected(name)) / (end.at - start.at)
        record.measure(f"{name} moved", abs(rate / fps - 1) * 100, at_most=5.0, unit="%")
    record.measure("ended in", ended.seconds, at_most=9.0)
    record.require(ended.code == 0, f"exit code {ended.code}")
    record.require(not program.seen.leaks, f"the secret shows: {program.seen.leaks[:1]}")
    judge(record)


def test_cameras_that_are_away_cost_nothing(tmp_path, model_path, judge):
    record = Record("9c", "20 cameras whose port is closed", "CPU under 1 % of a core each")
    with ScriptedCamera() as camera:
        camera.down()
        cameras = {f"cam-{n}": {"source": camera.url()} for n in range(20)}
        with Program(cameras, tmp_path, healthy=False) as program:
            program.rest(15.0)
            start = program.now
            program.rest(20.0)
            end = program.now
    spent = (end.usage.cpu_s - start.usage.cpu_s) / (end.at - start.at) * 100 / 20
    record.measure("each, our own polling included", spent, at_most=1.0, unit="%")
    judge(record)


def test_half_open_connections_leave_nothing(tmp_path, model_path, judge):
    record = Record("4b", f"half-open {HALF_OPEN} times", "no file and no thread is left")
    moving()
    with ScriptedCamera() as camera, FaultProxy(camera.port) as proxy:
        url = camera.url(USER, encoded_secret(), port=proxy.port)
        names = [f"cam-{n}" for n in range(10)]
        cameras = {name: {"source": url, "every": 10} for name in names}
        with Program(cameras, tmp_path) as program:
            program.need(lambda s: all(s.state(n) == "live" for n in names), 30)
            program.rest(3.0)
            before = program.now
            camera.script = Script(act="stall", after=3)
            proxy.cut("reset")

            def stalls() -> int:
                return sum(program.now.losses(name, "stall") for name in names)

            program.wait(lambda _: stalls() >= HALF_OPEN, 150.0)
            camera.heal()
            healed_at = time.monotonic()
            back = program.wait(lambda s: all(s.state(n) == "live" for n in names), 45.0)
            program.rest(3.0)
            after = program.now
    record.note(f"{stalls()} stalls")
    record.require(stalls() >= HALF_OPEN, "there were too few stalls")
    record.require(back is not None, "not all were live again")
    if back is not None:
        record.measure("all live after", back.at - healed_at, at_most=40.0)
    files = after.usage.fds - before.usage.fds
    record.measure("more files", files, at_most=2, unit="")
    record.measure("more threads", after.usage.threads - before.usage.threads, at_most=0, unit="")
    grown = (after.usage.own - before.usage.own) / 2**20
    record.measure("more memory", grown, at_most=10.0, unit="MB")
    judge(record)
