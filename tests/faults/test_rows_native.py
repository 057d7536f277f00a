"""A decoder that crashes (row 32), in a process of its own, and one that hangs, in ours."""

import os
import signal
import time

import pytest

from tests.faults.process import workers
from tests.faults.rows_stream import SEEN_S, STALL_S
from tests.faults.scene import Played, Row, Take, run_scene

CRASHES = 7


def _child(take: Take) -> int:
    found = workers(take.program.pid)
    return found[0] if found else 0


def row_32(take: Take) -> None:
    child = _child(take)
    take.record.require(child > 0, "no child process decodes the camera")
    if not child:
        return
    before = take.program.now
    killed_at = time.monotonic()
    os.kill(child, signal.SIGSEGV)
    take.wait(lambda s: s.losses(take.name) > before.losses(take.name), 5.0, "a loss")
    take.record.measure("live again after", take.live() - killed_at, at_most=2.0 + SEEN_S)
    take.record.note(f"called {take.program.now.cameras[take.name]['losses']}")


def row_32b(take: Take) -> None:
    """A camera whose pictures crash every decoder must not keep the machine busy with starts."""
    began_at = time.monotonic()
    starts = set()
    while time.monotonic() - began_at < 30.0 and len(starts) < CRASHES:
        child = _child(take)
        if child and child not in starts:
            starts.add(child)
            os.kill(child, signal.SIGSEGV)
        take.program.rest(0.2)
    take.record.measure("starts in 30 s", len(starts), at_most=6, unit="")
    take.record.require(len(starts) > 1, "it was not started again")


def row_f2(take: Take) -> None:
    """No timeout ends a hang in C: only who looks from outside sees it, and says ``stalled``.

    Silence of the camera itself is a loss as soon as it is a stall: rows 1 to 4.
    """
    losses = take.program.now.losses(take.name)
    began_at = time.monotonic()
    take.program.send(signal.SIGUSR1)
    stalled = take.wait(lambda s: s.state(take.name) == "stalled", 15.0, "the state stalled")
    take.record.measure("seen after", stalled.at - began_at, at_most=STALL_S + SEEN_S)
    reason = stalled.cameras[take.name]["reason"]
    take.record.require(reason == "stall", f"the reason is {reason!r}")
    gauge = f'streamer_camera_state{{camera="{take.name}",state="stalled"}} 1.0'
    take.wait(lambda _: gauge in take.program.seen.metrics, 20.0, "the state in the metrics")
    told = take.wait(
        lambda _: any(c["state"] == "stalled" for c in list(take.program.seen.changes[take.name])),
        5.0,
        "an event that says so",
    )
    take.record.require(told.state(take.name) == "stalled", "it did not stay so")
    lines = [line for line in take.log_lines(began_at) if '"camera_stalled"' in line]
    take.record.require(len(lines) == 1, f"{len(lines)} lines in the log")
    take.record.note("so say status, metric, event and log")
    freed_at = time.monotonic()
    take.program.send(signal.SIGUSR1)
    take.record.measure("live again after", take.live() - freed_at, at_most=5.0)
    take.record.require(take.program.now.losses(take.name) == losses, "it was counted as lost")


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model_path: object) -> Played:
    row = Row("32", "decoder crashes", "live again in 2 s", row_32, {"isolate": True})
    return run_scene("decoder crashes", [row], tmp_path_factory.mktemp("native"))


def test_row(played, judge):
    judge(played.rows["32"])


@pytest.mark.parametrize("promise", ["O1", "O2", "O3", "O4"])
def test_the_rest_is_not_disturbed(promise, played, judge):
    judge(played.oracle[promise])


def test_a_hang_is_seen(tmp_path, model_path, judge):
    row = Row("F2", "decoder hangs, and no timeout ends it", "stalled in 5 s, everywhere", row_f2)
    played = run_scene("decoder hangs", [row], tmp_path, fault="stuck")
    judge(played.rows["F2"])
    for promise in played.oracle.values():
        judge(promise)


@pytest.mark.slow
def test_a_crash_loop_is_broken(tmp_path, model_path, judge):
    row = Row("32b", "decoder crashes at once, always", "6 starts in 30 s at most", row_32b,
              {"isolate": True})  # fmt: skip
    played = run_scene("crash loop", [row], tmp_path)
    judge(played.rows["32b"])
