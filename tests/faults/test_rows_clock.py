"""The wall clock jumps by an hour, forward and back: row 24. Nothing may happen."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.scene import Played, Row, Take, run_scene

SHIM = Path(__file__).with_name("wallclock.c")
HOUR_S = 3600


def _jump(file: Path, seconds: int) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(str(seconds))
    fresh.replace(file)


def play(take: Take) -> None:
    file = take.program.config.with_name("wallclock")
    before = take.program.now
    for seconds in (HOUR_S, 0, -HOUR_S, 0):
        _jump(file, seconds)
        jumped_at = time.monotonic()
        take.program.rest(3.0)
        fresh = [e for e in list(take.program.seen.events[take.name]) if e["at"] > jumped_at + 0.5]
        shift = fresh[-1]["wall_at"] - time.time() if fresh else 0.0
        take.record.require(abs(shift - seconds) < 60, "the clock of the program did not jump")
    after = take.program.now
    rate = (after.captured(take.name) - before.captured(take.name)) / (after.at - before.at)
    take.record.measure("frames missing", abs(rate / 10.0 - 1) * 100, at_most=5.0, unit="%")
    lost = sum(after.losses(name) - before.losses(name) for name in after.cameras)
    take.record.measure("losses", lost, at_most=0, unit="")
    negative = [
        line
        for line in take.program.seen.metrics.splitlines()
        if line.startswith("streamer_") and line.rpartition(" ")[2].startswith("-")
    ]
    take.record.require(not negative, f"negative metrics: {negative[:2]}")


CLOCK = (Row("24", "wall clock jumps by an hour, twice", "no loss, no frame missing", play),)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model_path: object) -> Played:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: the wall clock is moved by a small library")
    folder = tmp_path_factory.mktemp("clock")
    library = folder / "wallclock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SHIM, "-ldl"], check=True)
    _jump(folder / "wallclock", 0)
    moved = {"LD_PRELOAD": str(library), "WALLCLOCK_FILE": str(folder / "wallclock")}
    return run_scene("wall clock", CLOCK, folder, environ={**os.environ, **moved})


def test_row(played, judge):
    judge(played.rows["24"])


@pytest.mark.parametrize("promise", ["O1", "O2", "O3", "O4"])
def test_the_rest_is_not_disturbed(promise, played, judge):
    judge(played.oracle[promise])
