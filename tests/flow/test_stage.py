"""StageGroup: one failure folds the line up from both sides; a stop drains; the stuck are named."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import weakref

import pytest

from streamer.errors import StageFailure, StageStuck, StreamerError
from streamer.flow.channel import Channel, Closed
from streamer.flow.fan import FanIn
from streamer.flow.fan_out import FanOut
from streamer.flow.stage import Stage, StageGroup
from tests.flow.threads import WAIT_S


class Line:
    """Two endless cameras, ``workers`` workers, and the sinks "zeromq" and "live"."""

    def __init__(self, *, workers=2, overflow="drop_oldest", drain_s=5.0):
        self.stopping = threading.Event()
        self.fan = FanIn("infer")
        self.lanes = [self.fan.add_lane(f"cam{n}", capacity=1, overflow=overflow) for n in (0, 1)]
        self.outlet = FanOut()
        self.inlets = {}
        for name, vital in [("zeromq", True), ("live", False)]:
            self.inlets[name] = Channel(name, capacity=2, overflow="block")
            self.outlet.add(self.inlets[name], vital=vital)
        self.written = {"zeromq": [], "live": []}
        self.flowing = threading.Event()
        self.fan.close()
        stages = [self.camera_stage(n) for n in (0, 1)]
        stages += [self.worker_stage(n) for n in range(workers)]
        stages += [self.sink_stage(name) for name in self.inlets]
        self.group = StageGroup(stages, stopping=self.stopping, drain_s=drain_s)

    # What tests replace:

    def frame(self, n, number):
        return (n, number)

    def detect(self, n, item):
        return item

    def write(self, name, item):
        if len(self.written[name]) > 20:
            self.flowing.set()

    def camera_stage(self, n):
        def run():
            number = 0
            while not self.stopping.is_set():
                self.lanes[n].put(self.frame(n, number))
                number += 1

        return Stage(f"capture:cam{n}", run, writes=[self.lanes[n]])

    def worker_stage(self, n):
        def run():
            for batch in self.fan.batches(2):
                with batch:
                    for position, item in enumerate(batch.items):
                        self.outlet.put(self.detect(n, item))
                        batch.settle(position, "detected")

        return Stage(f"infer-{n}", run, reads=[self.fan], writes=[self.outlet])

    def sink_stage(self, name):
        def run():
            for item in self.inlets[name]:
                self.written[name].append(item)
                self.write(name, item)

        return Stage(f"publish:{name}", run, reads=[self.inlets[name]], vital=name != "live")

    def assert_folded(self):
        """Nothing runs, and every frame is accounted for."""
        alive = {thread.name for thread in threading.enumerate()}
        deadline = time.monotonic() + WAIT_S  # a thread outlives its last event by a moment
        while alive & {"capture:cam0", "capture:cam1", "infer-0", "infer-1", "publish:zeromq"}:
            assert time.monotonic() < deadline
            alive = {thread.name for thread in threading.enumerate()}
        for lane in self.lanes:
            assert lane.ledger().closes
            assert lane.ledger().in_flight == 0
        for stats in self.outlet.stats():
            assert stats.depth == 0
            assert stats.offered == stats.delivered + sum(stats.dropped.values())
        assert len({stats.offered for stats in self.outlet.stats()}) == 1


def stop_when(event, group):
    def work():
        event.wait(WAIT_S)
        group.stop()

    threading.Thread(target=work, daemon=True).start()


def notes(failure):
    return [error.__notes__ for error in failure.exceptions]


def group_of(*stages, drain_s=5.0, stopping=None, intake=()):
    stopping = stopping or threading.Event()
    return StageGroup(stages, stopping=stopping, drain_s=drain_s, intake=intake)


def test_run_returns_when_all_stages_have_ended():
    channel = Channel("c", capacity=2, overflow="block")
    got = []

    def write():
        for n in range(100):
            channel.put(n)

    group_of(
        Stage("writer", write, writes=[channel]),
        Stage("reader", lambda: got.extend(channel), reads=[channel]),
    ).run()
    assert got == list(range(100))


def test_no_stages_is_no_work():
    group_of().run()


def test_two_stages_of_one_name_are_refused():
    with pytest.raises(ValueError, match="same name"):
        group_of(Stage("a", lambda: None), Stage("a", lambda: None))


def test_threads_are_daemons_and_carry_the_names_of_their_stages():
    seen = {}

    def run():
        seen[threading.current_thread().name] = threading.current_thread().daemon

    group_of(Stage("infer-0", run), Stage("publish:live", run)).run()
    assert seen == {"infer-0": True, "publish:live": True}


@pytest.mark.parametrize("overflow", ["drop_oldest", "block"])
def test_a_stop_drains_the_line(overflow):
    line = Line(overflow=overflow)
    stop_when(line.flowing, line.group)
    line.group.run()
    line.assert_folded()
    for stats in line.outlet.stats():
        assert not stats.dropped  # what was detected was written
    if overflow == "block":
        for lane in line.lanes:
            assert not lane.ledger().dropped


@pytest.mark.parametrize("overflow", ["drop_oldest", "block"])
@pytest.mark.parametrize("where", ["capture:cam1", "infer-0", "publish:zeromq"])
def test_a_failing_stage_folds_the_line_up_from_both_sides(where, overflow):
    line = Line(overflow=overflow)

    def fail_when_flowing(*_):
        if line.flowing.is_set():
            raise LookupError("broken")

    def frame(n, number):
        if n == 1:
            fail_when_flowing()
        return (n, number)

    def detect(n, item):
        if n == 0:
            fail_when_flowing()
        return item

    def write(name, item):
        Line.write(line, name, item)
        if name == "zeromq":
            fail_when_flowing()

    if where == "capture:cam1":
        line.frame = frame
    elif where == "infer-0":
        line.detect = detect
    else:
        line.write = write
    with pytest.raises(StageFailure) as caught:
        line.group.run()
    assert [type(error) for error in caught.value.exceptions] == [LookupError]
    assert notes(caught.value) == [[f"in stage '{where}'"]]
    assert isinstance(caught.value, StreamerError)
    assert line.stopping.is_set()
    line.assert_folded()


def test_a_stage_that_is_not_vital_folds_alone():
    line = Line(overflow="block")
    folded = threading.Event()

    def write(name, item):
        if name == "live" and len(line.written["live"]) == 3:
            raise LookupError("nobody watches")
        if line.inlets["live"].stats().dropped.get("closed", 0) > 5:
            folded.set()

    line.write = write
    stop_when(folded, line.group)
    line.group.run()
    line.assert_folded()
    assert [type(error) for error in line.group.side_failures] == [LookupError]
    assert line.group.side_failures[0].__notes__ == ["in stage 'publish:live'"]
    live, zeromq = line.inlets["live"].stats(), line.inlets["zeromq"].stats()
    assert live.offered == zeromq.offered
    assert live.delivered == 3
    assert sum(live.dropped.values()) == live.offered - 3
    assert not zeromq.dropped


def test_a_side_failure_keeps_its_text_but_no_picture():
    class Picture:
        pass

    seen = []

    def run():
        picture = Picture()
        seen.append(weakref.ref(picture))
        raise LookupError("broken")

    gc.disable()  # by reference counting alone
    try:
        group = group_of(Stage("live", run, vital=False))
        group.run()
        assert seen[0]() is None
    finally:
        gc.enable()
    text = "".join(traceback.format_exception(group.side_failures[0]))
    assert "LookupError: broken" in text
    assert "in run" in text


def test_all_failures_are_raised_together():
    def fail(text):
        raise RuntimeError(text)

    with pytest.raises(StageFailure) as caught:
        group_of(Stage("a", lambda: fail("1")), Stage("b", lambda: fail("2"))).run()
    assert sorted(notes(caught.value)) == [["in stage 'a'"], ["in stage 'b'"]]


class Panic(BaseException):
    """What an extension module may raise."""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, Panic])
def test_whatever_ends_a_stage_is_a_failure(kind):
    def run():
        raise kind

    with pytest.raises(StageFailure) as caught:
        group_of(Stage("a", run)).run()
    (error,) = caught.value.exceptions
    assert str(error) == f"the stage was ended by {kind.__name__}"
    assert type(error.__cause__) is kind
    assert error.__notes__ == ["in stage 'a'"]


def test_an_end_that_cannot_be_closed_is_a_failure():
    class Broken:
        def close(self):
            raise OSError("cannot close")

    with pytest.raises(StageFailure) as caught:
        group_of(Stage("a", lambda: None, writes=[Broken()])).run()
    assert notes(caught.value) == [["in stage 'a'"]]


def test_a_thread_that_cannot_be_started_is_a_failure(monkeypatch):
    channel = Channel("c", capacity=1, overflow="block")
    start = threading.Thread.start

    def start_but_for_b(thread):
        if thread.name == "b":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_but_for_b)
    with pytest.raises(StageFailure) as caught:
        group_of(
            Stage("a", lambda: list(channel), reads=[channel]),
            Stage("b", lambda: None, writes=[channel]),
        ).run()
    assert notes(caught.value) == [["in stage 'b'"]]


def test_closed_is_no_failure():
    def run():
        raise Closed("reader")

    group_of(Stage("a", run)).run()


def test_an_error_while_blocked_in_put_ends_quietly_when_the_reader_fails():
    """The writer waits for room; the reader fails; the writer gets Closed; one failure is told."""
    channel = Channel("c", capacity=1, overflow="block")
    closed = []

    def write():
        try:
            while True:
                channel.put(1)
        except Closed:
            closed.append(True)
            raise

    def read():
        while not channel._not_full._waiters:  # until the writer waits
            time.sleep(0.001)
        raise LookupError("broken")

    with pytest.raises(StageFailure) as caught:
        group_of(
            Stage("writer", write, writes=[channel]), Stage("reader", read, reads=[channel])
        ).run()
    assert notes(caught.value) == [["in stage 'reader'"]]
    assert closed == [True]


def test_a_worker_fails_while_another_is_blocked_in_put():
    fan = FanIn("f")
    lanes = [fan.add_lane(name, capacity=1, overflow="block") for name in "ab"]
    outlet = FanOut()
    inlet = Channel("sink", capacity=1, overflow="block")
    outlet.add(inlet)
    stopping = threading.Event()
    got = []

    def capture(lane):
        while not stopping.is_set():
            lane.put(lane.name)

    def infer():
        for batch in fan.batches(1):
            with batch:
                if batch.items == ["b"]:
                    while not inlet._not_full._waiters:  # until the other worker is blocked
                        time.sleep(0.001)
                    raise LookupError("broken")
                outlet.put(batch.items[0])
                batch.settle(0, "detected")

    def publish():
        stopping.wait(WAIT_S)  # a slow sink: nothing is read until the failure is known
        got.extend(inlet)

    fan.close()
    with pytest.raises(StageFailure) as caught:
        group_of(
            *(
                Stage(f"capture:{lane.name}", lambda lane=lane: capture(lane), writes=[lane])
                for lane in lanes
            ),
            *(Stage(f"infer-{n}", infer, reads=[fan], writes=[outlet]) for n in range(2)),
            Stage("publish", publish, reads=[inlet]),
            stopping=stopping,
        ).run()
    assert notes(caught.value)[0][0].startswith("in stage 'infer-")
    assert len(caught.value.exceptions) == 1
    assert len(got) == inlet.stats().offered  # what the other worker had was not lost
    assert all(lane.ledger().closes and not lane.ledger().in_flight for lane in lanes)


def test_the_outlet_closes_only_after_the_last_worker_ended():
    fan = FanIn("f")
    lanes = [fan.add_lane(str(n), capacity=1, overflow="block") for n in range(3)]
    for lane in lanes:
        lane.put(lane.name)
        lane.close()
    fan.close()
    outlet = FanOut()
    inlet = Channel("sink", capacity=8, overflow="block")
    outlet.add(inlet)
    got = []
    others_ended = threading.Event()
    ended_count = threading.Semaphore(0)

    def infer():
        for batch in fan.batches(1):
            with batch:
                if batch.items == ["2"]:  # the last one waits for the two others to end
                    assert others_ended.wait(WAIT_S)
                outlet.put(batch.items[0])
                batch.settle(0, "detected")
        ended_count.release()

    def watch():
        ended_count.acquire(timeout=WAIT_S)
        ended_count.acquire(timeout=WAIT_S)
        others_ended.set()

    group_of(
        *(Stage(f"infer-{n}", infer, reads=[fan], writes=[outlet]) for n in range(3)),
        Stage("publish", lambda: got.extend(inlet), reads=[inlet]),
        Stage("watch", watch),
    ).run()
    assert sorted(got) == ["0", "1", "2"]
    assert not inlet.stats().dropped


def test_one_end_of_several_closes_a_fan_shared_by_its_writers():
    """Cameras may share the fan as what they write: it closes when the last one has ended."""
    fan = FanIn("f")
    lanes = [fan.add_lane(str(n), capacity=1, overflow="block") for n in range(3)]
    got = []

    def infer():
        for batch in fan.batches(2):
            with batch:
                got.extend(batch.items)

    group_of(
        *(
            Stage(lane.name, lambda lane=lane: lane.put(lane.name), writes=[lane, fan])
            for lane in lanes
        ),
        Stage("infer", infer, reads=[fan]),
    ).run()
    assert sorted(got) == ["0", "1", "2"]


# Stopping


def test_stop_before_run():
    line = Line()
    line.group.stop()
    line.group.run()
    line.assert_folded()


def test_stop_twice():
    line = Line()
    stop_when(line.flowing, line.group)
    stop_when(line.flowing, line.group)
    line.group.run()
    line.group.stop()  # and when all is over
    line.assert_folded()


def test_stop_while_sources_wait():
    stopping = threading.Event()
    waiting = threading.Event()

    def source():
        waiting.set()
        assert stopping.wait(WAIT_S)

    group = group_of(Stage("capture", source), stopping=stopping)
    stop_when(waiting, group)
    group.run()


def test_ctrl_c_in_run_stops_the_stages_before_it_goes_on():
    stopping = threading.Event()
    running = threading.Event()
    ended = []

    def source():
        running.set()
        stopping.wait(WAIT_S)
        ended.append(True)

    def interrupt():
        running.wait(WAIT_S)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            group_of(Stage("capture", source), stopping=stopping).run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [True]


PROGRAM = """
import signal, sys, threading, time
from streamer.errors import StageStuck
from streamer.flow.channel import Channel
from streamer.flow.stage import Stage, StageGroup

stopping = threading.Event()
channel = Channel("c", capacity=1, overflow="block")

def capture():
    while not stopping.wait(0.01):
        channel.put(1)

def publish():
    said = False
    for _ in channel:
        if not said:
            print("flowing", flush=True)
        said = True
    if "stuck" in sys.argv:
        print("stuck", flush=True)
        time.sleep(600)

group = StageGroup(
    [
        Stage("capture", capture, writes=[channel]),
        Stage("publish", publish, reads=[channel]),
    ],
    stopping=stopping,
    drain_s=0.3,
)
signal.signal(signal.SIGTERM, lambda number, frame: group.stop())
try:
    group.run()
except StageStuck as stuck:
    print(stuck.names, stuck, flush=True)
    sys.exit(1)
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # at its end Python takes its own handlers away
print("ended", channel.stats().dropped, flush=True)
"""


def program(*arguments):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_real_sigterm_ends_the_program_in_order():
    with program() as process:
        assert process.stdout.readline() == "flowing\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=WAIT_S)
        assert (process.returncode, said) == (0, "ended {}\n")


def test_a_stuck_stage_is_named_in_time_and_does_not_keep_the_process():
    with program("stuck") as process:
        assert process.stdout.readline() == "flowing\n"
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        said, _ = process.communicate(timeout=30)
        took_s = time.monotonic() - begun
        assert process.returncode == 1
        assert "('publish',) publish did not end in time" in said
        assert took_s < 20  # 0.3 s of drain and 2 s after the abort; the thread sleeps 600 s


def test_what_a_blocked_stage_reads_is_aborted_after_the_drain():
    """A sink that no longer reads does not hold up the worker that waits for it."""
    release = threading.Event()
    channel = Channel("c", capacity=1, overflow="block")

    def write():
        while True:
            channel.put(1)

    group = group_of(
        Stage("writer", write, writes=[channel]),
        Stage("reader", lambda: release.wait(WAIT_S), reads=[channel]),
        drain_s=0.1,
    )
    group.stop()
    with pytest.raises(StageStuck) as caught:
        group.run()
    assert caught.value.names == ("reader",)  # the writer got Closed and ended
    release.set()


def test_a_failure_also_names_the_stuck():
    release = threading.Event()

    def fail():
        raise LookupError("broken")

    with pytest.raises(StageFailure) as caught:
        group_of(Stage("a", fail), Stage("b", lambda: release.wait(WAIT_S)), drain_s=0.05).run()
    release.set()
    broken, stuck = caught.value.exceptions
    assert isinstance(broken, LookupError)
    assert isinstance(stuck, StageStuck)
    assert stuck.names == ("b",)
    assert notes(caught.value) == [["in stage 'a'"], ["in stage 'b'"]]


# Stages that begin late, and those that may be left behind


def test_a_stage_may_begin_before_the_run_and_during_it():
    ran = []
    late = Stage("late", lambda: ran.append("late"))
    group = group_of(Stage("first", lambda: (ran.append("first"), group.start(late))))
    group.start(Stage("early", lambda: ran.append("early")))
    group.run()
    assert sorted(ran) == ["early", "first", "late"]


def test_a_stage_that_comes_when_the_group_ends_never_begins_and_is_folded():
    channel = Channel("late", capacity=1, overflow="block")
    ran = []

    def first():
        group.stop()
        stopping.wait(WAIT_S)
        group.start(Stage("late", lambda: ran.append("late"), writes=[channel]))

    stopping = threading.Event()
    group = StageGroup([Stage("first", first)], stopping=stopping, drain_s=5.0)
    group.run()
    assert ran == []
    # Nobody began it, so at most its end is open; a reader must not wait for ever.
    for _ in channel:
        pytest.fail("nothing was written")


def test_a_name_that_runs_already_fails_the_group():
    stopping = threading.Event()
    first = Stage("same", lambda: stopping.wait(WAIT_S))
    group = StageGroup([first], stopping=stopping, drain_s=5.0)
    threading.Timer(0.1, lambda: group.start(Stage("same", lambda: None))).start()
    with pytest.raises(StageFailure) as caught:
        group.run()
    assert "already" in str(caught.value.exceptions[0])


def test_a_detachable_stage_is_left_behind_soon_and_that_is_no_failure():
    let_go = threading.Event()
    dialling = Stage("capture:door", lambda: let_go.wait(WAIT_S), detachable=True)
    group = group_of(dialling, drain_s=60.0)
    group.stop()
    began = time.monotonic()
    group.run()
    assert time.monotonic() - began < 30  # not the 60 s of those that must end in order
    assert group.left_behind == ("capture:door",)
    let_go.set()


def test_a_detachable_stage_that_ends_in_time_is_not_left_behind():
    stopping = threading.Event()
    stage = Stage("capture:door", lambda: stopping.wait(WAIT_S), detachable=True)
    group = StageGroup([stage], stopping=stopping, drain_s=5.0)
    group.stop()
    group.run()
    assert group.left_behind == ()


def test_the_intake_is_closed_at_a_stop():
    channel = Channel("intake", capacity=1, overflow="block")
    group = group_of(Stage("reader", lambda: list(channel), reads=[channel]), intake=[channel])
    group.stop()
    group.run()
    with pytest.raises(Closed):
        channel.put(1)
