"""A channel that knows when an item is too old gives no such item away, and counts it."""

import gc
import threading
import time
import weakref

from hypothesis import given
from hypothesis import strategies as st

from streamer.flow.channel import Channel

WAIT_S = 10.0


class Item:
    """Something that can be watched while it dies."""

    def __init__(self, at):
        self.at = at


def channel_at(now, *, capacity=8, overflow="drop_oldest", too_old_at=lambda item: item):
    return Channel(
        "c", capacity=capacity, overflow=overflow, too_old_at=too_old_at, clock=lambda: now[0]
    )


def test_what_is_too_old_when_it_is_taken_is_dropped_and_counted():
    now = [0.0]
    channel = channel_at(now)
    for at in (5.0, 1.0, 7.0, 2.0):
        channel.put(at)
    now[0] = 5.0  # at the instant itself it is too old
    channel.close()
    assert list(channel) == [7.0]
    stats = channel.stats()
    assert stats.dropped == {"too_old": 3}
    assert stats.delivered == 1
    assert stats.depth == 0


def test_an_item_without_an_instant_is_never_too_old():
    now = [1e9]
    channel = channel_at(now, too_old_at=lambda item: None if item == "change" else 0.0)
    for item in ("result", "change", "result"):
        channel.put(item)
    channel.close()
    assert list(channel) == ["change"]


def test_age_is_judged_when_the_reader_comes_and_not_before():
    now = [0.0]
    channel = channel_at(now)
    channel.put(1.0)
    channel.put(3.0)
    reader = iter(channel)
    assert next(reader) == 1.0
    now[0] = 2.0
    assert next(reader) == 3.0


def test_a_writer_that_waits_for_room_is_woken_by_what_is_too_old():
    now = [0.0]
    channel = channel_at(now, capacity=1, overflow="block")
    channel.put(1.0)
    now[0] = 2.0
    writer = threading.Thread(target=channel.put, args=(9.0,), daemon=True)
    writer.start()
    assert next(iter(channel)) == 9.0
    writer.join(WAIT_S)
    assert not writer.is_alive()


def test_no_item_that_was_too_old_is_kept_alive_by_a_reader_that_waits():
    now = [9.0]
    channel = channel_at(now, too_old_at=lambda item: item.at)
    reader = threading.Thread(target=lambda: list(channel), daemon=True)
    gc.disable()  # by reference counting alone
    try:
        reader.start()
        item = Item(1.0)
        seen = weakref.ref(item)
        channel.put(item)
        del item
        deadline = time.monotonic() + WAIT_S
        while not (channel.stats().dropped and channel._not_empty._waiters):
            assert time.monotonic() < deadline, "it was not dropped"
            time.sleep(0.001)
        assert seen() is None
    finally:
        gc.enable()
        channel.close()
    reader.join(WAIT_S)


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.one_of(st.none(), st.floats(0, 20))),
            st.tuples(st.just("pass"), st.floats(0, 3)),
            st.tuples(st.just("take"), st.just(0)),
        ),
        max_size=40,
    )
)
def test_every_reading_balances_and_nothing_too_old_comes_out(steps):
    now = [0.0]
    channel = channel_at(now, capacity=3, too_old_at=lambda item: item[0])
    reader, number, taken = iter(channel), 0, []
    for what, value in steps:
        if what == "put":
            channel.put((value, number))
            number += 1
        elif what == "pass":
            now[0] += value
        elif any(at is None or at > now[0] for at, _ in channel._items):
            at, place = next(reader)
            assert at is None or at > now[0]
            taken.append(place)
        stats = channel.stats()
        assert stats.offered == stats.delivered + sum(stats.dropped.values()) + stats.depth
    assert taken == sorted(taken)
