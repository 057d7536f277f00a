"""A fan with an order of its own: asked at the right time, obeyed, and every drop counted."""

import gc
import random
import threading
import time
import weakref

import pytest

from streamer.flow.channel import Closed
from streamer.flow.fan import FanIn
from streamer.flow.order import Choice, InTurn, Label
from tests.flow.threads import WAIT_S, Item, ended, in_thread, wait_until


class Scripted:
    """Answers what it is told to; afterwards everybody in turn."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.heard = []

    def choose(self, ready, most, now, lanes):
        self.asked.append(([lane.name for lane in ready], most, now, lanes))
        if not self.answers:
            return InTurn().choose(ready, most, now, lanes)
        return self.answers.pop(0)({lane.name: lane for lane in ready}, now)

    def ended(self, served, seconds, now):
        self.heard.append(([lane.name for lane in served], seconds, now))


def serve(*names):
    return lambda ready, now: Choice([ready[name] for name in names])


def drop(*names):
    return lambda ready, now: Choice(drop=[(ready[name], "old") for name in names])


def wait(seconds):
    return lambda ready, now: Choice(until=now + seconds)


def nothing(ready, now):
    return Choice()


def fan_with(order, *, lanes=("a", "b", "c"), capacity=1, clock=time.monotonic):
    fan = FanIn("f", order=order, clock=clock)
    overflow = "drop_oldest" if capacity == 1 else "block"
    return fan, {n: fan.add_lane(n, capacity=capacity, overflow=overflow) for n in lanes}


def test_the_order_is_told_what_waits_and_hears_how_long_it_took():
    now = [100.0]
    order = Scripted(serve("c", "a"))
    fan, lanes = fan_with(order, clock=lambda: now[0])
    for name in "cab":
        lanes[name].put(name)
    with next(fan.batches(5)) as batch:
        assert batch.items == ["c", "a"]
        now[0] += 0.25
    assert order.asked == [(["c", "a", "b"], 5, 100.0, 3)]
    assert order.heard == [(["c", "a"], 0.25, 100.25)]
    with batch:  # a second time it has nothing to say
        pass
    assert len(order.heard) == 1


def test_what_it_drops_is_counted_and_it_is_asked_again():
    order = Scripted(drop("a", "b"))
    fan, lanes = fan_with(order)
    for name, lane in lanes.items():
        lane.put(name)
    with next(fan.batches(1)) as batch:
        assert batch.items == ["c"]
        batch.settle(0, "detected")
    assert [asked for asked, *_ in order.asked] == [["a", "b", "c"], ["c"]]
    assert lanes["a"].ledger().dropped == {("infer", "old"): 1}
    assert all(lane.ledger().closes and not lane.ledger().in_flight for lane in lanes.values())
    lanes["a"].put("again")  # it is free to come again
    assert next(fan.batches(1)).items == ["again"]


def test_it_may_drop_and_serve_at_once():
    def both(ready, now):
        return Choice([ready["b"]], [(ready["a"], "old")])

    fan, lanes = fan_with(Scripted(both))
    lanes["a"].put(1)
    lanes["b"].put(2)
    assert next(fan.batches(1)).items == [2]
    assert lanes["a"].ledger().dropped == {("infer", "old"): 1}


def test_a_drop_makes_room_for_a_camera_that_waits_and_shows_the_next_item():
    order = Scripted(drop("a"))
    fan, lanes = fan_with(order, lanes=["a"], capacity=2)
    lanes["a"].put(1)
    lanes["a"].put(2)
    writer = in_thread(lambda: lanes["a"].put(3))
    wait_until(lambda: lanes["a"]._not_full._waiters)
    assert next(fan.batches(1)).items == [2]
    assert ended(writer)
    assert lanes["a"].ledger().waiting == 1


def test_a_drop_of_the_last_item_ends_workers_that_wait():
    order = Scripted(wait(3600.0), wait(3600.0), wait(0.05), drop("a"))
    fan, lanes = fan_with(order, lanes=["a"])
    idle = [in_thread(lambda: list(fan.batches(1))) for _ in range(2)]
    wait_until(lambda: len(fan._ready_or_over._waiters) == 2)
    lanes["a"].put(1)
    wait_until(lambda: order.asked and len(fan._ready_or_over._waiters) == 2)
    fan.close(lanes=True)  # both ask: one waits long, the other drops what both waited for
    assert all(ended(worker) for worker in idle)
    assert lanes["a"].ledger().dropped == {("infer", "old"): 1}


def test_it_is_asked_again_at_the_instant_it_named():
    order = Scripted(wait(0.05))
    fan, lanes = fan_with(order)
    lanes["a"].put(1)
    assert next(fan.batches(1)).items == [1]
    assert order.asked[1][2] - order.asked[0][2] >= 0.049


def test_it_is_asked_again_when_another_camera_is_ready():
    order = Scripted(wait(3600.0))
    fan, lanes = fan_with(order)
    lanes["a"].put(1)
    got = []
    worker = in_thread(lambda: got.extend(next(fan.batches(4)).items))
    wait_until(lambda: order.asked and fan._ready_or_over._waiters)
    lanes["b"].put(2)
    assert ended(worker)
    assert got == [1, 2]


def test_whoever_is_left_waiting_by_a_late_batch_is_served_by_an_idle_worker():
    order = Scripted(wait(3600.0), wait(3600.0), serve("a"))
    fan, lanes = fan_with(order)
    got = []

    def work():
        with next(fan.batches(4)) as batch:
            got.extend(batch.items)
            everybody.wait()

    everybody = threading.Barrier(2, timeout=WAIT_S)
    workers = [in_thread(work) for _ in range(2)]
    wait_until(lambda: len(fan._ready_or_over._waiters) == 2)
    for number, name in enumerate("abc", 1):
        lanes[name].put(name)
        wait_until(lambda number=number: len(order.asked) >= number)
    assert all(ended(worker) for worker in workers)
    assert sorted(got) == ["a", "b", "c"]


@pytest.mark.parametrize("end", ["abort", "remove"])
def test_a_worker_that_waits_for_company_ends_with_the_fan(end):
    order = Scripted(wait(3600.0))
    fan, lanes = fan_with(order, lanes=["a"])
    lanes["a"].put(1)
    worker = in_thread(lambda: list(fan.batches(4)))
    wait_until(lambda: order.asked and fan._ready_or_over._waiters)
    if end == "abort":
        fan.abort()
    else:
        fan.remove_lane(lanes["a"])
        fan.close()
    assert ended(worker)
    assert lanes["a"].ledger().closes


def test_an_order_that_chooses_nothing_is_a_fault_and_not_a_standstill():
    fan, lanes = fan_with(Scripted(nothing))
    lanes["a"].put(1)
    with pytest.raises(RuntimeError, match="chose nothing"):
        next(fan.batches(1))
    assert lanes["a"].ledger().closes


def test_what_is_dropped_is_not_kept_alive_by_a_worker_that_waits():
    fan, lanes = fan_with(Scripted(drop("a")))
    gc.disable()  # by reference counting alone
    try:
        worker = in_thread(lambda: list(fan.batches(1)))
        wait_until(lambda: fan._ready_or_over._waiters)
        item = Item()
        seen = weakref.ref(item)
        lanes["a"].put(item)
        del item
        wait_until(lambda: lanes["a"].ledger().dropped and fan._ready_or_over._waiters)
        assert seen() is None
        fan.abort()
        assert ended(worker)
    finally:
        gc.enable()


def test_an_item_may_read_the_ledger_while_it_is_dropped():
    class Dying:
        def __init__(self, lane):
            self.lane = lane

        def __del__(self):
            self.lane.ledger()  # would wait for ever inside the lock

    def work():
        fan, lanes = fan_with(Scripted(drop("a")))
        lanes["a"].put(Dying(lanes["a"]))
        lanes["b"].put(1)
        assert next(fan.batches(1)).items == [1]

    assert ended(in_thread(work))


class Erratic:
    """Serves, drops and waits as it likes, within what an order may do."""

    def __init__(self):
        self.chance = random.Random(7)

    def choose(self, ready, most, now, lanes):
        names = list(ready)
        self.chance.shuffle(names)
        cut, dice = self.chance.randint(0, len(names)), self.chance.random()
        serve, drop = names[:cut][:most], [(lane, "whim") for lane in names[cut:]]
        if dice < 0.3:
            return Choice(until=now + 0.001 * self.chance.random())
        if dice < 0.6 and serve:
            drop = []
        return Choice(serve, drop, now + 0.001)

    def ended(self, served, seconds, now):
        assert seconds >= 0


def test_the_ledger_balances_whatever_the_order_does():
    fan = FanIn("f", order=Erratic(), label=lambda item: Label(float(item)))
    stop, faults = threading.Event(), []
    lanes = [
        fan.add_lane(str(n), capacity=1 + n % 2, overflow=("drop_oldest", "block")[n % 2])
        for n in range(4)
    ]

    def produce(lane):
        number = 0
        while not stop.is_set():
            try:
                lane.put(number)
            except Closed:
                return
            number += 1
            if number % 7 == 0:
                time.sleep(0.0005)
        lane.close()

    def work():
        for batch in fan.batches(3):
            with batch:
                for position in range(len(batch)):
                    batch.settle(position, "detected")

    def look():
        while not stop.is_set():
            for lane in lanes:
                ledger = lane.ledger()
                if not ledger.closes or ledger.held > 1 or ledger.waiting > lane.capacity:
                    faults.append(ledger)
            time.sleep(0.0005)

    threads = [in_thread(lambda lane=lane: produce(lane)) for lane in lanes]
    threads += [in_thread(work) for _ in range(2)] + [in_thread(look)]
    time.sleep(0.5)
    stop.set()
    fan.close()
    assert all(ended(thread) for thread in threads)
    assert not faults
    for lane in lanes:
        ledger = lane.ledger()
        assert ledger.closes
        assert ledger.in_flight == 0
        assert ledger.dropped["infer", "whim"]
        assert ledger.settled["detected"]
