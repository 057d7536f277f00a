"""Channel: first in, first out, bounded, closed from either end, every item counted."""

import gc
import random
import threading
import time
import weakref
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamer.flow.channel import Channel, ChannelStats, Closed
from streamer.testing import ManualClock
from tests.flow.threads import Blocked, Item, ended, in_thread, wait_until


def balanced(stats: ChannelStats) -> bool:
    return stats.offered == stats.delivered + sum(stats.dropped.values()) + stats.depth


class ChannelMachine(RuleBasedStateMachine):
    """Any order of put, take, close and abort, against a deque and three counters."""

    @initialize(capacity=st.integers(1, 3), overflow=st.sampled_from(["block", "drop_oldest"]))
    def make(self, capacity, overflow):
        self.channel = Channel("c", capacity=capacity, overflow=overflow)
        self.reader = iter(self.channel)
        self.capacity, self.overflow = capacity, overflow
        self.queue = deque()
        self.blocked = deque()
        self.number = self.offered = self.delivered = self.dropped = 0
        self.closed = self.aborted = False

    def next_item(self):
        self.number += 1
        return self.number

    @property
    def full(self):
        return len(self.queue) >= self.capacity

    @precondition(lambda self: not (self.overflow == "block" and self.full) or self.closed)
    @rule()
    def put(self):
        item = self.next_item()
        self.offered += 1
        if self.closed or self.aborted:
            self.dropped += 1
            with pytest.raises(Closed):
                self.channel.put(item)
            return
        if self.full:
            self.queue.popleft()
            self.dropped += 1
        self.queue.append(item)
        self.channel.put(item)

    @precondition(
        lambda self: (
            self.overflow == "block"
            and self.full
            and not self.blocked
            and not (self.closed or self.aborted)
        )
    )
    @rule()
    def put_and_wait(self):
        item = self.next_item()
        self.blocked.append((item, Blocked(self.channel, item)))
        wait_until(lambda: self.channel._not_full._waiters)

    def let_blocked_in(self):
        while self.blocked and (not self.full or self.closed or self.aborted):
            item, writer = self.blocked.popleft()
            writer.join()
            self.offered += 1
            assert writer.closed == (self.closed or self.aborted)
            if writer.closed:
                self.dropped += 1
            else:
                self.queue.append(item)

    @precondition(lambda self: self.queue or self.closed or self.aborted)
    @rule()
    def take(self):
        if self.queue:
            assert next(self.reader) == self.queue.popleft()
            self.delivered += 1
            self.let_blocked_in()
        else:
            assert next(iter(self.channel), None) is None

    @rule()
    def close(self):
        self.closed = True
        self.channel.close()
        self.let_blocked_in()

    @rule()
    def abort(self):
        self.aborted = True
        self.dropped += len(self.queue)
        self.queue.clear()
        self.channel.abort()
        self.let_blocked_in()

    @invariant()
    def counts_agree(self):
        stats = self.channel.stats()
        assert balanced(stats)
        assert stats.offered == self.offered
        assert stats.delivered == self.delivered
        assert sum(stats.dropped.values()) == self.dropped
        assert stats.depth == len(self.queue) <= stats.peak <= self.capacity

    def teardown(self):
        if not hasattr(self, "channel"):
            return
        self.close()
        assert list(self.channel) == list(self.queue)  # nothing is lost, and in order


ChannelMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestChannelMachine = ChannelMachine.TestCase


def test_capacity_is_at_least_one():
    with pytest.raises(ValueError, match="'c': capacity must be at least 1, not 0"):
        Channel("c", capacity=0, overflow="block")


def test_live_channel_keeps_the_newest():
    channel = Channel("c", capacity=2, overflow="drop_oldest")
    for item in range(10):
        channel.put(item)
    channel.close()
    assert list(channel) == [8, 9]
    assert channel.stats().dropped == {"queue_full": 8}


def test_put_to_a_closed_channel_is_counted():
    channel = Channel("c", capacity=2, overflow="block")
    channel.close()
    with pytest.raises(Closed):
        channel.put(1)
    assert channel.stats().dropped == {"closed": 1}
    assert balanced(channel.stats())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_every_waiting_writer_and_reader_is_woken(end):
    full = Channel("full", capacity=1, overflow="block")
    full.put(0)
    writers = [Blocked(full, n) for n in range(3)]
    empty = Channel("empty", capacity=1, overflow="block")
    readers = [in_thread(lambda: list(empty)) for _ in range(3)]
    wait_until(lambda: len(full._not_full._waiters) == len(empty._not_empty._waiters) == 3)
    getattr(full, end)()
    getattr(empty, end)()
    for writer in writers:
        writer.join()
        assert writer.closed
    assert all(ended(reader) for reader in readers)
    assert full.stats().offered == 4
    assert balanced(full.stats())


def test_each_item_wakes_one_of_several_readers():
    channel = Channel("c", capacity=4, overflow="block")
    got = []
    readers = [in_thread(lambda: got.extend(channel)) for _ in range(4)]
    wait_until(lambda: len(channel._not_empty._waiters) == 4)
    for item in range(100):
        channel.put(item)
    channel.close()
    assert all(ended(reader) for reader in readers)
    assert sorted(got) == list(range(100))


def test_an_item_may_use_the_channel_while_it_dies():
    """Items are freed after the lock is let go: freeing a picture may take long, or call back."""

    class Dying:
        def __init__(self, channel):
            self.channel = channel

        def __del__(self):
            self.channel.stats()  # would wait for ever inside the lock

    def work():
        channel = Channel("c", capacity=1, overflow="drop_oldest")
        channel.put(Dying(channel))
        channel.put(Dying(channel))
        channel.abort()

    assert ended(in_thread(work))


def test_no_item_is_kept_alive_by_an_idle_channel():
    channel = Channel("c", capacity=1, overflow="drop_oldest")
    reader = iter(channel)
    gc.disable()  # by reference counting alone
    try:
        item = Item()
        seen = weakref.ref(item)
        channel.put(item)
        del item
        taken = next(reader)
        waiting = in_thread(lambda: next(reader, None))
        del taken
        wait_until(lambda: channel._not_empty._waiters)
        assert seen() is None

        item = Item()
        seen = weakref.ref(item)
        channel.abort()
        with pytest.raises(Closed):
            channel.put(item)
        del item
        assert ended(waiting)
    finally:
        gc.enable()
    gc.collect()  # pytest.raises keeps the traceback until here
    assert seen() is None


@pytest.mark.parametrize("overflow", ["block", "drop_oldest"])
@pytest.mark.parametrize("end", ["close", "abort"])
def test_every_reading_balances_under_stress(overflow, end):
    channel = Channel("c", capacity=3, overflow=overflow)
    stop = threading.Event()
    got = []
    unbalanced = []
    puts = [0] * 4

    def produce(who):
        chance = random.Random(who)
        try:
            while not stop.is_set():
                puts[who] += 1
                channel.put((who, puts[who]))
                if chance.random() < 0.02:
                    time.sleep(chance.random() * 0.002)
        except Closed:
            pass

    def consume():
        mine = []
        chance = random.Random()
        for item in channel:
            mine.append(item)
            if chance.random() < 0.02:
                time.sleep(chance.random() * 0.002)
        got.append(mine)

    def watch():
        last = 0
        while not stop.is_set():
            stats = channel.stats()
            if not balanced(stats) or stats.offered < last or stats.depth > stats.capacity:
                unbalanced.append(stats)
            last = stats.offered

    writers = [in_thread(lambda who=who: produce(who)) for who in range(4)]
    readers = [in_thread(consume) for _ in range(3)]
    watcher = in_thread(watch)
    time.sleep(0.7)
    getattr(channel, end)()  # while everybody is at work
    stop.set()
    assert all(ended(thread) for thread in [*writers, *readers, watcher])
    assert not unbalanced
    stats = channel.stats()
    assert stats.depth == 0
    assert stats.offered == sum(puts)
    assert stats.delivered == sum(map(len, got))
    assert balanced(stats)
    for mine in got:  # each writer's items reach each reader in order
        for who in range(4):
            numbers = [n for w, n in mine if w == who]
            assert numbers == sorted(numbers)
    if overflow == "block" and end == "close":
        assert set(stats.dropped) <= {"closed"}


def test_bursts_begin_apart_and_what_comes_in_between_comes_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, slept = ManualClock(), []
    channel: Channel[str] = Channel("c", capacity=9, overflow="block", clock=clock)

    def sleep(seconds: float) -> None:
        if not slept:
            channel.put("during")
        slept.append(seconds)
        clock.advance(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    bursts = channel.bursts(0.003)
    channel.put("alone")
    assert list(next(bursts)) == ["alone"]  # it waited for nobody
    channel.put("soon")
    clock.advance(0.001)
    assert list(next(bursts)) == ["soon", "during"]
    assert slept == [pytest.approx(0.002)]
    channel.put("late")
    clock.advance(0.003)
    burst = next(bursts)
    channel.put("next")  # a burst has what waited when it was begun, and so ends
    assert list(burst) == ["late"]
    clock.advance(0.003)
    channel.close()
    assert [list(burst) for burst in bursts] == [["next"]]
    assert slept == [pytest.approx(0.002), pytest.approx(0.003)]  # the end is heard after a rest


def test_a_burst_ends_where_the_channel_is_aborted() -> None:
    channel: Channel[int] = Channel("c", capacity=9, overflow="block")
    for number in range(4):
        channel.put(number)
    taken = []
    for number in next(channel.bursts(0.0)):
        taken.append(number)
        if number == 1:
            channel.abort()
    assert taken == [0, 1]
    assert channel.stats().dropped == {"aborted": 2}
    assert balanced(channel.stats())
