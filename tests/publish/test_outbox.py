"""What is held until it is confirmed: bounded, in order, nothing of doubt let go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer.publish.messages import Message
from streamer.publish.outbox import Outbox


def message(topic: str, seq: int, size: int = 10) -> Message:
    return Message(f"faces/{topic}/", seq, b"x" * size)


def held(outbox: Outbox) -> list[tuple[str, int]]:
    return [(e.message.camera, e.message.seq) for e in outbox.next(10_000, 2**40)]


def test_the_oldest_goes_when_there_are_too_many_or_too_much() -> None:
    few = Outbox(most=3, most_bytes=2**20)
    assert [few.put(message("a", n)) for n in range(1, 6)] == [0, 0, 0, 1, 1]
    assert held(few) == [("a", 3), ("a", 4), ("a", 5)]
    small = Outbox(most=100, most_bytes=5000)
    gone = [small.put(message("a", n, 1000)) for n in range(1, 6)]
    assert gone == [0, 0, 0, 1, 1]
    assert len(small) == 3
    assert small.put(message("a", 6, 100_000)) == 3  # one that is too long is held alone
    assert held(small) == [("a", 6)]


def test_the_first_of_each_topic_is_sent_and_stays_until_it_is_done() -> None:
    outbox = Outbox(most=4, most_bytes=2**20)
    for topic, seq in (("a", 1), ("a", 2), ("b", 1), ("b", 2)):
        outbox.put(message(topic, seq))
    first = outbox.firsts(10)
    assert [(e.message.camera, e.message.seq) for e in first] == [("a", 1), ("b", 1)]
    assert len(outbox.firsts(1)) == 1
    assert outbox.put(message("c", 1)) == 1  # a2 goes: a1 may have arrived
    assert [e.message.topic for e in outbox.firsts(10)] == ["faces/a/", "faces/b/", "faces/c/"]
    outbox.done(first)
    outbox.done(first)
    assert held(outbox) == [("b", 2), ("c", 1)]


def test_what_is_next_is_bounded_and_never_nothing() -> None:
    outbox = Outbox(most=10, most_bytes=2**20)
    for seq in range(1, 6):
        outbox.put(message("a", seq, 100))
    assert len(outbox.next(3, 10_000)) == 3
    assert len(outbox.next(10, 250)) == 2
    assert len(outbox.next(10, 1)) == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3000), st.booleans()), max_size=80))
def test_it_never_holds_more_and_counts_what_goes(steps: list[tuple[str, int, bool]]) -> None:
    outbox = Outbox(most=8, most_bytes=6000)
    gone = done = 0
    for put, (topic, size, send) in enumerate(steps, 1):
        gone += outbox.put(message(topic, put, size))
        if send:
            sent = outbox.firsts(2)
            outbox.done(sent[:1])
            done += len(sent[:1])
        assert len(outbox) == put - gone - done
        assert len(outbox) <= 8 + 2
