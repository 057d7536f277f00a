"""What is heard comes out in order, with exact gaps, whatever the way here does to it."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.client.notices import Gap, Restarted, Resumed, Stale, Stopped
from streamer.client.sequence import (
    ASK_TIMEOUT_S,
    ASK_TRIES,
    MAX_ASKS,
    STALE_S,
    WAITING_OVERHEAD,
    Ask,
    Sequences,
)
from streamer.publish.history import History

TOPICS = (*(b"faces/%c/" % name for name in b"abcde"), b"camera/a/")
"""More than may be asked for at a time."""


class Said(NamedTuple):
    """An event of the model: its place is all that it says."""

    boot_id: str
    topic: bytes
    seq: int


def sequences(*, replays: bool = True, max_waiting: int = 2**20) -> Sequences[Said]:
    return Sequences(lambda _: True, replays=replays, max_waiting=max_waiting, now=0.0)


def hear(order: Sequences[Said], seq: int, topic: bytes = b"faces/a/", boot: str = "1") -> None:
    order.heard(topic, boot, seq, Said(boot, topic, seq), 100, 0.0)


def said(order: Sequences[Said]) -> list[object]:
    """What is ready, events by their number."""
    found = [item.seq if isinstance(item, Said) else item for item in order.ready]
    order.ready.clear()
    return found


def gap(first: int, last: int, topic: str = "faces/a/", boot: str = "1") -> Gap:
    return Gap(topic, boot, first, last)


def test_without_replay_a_hole_is_a_gap_at_once() -> None:
    order = sequences(replays=False)
    for seq in (5, 6, 9, 9, 8, 10):  # the second 9 and the late 8 were given or told already
        hear(order, seq)
    assert said(order) == [5, 6, gap(7, 8), 9, 10]
    assert (order.lost, order.doubled) == (2, 2)


def test_what_is_missing_is_asked_for_and_comes_in_its_place() -> None:
    order = sequences()
    for seq in (1, 4, 5, 7):
        hear(order, seq)
    assert said(order) == [1]
    assert list(order.asks(0)) == [Ask(1, b"faces/a/", "1", 2, 3)]
    assert list(order.asks(0)) == []  # one question of a topic at a time
    order.answered(1, "1", 2, [Said("1", b"faces/a/", 2), Said("1", b"faces/a/", 3)])
    assert said(order) == [2, 3, 4, 5]
    assert list(order.asks(0)) == [Ask(2, b"faces/a/", "1", 6, 6)]
    order.answered(2, "1", 7, [])  # gone
    assert said(order) == [gap(6, 6), 7]
    assert order.waiting_bytes == 0


def test_an_answer_may_come_in_pieces_and_begin_late() -> None:
    order = sequences()
    hear(order, 1)
    hear(order, 10)
    (ask,) = order.asks(0)
    order.answered(ask.number, "1", 4, [Said("1", b"faces/a/", seq) for seq in (4, 5)])
    assert said(order) == [1, gap(2, 3), 4, 5]
    (ask,) = order.asks(0)
    assert (ask.first, ask.last) == (6, 9)
    # More than was asked for is not given twice.
    order.answered(ask.number, "1", 6, [Said("1", b"faces/a/", seq) for seq in range(6, 12)])
    assert said(order) == [6, 7, 8, 9, 10]
    hear(order, 11)
    assert said(order) == [11]


@pytest.mark.parametrize(
    ("boot", "first", "events"),
    [("2", 1, []), ("1", 2, []), ("1", 1, []), ("1", 1, [1, 2]), ("1", 99, []), ("1", 99, [99])],
)
def test_an_answer_without_what_was_asked_for_is_a_gap(
    boot: str, first: int, events: list[int]
) -> None:
    order = sequences()
    hear(order, 1)
    hear(order, 4)
    (ask,) = order.asks(0)
    order.answered(ask.number, boot, first, [Said(boot, b"faces/a/", seq) for seq in events])
    assert said(order) == [1, gap(2, 3), 4]
    order.answered(ask.number, boot, first, [])  # nobody asked any more
    assert said(order) == []


def test_a_question_without_an_answer_is_repeated_and_then_given_up() -> None:
    order = sequences()
    hear(order, 1)
    hear(order, 3)
    asked = list(order.asks(0.0))
    now = 0.0
    for _ in range(ASK_TRIES):
        assert list(order.overdue(now + ASK_TIMEOUT_S / 2, 0.0)) == []
        now += ASK_TIMEOUT_S
        asked += order.overdue(now, 0.0)
    # By one number, so that an answer to any of them will do.
    assert [(ask.number, ask.first, ask.last) for ask in asked] == [(1, 2, 2)] * ASK_TRIES
    assert said(order) == [1, gap(2, 2), 3]
    order.answered(1, "1", 2, [Said("1", b"faces/a/", 2)])  # too late: it was told as lost
    assert said(order) == []


def test_a_slow_answer_is_taken_though_it_was_asked_for_again() -> None:
    order = sequences()
    hear(order, 1)
    hear(order, 3)
    (ask,) = order.asks(0.0)
    assert list(order.overdue(ASK_TIMEOUT_S, 0.0)) == [ask]
    for _ in range(2):  # to the first question, then to the second
        order.answered(ask.number, "1", 2, [Said("1", b"faces/a/", 2)])
    assert said(order) == [1, 2, 3]


def test_who_was_away_gives_the_answer_time_to_be_read() -> None:
    order = sequences()
    hear(order, 1)
    hear(order, 3)
    list(order.asks(0.0))
    assert list(order.overdue(5.0, attentive_since=4.9)) == []
    assert order.wake_at(4.9) == 5.4
    assert len(list(order.overdue(5.4, attentive_since=4.9))) == 1


def test_a_heartbeat_tells_of_the_last_message_that_was_lost() -> None:
    order = sequences(replays=False)
    order.beat("1", {b"faces/a/": 7, b"faces/b/": 2}, 0.0)
    assert said(order) == []  # published before we came
    hear(order, 8)
    order.beat("1", {b"faces/a/": 10, b"faces/b/": 2, b"camera/a/": 1}, 0.0)
    assert said(order) == [8, gap(9, 10), gap(1, 1, "camera/a/")]
    hear(order, 11)
    assert said(order) == [11]


def test_a_heartbeat_of_topics_that_were_not_asked_for_says_nothing() -> None:
    order = Sequences[Said](lambda t: t == b"faces/a/", replays=False, max_waiting=1, now=0.0)
    order.beat("1", {}, 0.0)
    order.beat("1", {b"faces/a/": 1, b"faces/b/": 1}, 0.0)
    assert said(order) == [gap(1, 1)]


def test_a_restart_is_told_and_its_first_messages_are_missed() -> None:
    order = sequences(replays=False)
    hear(order, 500)
    hear(order, 1, boot="2")
    hear(order, 2, boot="2")
    assert said(order) == [500, Restarted("1", "2"), 1, 2]
    hear(order, 501)  # a straggler
    hear(order, 3, boot="3")
    assert said(order) == [Restarted("2", "3"), gap(1, 2, boot="3"), 3]


def test_a_restart_while_waiting_gives_what_waited_and_gives_up_the_rest() -> None:
    order = sequences()
    for seq in (1, 3, 6):
        hear(order, seq)
    (ask,) = order.asks(0)
    order.beat("1", {b"faces/a/": 8}, 0.0)
    hear(order, 1, boot="2")
    assert said(order) == [
        1, gap(2, 2), 3, gap(4, 5), 6, gap(7, 8), Restarted("1", "2"), 1,
    ]  # fmt: skip
    order.answered(ask.number, "1", 2, [Said("1", b"faces/a/", 2)])
    assert said(order) == []
    assert order.waiting_bytes == 0


def test_state_begins_a_topic_and_is_not_news_where_something_was_given() -> None:
    order = sequences()
    order.state("1", b"faces/a/", 7, Said("1", b"faces/a/", 7))
    hear(order, 6)  # still on its way when the state was asked for
    hear(order, 7)
    hear(order, 8)
    order.state("1", b"faces/a/", 8, Said("1", b"faces/a/", 8))
    assert said(order) == [7, 8]
    order.beat("1", {b"faces/a/": 8, b"camera/a/": 3}, 0.0)
    order.state("1", b"camera/a/", 3, Said("1", b"camera/a/", 3))  # known of, but never given
    order.state("0", b"faces/b/", 3, Said("0", b"faces/b/", 3))
    assert said(order) == [3]


def test_state_does_not_hide_what_is_still_to_be_asked_for() -> None:
    order = sequences()
    order.beat("1", {}, 0.0)  # from now on every topic is known from its first message
    topics = [b"faces/%d/" % number for number in range(MAX_ASKS + 1)]
    order.beat("1", dict.fromkeys(topics, 5), 0.0)
    asks = list(order.asks(0.0))
    assert len(asks) == MAX_ASKS  # the last topic waits for its turn
    order.state("1", topics[-1], 5, Said("1", topics[-1], 5))
    assert said(order) == []
    order.answered(asks[0].number, "1", 6, [])
    (ask,) = order.asks(0.0)
    assert (ask.topic, ask.first, ask.last) == (topics[-1], 1, 5)


def test_last_words_of_the_run_before_do_not_make_one_deaf() -> None:
    order = sequences()
    order.state("2", b"faces/a/", 2, Said("2", b"faces/a/", 2))
    hear(order, 700, boot="1")
    hear(order, 3, boot="2")
    assert said(order) == [
        2, Restarted("2", "1"), gap(1, 699), 700, Restarted("1", "2"),
    ]  # fmt: skip
    (ask,) = order.asks(0.0)
    assert (ask.boot_id, ask.first, ask.last) == ("2", 1, 2)
    hear(order, 701, boot="1")  # by now it is known to be over
    assert said(order) == []


def test_what_waits_is_bounded_and_what_is_let_go_of_is_asked_for() -> None:
    order = sequences(max_waiting=3 * (100 + WAITING_OVERHEAD))
    hear(order, 1)
    for seq in range(3, 100):
        hear(order, seq)
    assert order.waiting_bytes == 3 * (100 + WAITING_OVERHEAD)
    (ask,) = order.asks(0)
    order.answered(ask.number, "1", 2, [Said("1", b"faces/a/", 2)])
    assert said(order) == [1, 2, 3, 4, 5]
    (ask,) = order.asks(0)
    assert (ask.first, ask.last) == (6, 99)


def test_few_questions_fly_at_a_time_and_every_topic_has_its_turn() -> None:
    order = sequences()
    topics = [b"faces/%d/" % number for number in range(10)]
    for topic in topics:
        hear(order, 1, topic)
        hear(order, 3, topic)
    asked: list[bytes] = []
    while asks := list(order.asks(0)):
        assert len(asks) <= MAX_ASKS
        for ask in asks:
            asked.append(ask.topic)
            order.answered(ask.number, "1", 2, [Said("1", ask.topic, 2)])
    assert asked == topics


def test_silence_is_told_once_and_only_to_who_listens() -> None:
    order = sequences()
    assert order.wake_at(0.0) == STALE_S
    order.watch(2.9, 0.0)
    assert said(order) == []
    order.watch(3.0, attentive_since=2.8)
    assert said(order) == []
    order.watch(3.5, attentive_since=2.8)
    assert said(order) == [Stale(3.5, None)]
    order.watch(99.0, 0.0)
    assert (said(order), order.wake_at(0.0)) == ([], None)
    order.heard(b"faces/a/", "1", 1, Said("1", b"faces/a/", 1), 1, 100.0)
    order.watch(103.0, 0.0)
    assert said(order) == [Resumed(100.0, "1"), 1, Stale(3.0, "1")]
    order.beat("1", {}, 107.5)  # a heartbeat is enough, and it is told once
    order.beat("1", {}, 108.0)
    assert said(order) == [Resumed(7.5, "1")]
    order.watch(112.0, 0.0)
    order.beat("2", {}, 113.0)
    assert said(order) == [Stale(4.0, "1"), Restarted("1", "2")]


def test_the_end_is_told_last_and_the_silence_after_it_is_not() -> None:
    order = sequences(replays=False)
    hear(order, 1)
    order.beat("1", {b"faces/a/": 3}, 1.0, ended=True)
    assert said(order) == [1, gap(2, 3), Stopped("1")]
    order.watch(99.0, 0.0)
    assert (said(order), order.wake_at(0.0)) == ([], None)
    order.beat("2", {}, 100.0)
    assert said(order) == [Restarted("1", "2")]  # and it was not stale: nothing is resumed
    order.watch(103.0, 0.0)
    assert said(order) == [Stale(3.0, "2")]


def test_the_end_is_told_when_what_is_missing_has_come() -> None:
    order = sequences()
    hear(order, 1)
    order.beat("1", {b"faces/a/": 3}, 1.0, ended=True)
    (ask,) = order.asks(1.0)
    assert said(order) == [1]
    order.answered(ask.number, "1", 2, [Said("1", b"faces/a/", seq) for seq in (2, 3)])
    assert said(order) == [2, 3, Stopped("1")]
    order = sequences()
    hear(order, 1)
    order.beat("1", {b"faces/a/": 3}, 0.0, ended=True)
    assert list(order.asks(0.0))
    for tries in range(1, ASK_TRIES + 1):
        list(order.overdue(tries * ASK_TIMEOUT_S, 0.0))
    assert said(order) == [1, gap(2, 3), Stopped("1")]


def test_a_restart_before_the_end_was_told_tells_both() -> None:
    order = sequences()
    hear(order, 1)
    order.beat("1", {b"faces/a/": 2}, 1.0, ended=True)
    assert list(order.asks(1.0))
    order.beat("2", {}, 2.0)
    assert said(order) == [1, gap(2, 2), Stopped("1"), Restarted("1", "2")]
    order.watch(5.0, 0.0)
    assert said(order) == [Stale(3.0, "2")]


class World:
    """A publisher, its history, and a way here that loses what it is told to lose."""

    def __init__(self, *, replays: bool) -> None:
        self.order = sequences(replays=replays, max_waiting=4 * (100 + WAITING_OVERHEAD))
        self.known: set[bytes] | None = None  # topics that the first heartbeat heard knew of
        self.live: deque[tuple[Said | dict[bytes, int], str]] = deque()
        self.questions: deque[Ask] = deque()
        self.out: list[object] = []
        self.delivered: set[Said] = set()
        self.boot = 0
        self.now = 0.0
        self.begin()

    def begin(self) -> None:
        self.boot += 1
        self.history = History(max_bytes=6 * 170, max_age_s=1e9)
        self.last: dict[bytes, int] = {}

    @property
    def boot_id(self) -> str:
        return str(self.boot)

    def publish(self, topic: bytes, lost: bool) -> None:
        seq = self.last[topic] = self.last.get(topic, 0) + 1
        self.history.add(topic, seq, b"%d" % seq, self.now)
        if not lost:
            self.live.append((Said(self.boot_id, topic, seq), self.boot_id))

    def beat(self, lost: bool) -> None:
        if not lost:
            self.live.append((dict(self.last), self.boot_id))

    def deliver(self) -> None:
        if self.live:
            item, boot_id = self.live.popleft()
            if isinstance(item, Said):
                self.delivered.add(item)
                self.order.heard(item.topic, boot_id, item.seq, item, 100, self.now)
            else:
                self.order.beat(boot_id, item, self.now)
                if self.known is None and boot_id == "1":
                    self.known = {*item, *(o.topic for o in self.out if isinstance(o, Said))}
        self.take()

    def cut(self) -> None:
        """The connection breaks: what is on its way is lost."""
        self.live.clear()

    def answer(self, lost: bool, max_count: int = 3) -> None:
        if self.questions:
            ask = self.questions.popleft()
            if lost:
                return
            if ask.boot_id != self.boot_id:
                self.order.answered(ask.number, self.boot_id, 1, [])
            else:
                found = self.history.read(
                    ask.topic, ask.first, ask.last,
                    now=self.now, max_bytes=10**6, max_count=max_count,
                )  # fmt: skip
                events = [
                    Said(self.boot_id, ask.topic, seq)
                    for seq, _ in enumerate(found.bodies, found.first_seq)
                ]
                self.order.answered(ask.number, self.boot_id, found.first_seq, events)
        self.take()

    def state(self, max_count: int) -> None:
        found, _ = self.history.newest([b""], after=b"", max_bytes=10**6, max_count=max_count)
        for topic, seq, _ in found:
            self.order.state(self.boot_id, topic, seq, Said(self.boot_id, topic, seq))
        self.take()

    def wait(self) -> None:
        self.now += ASK_TIMEOUT_S
        self.questions.extend(self.order.overdue(self.now, 0.0))
        self.take()

    def take(self) -> None:
        self.questions.extend(self.order.asks(self.now))
        self.out += self.order.ready
        self.order.ready.clear()

    def settle(self) -> None:
        """The way is good again: all that was published is heard, asked for and answered."""
        self.beat(lost=False)
        for _ in range(10_000):
            if self.live:
                self.deliver()
            elif self.questions:
                self.answer(lost=False)
            elif self.order.wake_at(0.0) is not None and self.order._flying:
                self.wait()  # a question or its answer was lost
            else:
                return
        pytest.fail("it never comes to an end")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from(TOPICS), st.booleans()),
        st.tuples(st.just("deliver"), st.integers(1, 5)),
        st.tuples(st.just("beat"), st.booleans()),
        st.tuples(st.just("answer"), st.booleans()),
        st.tuples(st.just("state"), st.integers(1, 3)),
        st.tuples(st.just("wait")),
        st.tuples(st.just("cut")),
        st.tuples(st.just("restart")),
    ),
    max_size=60,
)


def play(steps: list[tuple[object, ...]], *, replays: bool) -> World:
    world = World(replays=replays)
    for step in steps:
        match step:
            case ("publish", bytes(topic), bool(lost)):
                world.publish(topic, lost)
            case ("deliver", int(times)):
                for _ in range(times):
                    world.deliver()
            case ("beat", bool(lost)):
                world.beat(lost)
            case ("answer", bool(lost)):
                world.answer(lost)
            case ("state", int(count)):
                known = world.order.boot_id
                if known is None and any(boot != world.boot_id for _, boot in world.live):
                    continue  # see test_last_words_of_the_run_before_do_not_make_one_deaf
                if replays and known in (None, world.boot_id):
                    world.state(count)
            case ("wait",):
                world.wait()
            case ("cut",):
                world.cut()
            case ("restart",):
                world.begin()
    world.settle()
    return world


@settings(max_examples=150)
@given(STEPS, st.booleans())
def test_the_output_is_the_published_sequence_with_exact_gaps(
    steps: list[tuple[object, ...]], replays: bool
) -> None:
    world = play(steps, replays=replays)
    boots: list[str] = []
    reached: dict[tuple[str, bytes], int] = {}
    for item in world.out:
        match item:
            case Restarted(old_boot_id=old, new_boot_id=new):
                boots = boots or [old]
                assert boots[-1] == old
                boots.append(new)
                continue
            case Gap(topic=topic, boot_id=boot_id, first_seq=first, last_seq=last):
                place = (boot_id, topic.encode())
            case Said(boot_id=boot_id, topic=name, seq=first):
                place, last = (boot_id, name), first
            case _:
                pytest.fail(f"{item} is neither")
        boots = boots or [boot_id]
        assert boot_id == boots[-1]  # nothing of another run between two restarts
        # Each goes on where the one before ended: nothing twice, nothing left out.
        assert first == reached.get(place, first - 1) + 1
        if len(boots) > 1:  # who heard the run before misses this one's first messages
            assert place in reached or first == 1
        elif world.known is not None and place[1] not in world.known:
            assert place in reached or first == 1  # it began when we listened already
        assert last >= first
        reached[place] = last
        if isinstance(item, Gap):  # nothing that was heard is told as lost
            names = {Said(boot_id, place[1], seq) for seq in range(first, last + 1)}
            assert not names & world.delivered
    assert boots == sorted(set(boots), key=int)
    # And all comes to the end of what was published.
    for topic, last in world.last.items():
        if (world.boot_id, topic) in reached:
            assert reached[world.boot_id, topic] == last
        elif len(boots) > 1:
            pytest.fail(f"nothing is said of {topic!r}")
    assert world.order.waiting_bytes == 0


@settings(max_examples=100)
@given(STEPS)
def test_nothing_is_a_gap_that_the_history_still_has(steps: list[tuple[object, ...]]) -> None:
    kind = {"publish", "deliver", "beat", "state"}
    kept = [step for step in steps if step[0] in kind or step == ("answer", False)]
    world = play(kept, replays=True)
    gone = dict.fromkeys(TOPICS, 0)
    for topic in gone:
        found = world.history.read(topic, 1, 10**6, now=0, max_bytes=10**9, max_count=10**6)
        gone[topic] = found.first_seq - 1
    for item in world.out:
        if isinstance(item, Gap):
            assert item.last_seq <= gone[item.topic.encode()]
