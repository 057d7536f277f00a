"""Packets that wait to be decoded: when they came, and which are left out."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.capture.arrivals import IN_TIME_S, LATE_S, Arrival, Arrivals, Silent


@dataclass
class Fake:
    """Stands for a packet of FFmpeg's."""

    number: int
    is_keyframe: bool = False
    size: int = 100
    stream_index: int = 0


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def waiting(arrivals: Arrivals) -> list[tuple[int, float, int]]:
    """All that wait, taken out: number, seconds since 100, how many were left out before it."""
    found = []
    while arrivals._waiting:
        taken = arrivals._take()
        assert taken is not None
        packet: Any = taken.packet
        found.append((packet.number, round(taken.came_at - 100, 3), taken.left_out))
    return found


def put(arrivals: Arrivals, clock: Clock, *steps: tuple[float, Fake]) -> None:
    for at, packet in steps:
        clock.now = 100 + at
        arrivals.put(packet)  # type: ignore[arg-type]


def test_packets_come_in_order_and_with_the_instant_at_which_they_came() -> None:
    arrivals = Arrivals(clock := Clock())
    put(arrivals, clock, (0, Fake(0, True)), (0.2, Fake(1)), (LATE_S, Fake(2)))
    assert waiting(arrivals) == [(0, 0, 0), (1, 0.2, 0), (2, 0.6, 0)]


def test_what_is_late_is_left_out_up_to_the_next_key_picture() -> None:
    arrivals = Arrivals(clock := Clock())
    put(arrivals, clock, (0, Fake(0, True)), (0.3, Fake(1)), (0.61, Fake(2)), (0.7, Fake(3)))
    assert arrivals.leaves_out
    assert waiting(arrivals) == []
    put(arrivals, clock, (0.8, Fake(4)), (0.9, Fake(5, True)), (1.0, Fake(6)))
    assert not arrivals.leaves_out
    assert waiting(arrivals) == [(5, 0.9, 5), (6, 1.0, 0)]


def test_a_key_picture_that_waits_is_kept_when_it_is_in_time() -> None:
    arrivals = Arrivals(clock := Clock())
    in_time = LATE_S + 0.05 - IN_TIME_S
    put(
        arrivals, clock, (0, Fake(0, True)), (0.1, Fake(1, True)), (0.2, Fake(2)),
        (in_time, Fake(3, True)), (0.5, Fake(4)), (LATE_S + 0.04, Fake(5)),
    )  # fmt: skip
    assert not arrivals.leaves_out
    assert waiting(arrivals) == [(3, round(in_time, 3), 3), (4, 0.5, 0), (5, 0.64, 0)]


def test_a_key_picture_that_is_late_itself_is_not_kept() -> None:
    arrivals = Arrivals(clock := Clock())
    put(arrivals, clock, (0, Fake(0)), (0.2, Fake(1, True)), (0.61, Fake(2)), (0.62, Fake(3, True)))
    assert waiting(arrivals) == [(3, 0.62, 3)]


def test_the_decoders_end_is_never_left_out() -> None:
    arrivals = Arrivals(clock := Clock())
    put(arrivals, clock, (0, Fake(0, True)), (0.7, Fake(1)), (0.8, Fake(2, size=0)))
    assert waiting(arrivals) == [(2, 0.8, 2)]


@given(
    st.lists(
        st.tuples(st.floats(0, 0.5), st.booleans(), st.integers(0, 3)), min_size=1, max_size=80
    )
)
def test_every_packet_is_given_or_counted_and_nothing_waits_long(
    steps: list[tuple[float, bool, int]],
) -> None:
    arrivals = Arrivals(clock := Clock())
    given_out: list[Arrival] = []

    def take() -> None:
        if arrivals._waiting:
            taken = arrivals._take()
            assert taken is not None
            given_out.append(taken)

    for number, (passed_s, key, taken) in enumerate(steps):
        clock.now += passed_s
        arrivals.put(Fake(number, key))  # type: ignore[arg-type]
        assert not arrivals._waiting or clock.now - arrivals._waiting[0].came_at <= LATE_S
        for _ in range(taken):
            take()
    while arrivals._waiting:
        take()
    next_number, decodes = 0, True
    for packet, came_at, left_out in given_out:
        fake: Any = packet
        assert fake.number == next_number + left_out
        assert not left_out or fake.is_keyframe, "nothing else can be decoded after a gap"
        assert came_at <= clock.now
        next_number = fake.number + 1
        decodes = decodes and not left_out
    assert next_number + arrivals._left_out == len(steps)


def follow(
    packets: Iterator[Fake], *, is_over: Callable[[], bool] = lambda: False
) -> tuple[Arrivals, Any]:
    arrivals = Arrivals(time.monotonic)
    return arrivals, arrivals.follow(packets, 0, is_over)  # type: ignore[arg-type]


def test_a_thread_reads_while_another_is_busy() -> None:
    read = threading.Event()

    def packets() -> Iterator[Fake]:
        yield Fake(0, True)
        yield Fake(1)
        read.set()

    arrivals, coming = follow(packets())
    first = next(coming)
    assert read.wait(10), "the second is read before it is asked for"
    assert arrivals.is_busy()
    assert [first.packet.number, *(each.packet.number for each in coming)] == [0, 1]
    assert not any(thread.name.endswith(":read") for thread in threading.enumerate())


def test_other_streams_are_read_and_not_given() -> None:
    _, coming = follow(iter([Fake(0, stream_index=1), Fake(1), Fake(2, stream_index=1)]))
    assert [each.packet.number for each in coming] == [1]


def test_what_fails_is_raised_behind_what_came() -> None:
    def packets() -> Iterator[Fake]:
        yield Fake(0, True)
        yield Fake(1)
        raise OSError("cut")

    arrivals, coming = follow(packets())
    got = []
    with pytest.raises(OSError, match="cut"):
        for each in coming:
            time.sleep(0.05)
            got.append(each.packet.number)
    assert got == [0, 1]
    assert arrivals._error is None, "it holds the frames of both threads"


def test_packets_that_give_no_work_do_not_hide_a_silence() -> None:
    over = threading.Event()

    def sound() -> Iterator[Fake]:
        yield Fake(0, True)
        for number in range(1000):
            time.sleep(0.01)
            yield Fake(number, stream_index=1)

    _, coming = follow(sound(), is_over=over.is_set)
    assert next(coming).packet.number == 0
    over.set()
    with pytest.raises(Silent):
        next(coming)


def test_a_silence_does_not_count_while_there_is_work() -> None:
    def packets() -> Iterator[Fake]:
        for number in range(10):
            yield Fake(number, True)
            time.sleep(0.01)

    _, coming = follow(packets(), is_over=lambda: True)
    assert next(coming).packet.number == 0
    time.sleep(0.3)
    assert next(coming).packet.number == 1


def test_who_stops_waits_for_the_reader() -> None:
    inside, ended = threading.Event(), threading.Event()

    def packets() -> Iterator[Fake]:
        try:
            for number in range(10**6):
                inside.set()
                time.sleep(0.02)
                yield Fake(number, True)
        finally:
            ended.set()

    source = packets()
    _, coming = follow(source)
    next(coming)
    coming.close()
    assert not any(thread.name.endswith(":read") for thread in threading.enumerate())
    source.close()  # it is not being read any more
    assert ended.is_set()
