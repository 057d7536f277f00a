"""What was published lately, and what is told of what is not there any more."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.publish import history
from streamer.publish.history import ENTRY_BYTES, History, Newest, Passage

LOTS = 10**9


def read(
    held: History, first: int, last: int, *, topic: bytes = b"a/", now: float = 0.0, **bounds: int
) -> Passage:
    limits = {"max_bytes": LOTS, "max_count": LOTS} | bounds
    return held.read(topic, first, last, now=now, **limits)


def of(*bodies: bytes, keeps: int = LOTS, age_s: float = 1e9) -> History:
    """A history of one topic, a message each second from 0."""
    held = History(max_bytes=keeps, max_age_s=age_s)
    for seq, body in enumerate(bodies, 1):
        held.add(b"a/", seq, body, float(seq - 1))
    return held


def test_what_was_asked_for_is_given() -> None:
    held = of(b"1", b"2", b"3", b"4")
    assert read(held, 2, 3) == Passage(2, (b"2", b"3"), 4)
    assert read(held, 3, 99) == Passage(3, (b"3", b"4"), 4)
    assert read(held, 5, 9) == Passage(5, (), 4)
    assert read(held, 9, 9) == Passage(5, (), 4)
    assert read(held, 1, 9, topic=b"b/") == Passage(1, (), 0)


def test_what_is_too_old_is_gone_and_said_to_be() -> None:
    held = of(b"1", b"2", b"3", b"4", age_s=2.0)
    assert read(held, 1, 4, now=3.0) == Passage(2, (b"2", b"3", b"4"), 4)
    assert read(held, 1, 4, now=4.5) == Passage(4, (b"4",), 4)
    assert read(held, 1, 2, now=4.5) == Passage(3, (), 4)
    assert read(held, 1, 4, now=99.0) == Passage(5, (), 4)
    assert (len(held), held.held_bytes) == (0, 0)


def test_what_is_too_much_is_gone() -> None:
    held = of(*[bytes(40)] * 10, keeps=3 * (40 + ENTRY_BYTES))
    assert read(held, 1, 10).first_seq == 8
    assert held.held_bytes == 3 * (40 + ENTRY_BYTES)
    held.add(b"a/", 11, bytes(10_000), 99.0)  # more than all of it
    assert (len(held), held.held_bytes) == (0, 0)
    assert held.newest([b"a/"], after=b"", max_bytes=LOTS, max_count=9)[0][0].seq == 11


def test_an_answer_is_bounded_but_never_empty() -> None:
    held = of(*[bytes(100)] * 10)
    assert len(read(held, 1, 10, max_bytes=350).bodies) == 3
    assert len(read(held, 1, 10, max_bytes=1).bodies) == 1
    assert len(read(held, 1, 10, max_count=4).bodies) == 4


def test_a_hole_is_not_taken() -> None:
    held = of(b"1")
    with pytest.raises(ValueError, match="message 3 does not follow 1"):
        held.add(b"a/", 3, b"", 9.0)


@pytest.mark.parametrize(("size", "age_s"), [(0, 1.0), (1, -1.0), (1, float("nan"))])
def test_bounds_that_cannot_be(size: int, age_s: float) -> None:
    with pytest.raises(ValueError, match="give more"):
        History(max_bytes=size, max_age_s=age_s)


def test_the_newest_of_each_topic_stays_and_comes_in_pieces() -> None:
    held = History(max_bytes=LOTS, max_age_s=1.0)
    for name in (b"b/", b"a/", b"c/", b"x/"):
        held.add(name, 1, name, 0.0)
    held.add(b"a/", 2, b"new", 50.0)
    wanted = [b"a", b"b", b"c"]
    found, more = held.newest(wanted, after=b"", max_bytes=LOTS, max_count=2)
    assert (found, more) == ([Newest(b"a/", 2, b"new"), Newest(b"b/", 1, b"b/")], True)
    assert held.newest(wanted, after=b"b/", max_bytes=1, max_count=2) == (
        [Newest(b"c/", 1, b"c/")],
        False,
    )
    assert len(held.newest(wanted, after=b"", max_bytes=1, max_count=9)[0]) == 1


def test_topics_are_bounded_and_the_quietest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_TOPICS", 2)
    held = History(max_bytes=LOTS, max_age_s=1e9)
    held.add(b"a/", 1, b"a", 0.0)
    held.add(b"b/", 1, b"b", 1.0)
    held.add(b"a/", 2, b"a", 2.0)
    held.add(b"c/", 1, b"c", 3.0)
    assert read(held, 1, 9, topic=b"b/") == Passage(1, (), 0)
    assert len(read(held, 1, 9).bodies) == 2
    assert held.held_bytes == 3 * (1 + ENTRY_BYTES)


@given(
    st.lists(st.tuples(st.sampled_from([b"a/", b"b/"]), st.integers(0, 300), st.floats(0, 3))),
    st.integers(1, 3000),
    st.integers(0, 20),
    st.integers(1, 30),
    st.integers(0, 30),
    st.integers(1, 600),
)
def test_any_passage_is_what_was_published(
    messages: list[tuple[bytes, int, float]],
    keeps: int,
    age_s: int,
    first: int,
    more: int,
    max_bytes: int,
) -> None:
    held = History(max_bytes=keeps, max_age_s=age_s)
    counts = {b"a/": 0, b"b/": 0}
    kept: list[tuple[bytes, int, bytes, float]] = []  # the model: a list, and no cleverness
    now = 0.0
    for topic, size, pause_s in messages:
        now += pause_s
        counts[topic] += 1
        body = b"%d:" % counts[topic] + bytes(size)
        held.add(topic, counts[topic], body, now)
        kept.append((topic, counts[topic], body, now))
        while kept and (
            sum(len(one[2]) + ENTRY_BYTES for one in kept) > keeps or kept[0][3] < now - age_s
        ):
            del kept[0]
        assert held.held_bytes == sum(len(one[2]) + ENTRY_BYTES for one in kept)
    last = first + more
    for topic, count in counts.items():
        found = read(held, first, last, topic=topic, now=now, max_bytes=max_bytes)
        assert found.newest_seq == count
        there = [(seq, body) for of, seq, body, _ in kept if of == topic and first <= seq <= last]
        given_ = list(enumerate(found.bodies, found.first_seq))
        assert given_ == there[: len(given_)]
        assert bool(given_) == bool(there)
        assert len(given_) <= 1 or sum(map(len, found.bodies)) <= max_bytes
        if len(given_) < len(there):
            assert sum(len(body) for _, body in there[: len(given_) + 1]) > max_bytes
        if not there and count:  # all is gone, or was not published yet
            assert found.first_seq == min(
                max(first, held_from(kept, topic, count)), last + 1, count + 1
            )


def held_from(kept: list[tuple[bytes, int, bytes, float]], topic: bytes, count: int) -> int:
    return min((seq for of, seq, _, _ in kept if of == topic), default=count + 1)


def test_one_thread_adds_while_another_reads() -> None:
    held = History(max_bytes=50 * (8 + ENTRY_BYTES), max_age_s=1e9)
    over = threading.Event()

    def add() -> None:
        for seq in range(1, 20_001):
            held.add(b"a/", seq, b"%08d" % seq, 0.0)
        over.set()

    adding = threading.Thread(target=add)
    adding.start()
    while not over.is_set():
        found = read(held, 1, LOTS)
        assert [int(body) for body in found.bodies] == list(
            range(found.first_seq, found.first_seq + len(found.bodies))
        )
    adding.join()
    assert read(held, 1, LOTS).newest_seq == 20_000
