"""More pictures than can be looked at, and a detector that is slow, stops or never ends."""

import hashlib
import signal
import time

import pytest

from tests.faults.clips import moving
from tests.faults.looping_model import looping_model
from tests.faults.program import Program
from tests.faults.record import Record
from tests.faults.scene import Played, Row, Take, run_scene
from tests.faults.server import ScriptedCamera


def row_33(take: Take) -> None:
    """100 frames a second; the detector, 12 ms slower than usual, cannot see them all."""
    own = take.program.now.usage.own
    began_at = time.monotonic()
    take.camera.longest_send_s = 0.0
    take.camera.change(clip=moving(fps=25.0), speed=4.0)
    take.program.rest(8.0)
    now = take.program.now.cameras[take.name]
    ages = [e["age_ms"] for e in list(take.program.seen.events[take.name]) if e["at"] > began_at]
    ages.sort()
    take.record.measure("p99 age", ages[int(0.99 * len(ages))] / 1e3, at_most=0.5)
    take.record.measure("camera waited", take.camera.longest_send_s, at_most=0.5)
    take.record.note(f"{sum(d['frames'] for d in now['ledger']['dropped'])} frames dropped")
    grown = (max(s.usage.own for s in take.program.samples if s.at > began_at) - own) / 2**20
    take.record.measure("memory grew by", grown, at_most=20.0, unit="MB")
    take.heal()


def row_33f(take: Take) -> None:
    """Sixty times the frames: no camera does that on purpose."""
    began_at = time.monotonic()
    losses = take.program.now.losses(take.name, "flood")
    take.camera.change(speed=60.0)
    noticed = take.wait(
        lambda s: s.losses(take.name, "flood") > losses, 20.0, "a loss counted as flood"
    )
    take.record.measure("noticed after", noticed.at - began_at, at_most=20.0)
    take.heal()


LOAD = (
    Row("33", "4 times the frames, slow detector", "p99 age 0.5 s, nobody waits", row_33,
        {"every": 1}),
    Row("33f", "60 times the frames", "flood noticed in 20 s", row_33f, {"every": 1}),
)  # fmt: skip


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, model_path: object) -> Played:
    return run_scene("too many frames", LOAD, tmp_path_factory.mktemp("load"), fault="slow")


@pytest.mark.parametrize("row", [row.number for row in LOAD])
def test_row(row, played, judge):
    judge(played.rows[row])


@pytest.mark.parametrize("promise", ["O1", "O2", "O3", "O4"])
def test_the_rest_is_not_disturbed(promise, played, judge):
    judge(played.oracle[promise])


@pytest.mark.parametrize("pauses", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_reading_goes_on_while_the_detector_stands_still(pauses, tmp_path, model_path, judge):
    record = Record("34", f"detector stands still {pauses} times 4 s", "the camera never waits")
    moving()
    with ScriptedCamera() as camera:
        cameras = {"row-34": {"source": camera.url()}}
        with Program(cameras, tmp_path, fault="pausable") as program:
            program.need(lambda s: s.state("row-34") == "live", 20)
            program.rest(2.0)
            before = program.now
            camera.longest_send_s = 0.0
            for _ in range(pauses):
                program.send(signal.SIGUSR1)
                program.rest(4.2)
            after = program.now
            ended = program.stop()
    for name, fps in (("row-34", 10.0), ("well-1", 20.0)):
        rate = (after.captured(name) - before.captured(name)) / (after.at - before.at)
        record.measure(f"{name} frames missing", (1 - rate / fps) * 100, at_most=5.0, unit="%")
    record.measure("camera waited", camera.longest_send_s, at_most=0.5)
    record.require(after.losses("row-34") == before.losses("row-34"), "it was counted as lost")
    stood = after.detected("well-1") - before.detected("well-1")
    seconds = after.at - before.at
    record.require(stood < 20.0 * seconds * 0.5, f"the detector did not stand still: {stood}")
    record.require(not program.seen.unclosed, "a ledger is open")
    record.require(all(ok and n == 0 for n, ok in ended.ledger().values()), "the ledger is open")
    judge(record)


def test_a_detector_that_never_ends_is_noticed(tmp_path, model_path, judge):
    record = Record(
        "35", "inference never returns", "error counted or exit, in 30 s; not in silence"
    )
    model = looping_model()
    (tmp_path / "looping.onnx").write_bytes(model)
    chosen = {
        "path": "looping.onnx", "sha256": hashlib.sha256(model).hexdigest(), "input_size": 320,
    }  # fmt: skip
    with Program({}, tmp_path, more={"model": chosen, "device": "cpu"}) as program:
        began_at = time.monotonic()

        def failed(sample: object) -> int:
            return sum(
                d["frames"]
                for camera in program.now.cameras.values()
                for d in camera["ledger"]["dropped"]
                if d["reason"] == "failed"
            )

        noticed = program.wait(lambda s: failed(s) > 0, 30.0)
        code = program.process.poll()
        took = time.monotonic() - began_at
        ended = program.stop(within_s=15.0)
    noticed_at_all = noticed is not None or code not in (None, 0)
    record.require(noticed_at_all, "30 s without an outcome, a counted failure or an end")
    if noticed_at_all:
        record.measure("noticed after", took, at_most=15.0)
    record.note(f"exit {ended.code} {ended.seconds:.1f} s after a stop")
    record.require(ended.code != -9, "it had to be killed")
    judge(record)
