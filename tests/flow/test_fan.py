"""FanIn and FanOut: fair, in order, nothing lost, and a ledger that is right at any instant."""

import gc
import random
import threading
import time
import weakref
from collections import Counter, deque
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streamer.flow.channel import Closed
from streamer.flow.fan import FanIn
from streamer.flow.ledger import Ledger
from tests.flow.threads import WAIT_S, Blocked, Item, ended, in_thread, wait_until


def waiting_workers(fan):
    return len(fan._ready_or_over._waiters)


class FanInMachine(RuleBasedStateMachine):
    """Any order of everything that cameras, workers and the program may do to a FanIn.

    The model is told what each step must do, and keeps for each camera the queue it expects.
    Fairness is not modelled but judged from what happened: while a camera is ready, no other
    is served twice before it.
    """

    def __init__(self):
        super().__init__()
        self.fan = FanIn("test")
        self.cameras = {}
        self.batches = []
        self.closed = self.aborted = False

    # cameras

    @precondition(lambda self: len(self.cameras) < 4)
    @rule(overflow=st.sampled_from(["block", "drop_oldest"]), capacity=st.integers(1, 2))
    def add_lane(self, overflow, capacity):
        name = f"camera{len(self.cameras)}"
        if self.closed or self.aborted:
            with pytest.raises(Closed):
                self.fan.add_lane(name, capacity=capacity, overflow=overflow)
            return
        self.cameras[name] = SimpleNamespace(
            lane=self.fan.add_lane(name, capacity=capacity, overflow=overflow),
            overflow=overflow,
            capacity=capacity,
            queue=deque(),
            blocked=None,
            held=None,
            closed=False,
            ready=False,
            passed=set(),  # cameras served since this one became ready
            number=0,
            last_served=0,
            captured=0,
            skipped=0,
            settled=Counter(),
            dropped=Counter(),
        )

    def some(self, data, true):
        names = [name for name, camera in self.cameras.items() if true(camera)]
        return self.cameras[data.draw(st.sampled_from(names))] if names else None

    def shut(self, camera):
        return camera.closed or self.aborted

    def full(self, camera):
        return len(camera.queue) >= camera.capacity

    def would_wait(self, camera):
        return camera.overflow == "block" and self.full(camera) and not self.shut(camera)

    def look_if_ready(self, camera):
        ready = bool(camera.queue) and camera.held is None
        if ready and not camera.ready:
            camera.passed = set()
        camera.ready = ready

    @rule(data=st.data())
    def put(self, data):
        camera = self.some(data, lambda c: not self.would_wait(c))
        if camera is None:
            return
        camera.number += 1
        item = (camera.lane.name, camera.number)
        camera.captured += 1
        if self.shut(camera):
            camera.dropped["capture", "shutdown"] += 1
            with pytest.raises(Closed):
                camera.lane.put(item)
            return
        if self.full(camera):
            camera.queue.popleft()
            camera.dropped["infer", "queue_full"] += 1
        camera.queue.append(item)
        self.look_if_ready(camera)
        camera.lane.put(item)

    @rule(data=st.data())
    def put_and_wait(self, data):
        camera = self.some(data, lambda c: self.would_wait(c) and c.blocked is None)
        if camera is not None:
            camera.number += 1
            camera.blocked = Blocked(camera.lane, (camera.lane.name, camera.number))
            wait_until(lambda: camera.lane._not_full._waiters)

    def let_blocked_in(self, camera):
        if camera.blocked is None or self.would_wait(camera):
            return
        blocked, camera.blocked = camera.blocked, None
        blocked.join()
        camera.captured += 1
        assert blocked.closed == self.shut(camera)
        if blocked.closed:
            camera.dropped["capture", "shutdown"] += 1
        else:
            camera.queue.append(blocked.item)
            self.look_if_ready(camera)

    @rule(data=st.data())
    def skip(self, data):
        camera = self.some(data, lambda c: True)
        if camera is not None:
            camera.captured += 1
            camera.skipped += 1
            camera.lane.skip()

    @rule(data=st.data())
    def close_lane(self, data):
        camera = self.some(data, lambda c: True)
        if camera is not None:
            camera.closed = True
            camera.lane.close()
            self.let_blocked_in(camera)

    # workers

    def finished(self):
        return self.aborted or (
            self.closed and all(c.closed and not c.queue for c in self.cameras.values())
        )

    @precondition(
        lambda self: any(c.ready for c in self.cameras.values()) or self.aborted or self.finished()
    )
    @rule(most=st.integers(1, 5))
    def take(self, most):
        ready = [name for name, camera in self.cameras.items() if camera.ready]
        batch = next(self.fan.batches(most), None)
        if not ready:
            assert batch is None  # it does not wait for batches that others hold
            return
        assert len(batch) == len(batch.items) == min(most, len(ready))
        names = [name for name, _ in batch.items]
        assert len(set(names)) == len(names), "two items of one camera in a batch"
        for name, number in batch.items:
            camera = self.cameras[name]
            assert camera.held is None, "a camera's items are with two workers"
            assert (name, number) == camera.queue.popleft()
            assert number > camera.last_served
            camera.last_served = number
            for other in self.cameras.values():
                if other.ready and other is not camera:
                    assert name not in other.passed, "a camera was served twice before another"
                    other.passed.add(name)
            camera.held = batch
            camera.ready = False
        self.batches.append((batch, set(range(len(batch)))))
        for name in names:
            self.let_blocked_in(self.cameras[name])

    @precondition(lambda self: any(open_ for _, open_ in self.batches))
    @rule(data=st.data(), settle=st.booleans())
    def end_item(self, data, settle):
        choices = [(b, p) for b, open_ in self.batches for p in sorted(open_)]
        batch, position = data.draw(st.sampled_from(choices))
        next(open_ for b, open_ in self.batches if b is batch).remove(position)
        camera = self.cameras[batch.items[position][0]]
        if settle:
            batch.settle(position, "detected")
            camera.settled["detected"] += 1
        else:
            batch.drop(position, "stale")
            camera.dropped["infer", "stale"] += 1
        with pytest.raises(KeyError):
            batch.settle(position, "detected")

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), raised=st.sampled_from([None, RuntimeError, Closed, KeyboardInterrupt]))
    def end_batch(self, data, raised):
        batch, open_ = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        items = batch.items
        if raised is None:
            with batch:
                pass
        else:
            with pytest.raises(raised), batch:
                raise raised
        for position in open_:
            reason = "shutdown" if raised is Closed else "failed"
            self.cameras[items[position][0]].dropped["infer", reason] += 1
        for name, _ in items:
            self.cameras[name].held = None
            self.look_if_ready(self.cameras[name])
        with batch:  # a second time it does nothing
            pass

    # the program

    @rule()
    def close(self):
        self.closed = True
        self.fan.close()

    @precondition(lambda self: self.cameras)
    @rule(really=st.integers(0, 5))
    def abort(self, really):
        if really:  # seldom, or most runs would end early
            return
        self.aborted = True
        for camera in self.cameras.values():
            if camera.queue:
                camera.dropped["infer", "shutdown"] += len(camera.queue)
                camera.queue.clear()
            camera.ready = False
        self.fan.abort()
        for camera in self.cameras.values():
            self.let_blocked_in(camera)

    @invariant()
    def ledgers_agree(self):
        assert [lane.name for lane in self.fan.lanes()] == list(self.cameras)
        for camera in self.cameras.values():
            ledger, stats = camera.lane.ledger(), camera.lane.stats()
            held = sum(
                batch.items[p][0] == camera.lane.name
                for batch, open_ in self.batches
                for p in open_
            )
            assert ledger == Ledger(
                captured=camera.captured,
                settled=camera.settled,
                skipped=camera.skipped,
                dropped=camera.dropped,
                waiting=len(camera.queue),
                held=held,
            )
            assert ledger.closes
            assert ledger.imbalance == 0
            assert ledger.in_flight == len(camera.queue) + held
            assert stats.offered == stats.delivered + sum(stats.dropped.values()) + stats.depth
            assert stats.depth <= stats.peak <= stats.capacity
            if camera.overflow == "drop_oldest" and camera.queue and not camera.closed:
                assert camera.queue[-1][1] == camera.number  # the newest is always there

    def teardown(self):
        while self.batches:
            batch, _ = self.batches.pop()
            names = [name for name, _ in batch.items]
            with batch:
                pass
            for name in names:
                self.cameras[name].held = None
        for camera in self.cameras.values():
            camera.lane.close()
            if camera.blocked is not None:
                camera.blocked.join()
        self.fan.close()
        left = Counter(name for c in self.cameras.values() for name, _ in c.queue)
        served = Counter()
        for batch in self.fan.batches(2):
            with batch:
                for position, (name, number) in enumerate(batch.items):
                    assert (name, number) == self.cameras[name].queue.popleft()
                    served[name] += 1
                    batch.settle(position, "detected")
        assert served == left  # nothing that waited is lost
        for camera in self.cameras.values():
            ledger = camera.lane.ledger()
            assert ledger.in_flight == 0
            assert ledger.closes


FanInMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestFanInMachine = FanInMachine.TestCase


def test_a_fast_camera_does_not_starve_a_slow_one():
    fan = FanIn("f")
    fast = fan.add_lane("fast", capacity=1, overflow="drop_oldest")
    slow = [fan.add_lane(f"slow{n}", capacity=1, overflow="drop_oldest") for n in range(3)]
    served = []
    for lane in slow:
        lane.put(lane.name)
    for _, batch in zip(range(8), fan.batches(1), strict=False):
        with batch:
            served += batch.items
            fast.put("fast")  # always there again at once
            batch.settle(0, "detected")
    assert served[:4] == ["slow0", "slow1", "slow2", "fast"]


def test_a_batch_takes_what_is_ready_and_waits_for_nobody():
    fan = FanIn("f")
    lanes = [fan.add_lane(str(n), capacity=3, overflow="block") for n in range(3)]
    for lane in lanes[:2]:
        lane.put(1)
        lane.put(2)
    batches = fan.batches(16)
    with next(batches) as batch:
        assert batch.items == [1, 1]
    with next(batches) as batch:
        assert batch.items == [2, 2]


@pytest.mark.parametrize("most", [0, -1])
def test_a_batch_holds_at_least_one(most):
    fan = FanIn("f")
    fan.add_lane("a", capacity=1, overflow="block").put(1)
    with pytest.raises(ValueError, match="a batch holds at least 1 item"):
        next(fan.batches(most))


def test_lane_names_and_capacities_are_checked():
    fan = FanIn("f")
    fan.add_lane("a", capacity=1, overflow="block")
    with pytest.raises(ValueError, match="there is a lane 'a' already"):
        fan.add_lane("a", capacity=1, overflow="block")
    with pytest.raises(ValueError, match="lane 'b': capacity must be at least 1"):
        fan.add_lane("b", capacity=0, overflow="block")


def test_lane_stats_add_up_drops_of_one_reason_in_two_stages():
    fan = FanIn("f")
    lane = fan.add_lane("a", capacity=1, overflow="drop_oldest")
    lane.put(1)
    fan.abort()
    with pytest.raises(Closed):
        lane.put(2)
    assert lane.ledger().dropped == {("infer", "shutdown"): 1, ("capture", "shutdown"): 1}
    assert lane.stats().dropped == {"shutdown": 2}


def test_a_worker_whose_outlet_is_gone_counts_its_frames_as_shutdown():
    fan = FanIn("f")
    lane = fan.add_lane("a", capacity=1, overflow="drop_oldest")
    lane.put(1)
    with pytest.raises(Closed), next(fan.batches(1)):
        raise Closed("sink")
    assert lane.ledger().dropped == {("infer", "shutdown"): 1}


@pytest.mark.parametrize("first", ["fan", "lane"])
def test_idle_workers_end_when_all_is_closed_in_any_order(first):
    fan = FanIn("f")
    lane = fan.add_lane("a", capacity=1, overflow="block")
    workers = [in_thread(lambda: list(fan.batches(1))) for _ in range(3)]
    for end in (fan, lane) if first == "fan" else (lane, fan):
        wait_until(lambda: waiting_workers(fan) == 3)
        end.close()
    assert all(ended(worker) for worker in workers)


def test_each_ready_camera_wakes_an_idle_worker():
    fan = FanIn("f")
    lanes = [fan.add_lane(str(n), capacity=1, overflow="block") for n in range(3)]
    together = threading.Barrier(3, timeout=WAIT_S)

    def work():
        with next(fan.batches(1)):
            together.wait()  # passes only when all three hold an item at once

    workers = [in_thread(work) for _ in lanes]
    wait_until(lambda: waiting_workers(fan) == 3)
    for lane in lanes:
        lane.put(1)
    assert all(ended(worker) for worker in workers)
    assert not together.broken


def test_a_released_camera_wakes_an_idle_worker():
    fan = FanIn("f")
    lane = fan.add_lane("a", capacity=1, overflow="block")
    lane.put(1)
    batch = next(fan.batches(1))
    lane.put(2)
    got = []
    idle = in_thread(lambda: got.extend(next(fan.batches(1)).items))
    wait_until(lambda: waiting_workers(fan) == 1)
    with batch:
        pass
    assert ended(idle)
    assert got == [2]


def test_idle_workers_do_not_wait_for_the_last_batch_of_another():
    fan = FanIn("f")
    lane = fan.add_lane("a", capacity=1, overflow="block")
    lane.put(1)
    batch = next(fan.batches(1))
    idle = [in_thread(lambda: list(fan.batches(1))) for _ in range(2)]
    wait_until(lambda: waiting_workers(fan) == 2)
    lane.close()
    fan.close()
    assert all(ended(worker) for worker in idle)
    with batch:
        batch.settle(0, "detected")
    assert lane.ledger().closes


def test_idle_workers_end_when_the_last_item_is_taken():
    fan = FanIn("f")
    lane = fan.add_lane("a", capacity=1, overflow="block")
    lane.put(1)
    batch = next(fan.batches(1))
    lane.put(2)
    idle = [in_thread(lambda: list(fan.batches(1))) for _ in range(2)]
    wait_until(lambda: waiting_workers(fan) == 2)
    lane.close()
    fan.close()
    wait_until(lambda: waiting_workers(fan) == 2)  # still: item 2 may be theirs yet
    taken = []

    def last():
        for got in fan.batches(1):
            with got:
                taken.extend(got.items)

    with batch:
        pass
    assert ended(in_thread(last))
    assert all(ended(worker) for worker in idle)


@pytest.mark.parametrize("workers", [1, 3])
def test_abort_ends_idle_workers_and_waiting_cameras(workers):
    fan = FanIn("f")
    lane = fan.add_lane("a", capacity=1, overflow="block")
    lane.put(1)
    held = next(fan.batches(1))
    lane.put(2)
    blocked = Blocked(lane, 3)
    idle = [in_thread(lambda: list(fan.batches(1))) for _ in range(workers)]
    wait_until(lambda: waiting_workers(fan) == workers and lane._not_full._waiters)
    fan.abort()
    assert all(ended(worker) for worker in idle)
    blocked.join()
    assert blocked.closed
    with held:
        held.settle(0, "detected")  # what is held is the worker's to settle still
    ledger = lane.ledger()
    assert ledger.closes
    assert ledger.in_flight == 0
    assert ledger.settled == {"detected": 1}
    assert ledger.dropped == {("infer", "shutdown"): 1, ("capture", "shutdown"): 1}


def test_a_frame_may_read_the_ledger_while_it_dies():
    """Frames are freed after the lock is let go: freeing may take long, or call back."""

    class Dying:
        def __init__(self, lane):
            self.lane = lane

        def __del__(self):
            self.lane.ledger()  # would wait for ever inside the lock

    def work():
        fan = FanIn("f")
        lane = fan.add_lane("a", capacity=1, overflow="drop_oldest")
        lane.put(Dying(lane))
        lane.put(Dying(lane))
        with next(fan.batches(1)) as batch:
            batch.settle(0, "detected")
        lane.put(Dying(lane))
        fan.abort()

    assert ended(in_thread(work))


def test_no_frame_is_kept_alive_by_an_idle_fan():
    fan = FanIn("f")
    lane = fan.add_lane("a", capacity=2, overflow="block")
    gc.disable()  # by reference counting alone
    try:
        item = Item()
        seen = weakref.ref(item)
        lane.put(item)
        del item

        def work():
            for batch in fan.batches(4):
                with batch:
                    batch.settle(0, "detected")

        worker = in_thread(work)
        wait_until(lambda: lane.ledger().settled and waiting_workers(fan))
        assert seen() is None

        item = Item()
        seen = weakref.ref(item)
        fan.abort()
        try:
            lane.put(item)
        except Closed:
            pass
        del item
        assert seen() is None
        assert ended(worker)
    finally:
        gc.enable()


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_ledger_balances_in_every_reading_under_stress(workers, end):
    fan = FanIn("f")
    stop = threading.Event()
    faults = []
    served = {}
    with_worker = {}
    overflows = {"live1": "drop_oldest", "live2": "drop_oldest", "file1": "block", "file2": "block"}
    lanes = {
        name: fan.add_lane(name, capacity=1 + ("file" in name), overflow=overflow)
        for name, overflow in overflows.items()
    }
    offered = dict.fromkeys(lanes, 0)
    for name in lanes:
        served[name] = []
        with_worker[name] = threading.Lock()

    def produce(lane):
        chance = random.Random(lane.name)
        try:
            while not stop.is_set():
                if chance.random() < 0.2:
                    lane.skip()
                else:
                    offered[lane.name] += 1
                    lane.put((lane.name, offered[lane.name]))
                if chance.random() < 0.05:
                    time.sleep(chance.random() * 0.002)
        except Closed:
            pass
        lane.close()

    def work(seed):
        chance = random.Random(seed)
        for batch in fan.batches(chance.randint(1, 4)):
            try:
                with batch:
                    for name, number in batch.items:
                        served[name].append(number)
                    for position, (name, _) in enumerate(batch.items):
                        if not with_worker[name].acquire(blocking=False):
                            faults.append(f"{name} is with two workers")
                            continue
                        if chance.random() < 0.1:
                            time.sleep(chance.random() * 0.002)
                        with_worker[name].release()
                        dice = chance.random()
                        if dice < 0.8:
                            batch.settle(position, "detected")
                        elif dice < 0.9:
                            batch.drop(position, "stale")
                        elif dice < 0.95:
                            raise LookupError
            except LookupError:
                pass

    def watch():
        last = dict.fromkeys(lanes, 0)
        while not stop.is_set():
            for name, lane in lanes.items():
                ledger, stats = lane.ledger(), lane.stats()
                if not ledger.closes or ledger.captured < last[name] or ledger.held > 1:
                    faults.append(ledger)
                if stats.offered != stats.delivered + sum(stats.dropped.values()) + stats.depth:
                    faults.append(stats)
                last[name] = ledger.captured

    cameras = [in_thread(lambda lane=lane: produce(lane)) for lane in lanes.values()]
    crew = [in_thread(lambda seed=seed: work(seed)) for seed in range(workers)]
    watcher = in_thread(watch)
    time.sleep(0.8)
    if end == "abort":
        fan.abort()  # while everybody is at work
    stop.set()
    fan.close()
    assert all(ended(thread) for thread in [*cameras, *crew, watcher])
    assert not faults
    for name, lane in lanes.items():
        ledger = lane.ledger()
        assert ledger.closes
        assert ledger.in_flight == 0
        assert ledger.captured - ledger.skipped == offered[name]
        assert served[name] == sorted(set(served[name])), "out of order"
        if end == "close":
            assert served[name][-1] == offered[name]  # live or file, the newest came through
            if overflows[name] == "block":
                assert served[name] == list(range(1, offered[name] + 1))  # and nothing is lost


def test_a_removed_lane_lets_go_what_waits_and_settles_what_is_held():
    fan = FanIn("fan")
    lane = fan.add_lane("a", capacity=4, overflow="block")
    other = fan.add_lane("b", capacity=4, overflow="block")
    for n in range(3):
        lane.put(n)
    other.put(0)
    batch = next(fan.batches(1))
    assert batch.items == [0]
    fan.remove_lane(lane)
    fan.remove_lane(lane)
    again = fan.add_lane("a", capacity=4, overflow="block")
    again.put(9)
    with pytest.raises(Closed):
        lane.put(3)
    with batch:
        batch.settle(0, "detected")
    ledger = lane.ledger()
    assert ledger.closes
    assert ledger.in_flight == 0
    assert ledger.dropped == {("infer", "removed"): 2, ("capture", "removed"): 1}
    fan.close(lanes=True)
    left = []
    for rest in fan.batches(4):
        with rest:
            left += rest.items
    assert sorted(left) == [0, 9]


def test_a_lane_in_the_place_of_another_goes_on_with_its_counters_and_comes_after_it():
    fan: FanIn[int] = FanIn("infer")
    first = fan.add_lane("cam", capacity=1, overflow="drop_oldest")
    first.put(1)
    worker, other = fan.batches(4), fan.batches(4)
    with next(worker) as held:
        first.put(2)
        fan.remove_lane(first)
        second = fan.add_lane("cam", capacity=1, overflow="drop_oldest", after=first)
        second.put(3)
        assert not fan._ready  # the worker is still at 1, so nobody gets 3 before
        with pytest.raises(Closed):
            first.put(4)
        now = second.ledger()
        assert (now.captured, now.waiting, now.held) == (4, 1, 1)
        assert now.dropped == {("infer", "removed"): 1, ("capture", "removed"): 1}
        assert now.closes
        held.settle(0, "detected")
    with next(other) as batch:
        assert batch.items == [3]
        batch.settle(0, "detected")
    assert second.ledger().settled == {"detected": 2}
    stranger = FanIn[int]("infer").add_lane("cam", capacity=1, overflow="drop_oldest")
    assert stranger.ledger().captured == 0


def test_a_lane_that_waited_for_a_worker_frees_its_place_when_it_is_removed():
    fan: FanIn[int] = FanIn("infer")
    first = fan.add_lane("cam", capacity=1, overflow="drop_oldest")
    first.put(1)  # queued for a worker
    fan.remove_lane(first)
    second = fan.add_lane("cam", capacity=1, overflow="drop_oldest", after=first)
    second.put(2)
    with next(fan.batches(1)) as batch:
        assert batch.items == [2]


def test_removing_the_last_lane_of_a_closed_fan_ends_idle_workers():
    fan = FanIn("fan")
    lane = fan.add_lane("a", capacity=1, overflow="drop_oldest")
    worker = in_thread(lambda: list(fan.batches(1)))
    wait_until(lambda: waiting_workers(fan))
    fan.close()
    fan.remove_lane(lane)
    assert ended(worker)


def test_a_camera_that_waits_for_room_is_woken_when_its_lane_is_removed():
    fan = FanIn("fan")
    lane = fan.add_lane("a", capacity=1, overflow="block")
    lane.put(0)
    blocked = Blocked(lane, 1)
    wait_until(lambda: lane._not_full._waiters)
    fan.remove_lane(lane)
    blocked.join()
    assert blocked.closed
    assert lane.ledger().closes


def test_closing_with_lanes_hands_out_what_waits_and_takes_nothing_more():
    fan = FanIn("fan")
    lane = fan.add_lane("a", capacity=4, overflow="block")
    lane.put(0)
    lane.put(1)
    fan.close(lanes=True)
    with pytest.raises(Closed):
        lane.put(2)
    taken = []
    for batch in fan.batches(1):
        with batch:
            taken += batch.items
            batch.settle(0, "detected")
    assert taken == [0, 1]
    assert lane.ledger().closes
