"""What sockets bring is events, heartbeats or answers, or it is refused; and golden questions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.client.sequence import Ask
from streamer.client.wire import (
    PROTOCOL,
    Elsewhere,
    Heard,
    Messages,
    Newest,
    ask_messages,
    ask_newest,
    read_answer,
    read_live,
    whole,
)
from streamer.heartbeat_events import HeartbeatEvent
from streamer.publish import replay
from tests.client.publisher import change, faces

BEAT = {
    "schema": "streamer.heartbeat/1", "boot_id": "b", "seq": 9, "wall_at": 1.5,
    "last": {"faces/door/": 3}, "cameras": {},
}  # fmt: skip


def test_live_messages_are_events_or_heartbeats() -> None:
    body = faces("door", 4, "b")
    heard = read_live([b"faces/door/", body])
    assert isinstance(heard, Heard)
    assert (heard.topic, heard.event.seq, heard.size) == (b"faces/door/", 4, 11 + len(body))
    assert read_live([b"camera/door/", change("door", 1, "b")]).event.camera == "door"  # type: ignore[union-attr]
    # What a later version adds is passed over.
    beat = read_live([b"heartbeat/", json.dumps(BEAT | {"new": {"x": [1]}}).encode()])
    assert beat == HeartbeatEvent("streamer.heartbeat/1", "b", 9, 1.5, {"faces/door/": 3}, {})


@pytest.mark.parametrize(
    "parts",
    [
        [], [b"heartbeat/"], [b"heartbeat/", b"{}"], [b"heartbeat/", b"["],
        [b"heartbeat/", json.dumps(BEAT | {"last": {"faces/door/": -1}}).encode()],
        [b"heartbeat/", json.dumps(BEAT | {"schema": "streamer.heartbeat/2"}).encode()],
        [b"heartbeat/", b'{"schema": "streamer.heartbeat/1", "boot_id": "\xff"}'],
        [b"camera/door/", faces("door", 1, "b")], [b"faces/door/", change("door", 1, "b")],
        [b"faces/yard/", faces("door", 1, "b")],
        [b"track/door/", faces("door", 1, "b")],
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_live(parts)


def test_parts_and_topics_that_are_not_known_are_passed_over() -> None:
    body = faces("door", 1, "b")
    assert read_live([b"faces/door/", body, b"", b"more"]) == read_live([b"faces/door/", body])
    for unknown in (b"nothing", b"news/door/", b"faces/door/more/", b"faces/", b"heartbeat/more/"):
        assert read_live([unknown, b"any"]) is None


def test_questions_are_as_the_document_has_them() -> None:
    assert replay.PROTOCOL == PROTOCOL == b"streamer.replay/1"
    assert ask_messages(Ask(7, b"faces/door/", "b00t", 3, 5)) == [
        b"streamer.replay/1", b"7", b"messages", b"faces/door/", b"b00t", b"3", b"5",
    ]  # fmt: skip
    assert ask_newest(8, b"", [b"faces/", b"camera/"]) == [
        b"streamer.replay/1", b"8", b"newest", b"", b"faces/", b"camera/",
    ]  # fmt: skip


def test_answers_are_read() -> None:
    bodies = [faces("door", seq, "b") for seq in (3, 4)]
    said = read_answer([PROTOCOL, b"7", b"messages", b"b", b"faces/door/", b"3", b"9", *bodies])
    assert isinstance(said, Messages)
    assert (said.number, said.first_seq, [e.seq for e in said.events]) == (7, 3, [3, 4])
    assert read_answer([PROTOCOL, b"7", b"elsewhere", b"c"]) == Elsewhere(7, "c")
    said = read_answer([PROTOCOL, b"8", b"newest", b"b", b"1", b"faces/door/", b"4", bodies[1]])
    assert isinstance(said, Newest)
    assert (said.more, [(of, seq) for of, seq, _ in said.heard]) == (True, [(b"faces/door/", 4)])


HEAD = [PROTOCOL, b"7", b"messages", b"b", b"faces/door/"]


@pytest.mark.parametrize(
    "parts",
    [
        [], [PROTOCOL], [b"other/1", b"7", b"elsewhere", b"c"],
        [PROTOCOL, b"x", b"elsewhere", b"c"], [PROTOCOL, b"7", b"elsewhere", b"\xff"],
        [PROTOCOL, b"7", b"refused", b"why"], [PROTOCOL, b"7", b"newest", b"b"],
        [PROTOCOL, b"7", b"newest", b"b", b"0", b"faces/door/"],
        [*HEAD, b"3"], [*HEAD, b"3", b"9", b"junk"], [*HEAD, b"-1", b"9"],
        [*HEAD, b"3", b"9", faces("door", 4, "b")],  # another place than it says
        [*HEAD, b"3", b"9", faces("door", 3, "c")],  # another run
        [*HEAD, b"3", b"9", faces("yard", 3, "b")],  # another camera
        [PROTOCOL, b"8", b"newest", b"b", b"1", b"faces/door/", b"5", faces("door", 4, "b")],
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_answer(parts)


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([*HEAD, b"newest", b"1"]))))
def test_any_bytes_are_read_or_refused(parts: list[bytes]) -> None:
    for read in (read_live, read_answer):
        try:
            read(parts)
        except ValueError:
            pass


@pytest.mark.parametrize(
    "text", [b"", b"-1", b"1.0", b"1" * 17, b"%d" % (2**53), "²".encode(), b" 1"]
)
def test_what_is_no_whole_number(text: bytes) -> None:
    with pytest.raises(ValueError, match="not a whole number"):
        whole(text)
