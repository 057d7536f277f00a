"""Packets that wait to be decoded: when they came, and which are left out."""

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.capture.arrivals import (
    BUSY_S,
    LASTING_S,
    LATE_S,
    MOST_BYTES,
    Arrival,
    Arrivals,
    Silent,
)
from streamer.errors import SourceLost


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
    put(arrivals, clock, (0, Fake(0, True)), (0.2, Fake(1)), (0.5, Fake(2)))
    assert waiting(arrivals) == [(0, 0, 0), (1, 0.2, 0), (2, 0.5, 0)]


def test_what_waits_for_a_while_is_work_although_nobody_took_it() -> None:
    arrivals = Arrivals(clock := Clock())
    assert not arrivals.is_busy()
    put(arrivals, clock, (0, Fake(0, True)))
    assert not arrivals.is_busy()
    clock.now += BUSY_S
    assert arrivals.is_busy()


def test_what_is_late_is_left_out_up_to_the_next_key_picture() -> None:
    arrivals = Arrivals(clock := Clock())
    put(arrivals, clock, (0, Fake(0, True)), (0.3, Fake(1)), (0.51, Fake(2)), (0.72, Fake(3)))
    assert arrivals.leaves_out
    assert arrivals.left_out == 4
    assert waiting(arrivals) == []
    put(arrivals, clock, (0.8, Fake(4)), (0.9, Fake(5, True)), (1.0, Fake(6)))
    assert not arrivals.leaves_out
    assert arrivals.left_out == 0
    assert waiting(arrivals) == [(5, 0.9, 5), (6, 1.0, 0)]


def test_a_moment_of_a_busy_machine_leaves_nothing_out() -> None:
    arrivals = Arrivals(clock := Clock())
    put(arrivals, clock, *((n / 25, Fake(n)) for n in range(17)))  # 0.64 s
    assert len(waiting(arrivals)) == 17
    put(arrivals, clock, *((0.68 + n / 25, Fake(n)) for n in range(17)))
    assert len(waiting(arrivals)) == 17


def test_a_key_picture_that_waits_is_kept_when_it_is_in_time() -> None:
    arrivals = Arrivals(clock := Clock())
    put(
        arrivals, clock, (0, Fake(0, True)), (0.1, Fake(1, True)), (0.2, Fake(2)),
        (0.5, Fake(3, True)), (0.51, Fake(4)), (0.72, Fake(5)),
    )  # fmt: skip
    assert not arrivals.leaves_out
    assert waiting(arrivals) == [(3, 0.5, 3), (4, 0.51, 0), (5, 0.72, 0)]


def test_a_key_picture_that_is_late_itself_is_not_kept() -> None:
    arrivals = Arrivals(clock := Clock())
    put(arrivals, clock, (0, Fake(0)), (0.2, Fake(1, True)), (0.51, Fake(2)), (0.72, Fake(3, True)))
    assert waiting(arrivals) == [(3, 0.72, 3)]


def test_how_late_is_late_can_be_said() -> None:
    arrivals = Arrivals(clock := Clock(), late_s=0.1)
    put(arrivals, clock, (0, Fake(0, True)), (0.11, Fake(1)), (0.32, Fake(2, True)))
    assert waiting(arrivals) == [(2, 0.32, 2)]
    arrivals = Arrivals(clock := Clock(), late_s=math.inf)
    put(arrivals, clock, *((n, Fake(n)) for n in range(100)))
    assert len(waiting(arrivals)) == 100


def test_bytes_that_wait_are_bounded_however_quickly_they_come() -> None:
    arrivals = Arrivals(clock := Clock(), late_s=math.inf)
    put(arrivals, clock, *((0, Fake(n, n == 0, size=MOST_BYTES // 10)) for n in range(12)))
    assert arrivals.leaves_out
    put(arrivals, clock, (0, Fake(12, True)))
    assert waiting(arrivals) == [(12, 0, 12)]


def test_the_decoders_end_is_never_left_out() -> None:
    arrivals = Arrivals(clock := Clock())
    put(arrivals, clock, (0, Fake(0, True)), (0.6, Fake(1)), (0.9, Fake(2, size=0)))
    assert waiting(arrivals) == [(2, 0.9, 2)]


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
        late_s = clock.now - arrivals._waiting[0].came_at if arrivals._waiting else 0
        assert late_s <= LATE_S + LASTING_S + 2 * 0.5 + 1e-6  # it is looked at twice
        assert arrivals._bytes == sum(each.packet.size for each in arrivals._waiting)
        for _ in range(taken):
            take()
    while arrivals._waiting:
        take()
    next_number = 0
    for packet, came_at, left_out in given_out:
        fake: Any = packet
        assert fake.number == next_number + left_out
        assert not left_out or fake.is_keyframe, "nothing else can be decoded after a gap"
        assert came_at <= clock.now
        next_number = fake.number + 1
    assert next_number + arrivals.left_out == len(steps)


def follow(packets: Iterator[Fake], *, stop: threading.Event | None = None) -> tuple[Arrivals, Any]:
    arrivals = Arrivals(time.monotonic)
    return arrivals, arrivals.follow(packets, 0, stop or threading.Event())  # type: ignore[arg-type]


def test_a_thread_reads_while_another_is_busy() -> None:
    read = threading.Event()

    def packets() -> Iterator[Fake]:
        yield Fake(0, True)
        yield Fake(1)
        read.set()

    arrivals, coming = follow(packets())
    first = next(coming)
    assert read.wait(10), "the second is read before it is asked for"
    assert not arrivals.is_busy(), "not for long"
    time.sleep(BUSY_S + 0.1)
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
    def sound() -> Iterator[Fake]:
        yield Fake(0, True)
        for number in range(1000):
            time.sleep(0.01)
            yield Fake(number, stream_index=1)

    arrivals, coming = follow(sound())
    assert next(coming).packet.number == 0
    arrivals.patience.until_at = time.monotonic() + 0.1
    with pytest.raises(Silent):
        next(coming)


def test_a_silence_does_not_count_while_there_is_work() -> None:
    def packets() -> Iterator[Fake]:
        for number in range(10):
            yield Fake(number, True)
            time.sleep(0.01)

    arrivals, coming = follow(packets())
    arrivals.patience.until_at = 0.0
    assert next(coming).packet.number == 0
    time.sleep(0.3)
    assert next(coming).packet.number == 1


def test_a_stop_is_seen_although_nothing_is_to_be_worked_off() -> None:
    stop = threading.Event()

    def sound() -> Iterator[Fake]:
        yield Fake(0, True)
        stop.set()
        for number in range(10**6):
            yield Fake(number, stream_index=1)

    _, coming = follow(sound(), stop=stop)
    assert len(list(coming)) <= 1


def test_settling_waits_for_work_to_be_done_and_not_for_ever() -> None:
    arrivals: Arrivals[Any] = Arrivals(time.monotonic)
    arrivals.settle()
    arrivals.put(Fake(0, True))  # type: ignore[arg-type]
    began_at = time.monotonic()
    arrivals.settle()
    assert time.monotonic() - began_at >= BUSY_S
    taken: list[Arrival[Any] | None] = []

    def work() -> None:
        for _ in range(2):
            taken.append(arrivals._take())

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    while arrivals._waiting:
        time.sleep(0.001)
    arrivals.settle()
    assert len(taken) == 1
    arrivals._over = True
    with arrivals._change:
        arrivals._change.notify_all()
    worker.join(10)
    assert taken[1] is None


def test_without_a_thread_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    _, coming = follow(iter([Fake(0)]))
    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(SourceLost, match="no more threads; allow it more") as lost:
        next(coming)
    assert lost.value.reason == "error"


def test_an_interrupt_does_not_leave_the_reader_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, joins = threading.Event(), []
    join = threading.Thread.join

    def interrupted(self: threading.Thread, timeout: float | None = None) -> None:
        joins.append(self)
        if len(joins) == 1:
            raise KeyboardInterrupt
        go_on.set()
        join(self, timeout)

    def packets() -> Iterator[Fake]:
        yield Fake(0, True)
        assert go_on.wait(10)
        yield Fake(1, True)

    _, coming = follow(packets())
    next(coming)
    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        coming.close()
    assert not joins[0].is_alive()


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
