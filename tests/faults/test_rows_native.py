"""A decoder that crashes: row 32. The camera is decoded in a process of its own."""

import os
import signal
import time

import pytest

from tests.faults.process import workers
from tests.faults.rows_stream import SEEN_S
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


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model_path: object) -> Played:
    row = Row("32", "decoder crashes", "live again in 2 s", row_32, {"isolate": True})
    return run_scene("decoder crashes", [row], tmp_path_factory.mktemp("native"))


def test_row(played, judge):
    judge(played.rows["32"])


@pytest.mark.parametrize("promise", ["O1", "O2", "O3", "O4"])
def test_the_rest_is_not_disturbed(promise, played, judge):
    judge(played.oracle[promise])


@pytest.mark.slow
def test_a_crash_loop_is_broken(tmp_path, model_path, judge):
    row = Row("32b", "decoder crashes at once, always", "6 starts in 30 s at most", row_32b,
              {"isolate": True})  # fmt: skip
    played = run_scene("crash loop", [row], tmp_path)
    judge(played.rows["32b"])
