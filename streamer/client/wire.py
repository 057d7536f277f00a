"""Turns what sockets bring into events, and questions into what sockets take.

A live message is two parts, the topic and an event; a later streamer may add more. A
question for the replay socket and its answer are several parts of plain text (docs/client.md), so
that any language can ask; this is the client's end, and :mod:`streamer.publish.replay` the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from streamer.client.sequence import Ask
from streamer.events import (
    CAMERA_TOPICS,
    TOPICS,
    CameraEvent,
    FacesEvent,
    MalformedEvent,
    camera_topic,
    decode,
    decode_camera,
    topic,
)
from streamer.heartbeat_events import HEARTBEAT_TOPIC, HeartbeatEvent, decode_heartbeat
from streamer.track_events import TRACK_TOPICS, TrackEvent, decode_track, track_topic

Event = FacesEvent | CameraEvent | TrackEvent
"""What streamer publishes of cameras."""

PROTOCOL: Final = b"streamer.replay/1"
"""First part of every question and answer."""

MAX_PREFIXES: Final = 64
"""Topics that one question for the newest messages may name."""

KINDS: Final[dict[bytes, tuple[Callable[[bytes], Event], Callable[[str], bytes]]]] = {
    TOPICS: (decode, topic),
    CAMERA_TOPICS: (decode_camera, camera_topic),
    TRACK_TOPICS: (decode_track, track_topic),
}
"""By what its topic begins with: how an event is read, and the topic of a camera's."""


_TOPIC: Final = re.compile(b"(?:%s)[^/]+/" % b"|".join(KINDS))


class Heard(NamedTuple):
    """An event and where it stands."""

    topic: bytes
    event: Event
    size: int  # bytes of the message


class Messages(NamedTuple):
    """The answer to an :class:`Ask`: ``bodies`` are of ``first_seq`` and on, without a hole."""

    number: int
    boot_id: str
    topic: bytes
    first_seq: int
    events: list[Event]


class Elsewhere(NamedTuple):
    """The answer when the run asked about is over; ``boot_id`` is the one that runs."""

    number: int
    boot_id: str


class Newest(NamedTuple):
    """Newest messages of topics, sorted; ``more`` when others come after the last of these."""

    number: int
    boot_id: str
    more: bool
    heard: list[tuple[bytes, int, Event]]


def read_live(parts: Sequence[bytes]) -> Heard | HeartbeatEvent | None:
    """What a live message says, None where it is on a topic that is not known here.

    Raises ``ValueError`` when it is no message, or topic and body differ.
    """
    heard_topic, body = parts[:2]
    if heard_topic == HEARTBEAT_TOPIC:
        return decode_heartbeat(body)
    if not _TOPIC.fullmatch(heard_topic):
        return None
    return Heard(heard_topic, read_event(heard_topic, body), len(heard_topic) + len(body))


def topic_of(event: Event) -> bytes:
    """The topic that an event comes on."""
    if isinstance(event, FacesEvent):
        return topic(event.camera)
    return (
        camera_topic(event.camera) if isinstance(event, CameraEvent) else track_topic(event.camera)
    )


def ask_messages(ask: Ask) -> list[bytes]:
    """The parts of a question for what is missing."""
    return [
        PROTOCOL, b"%d" % ask.number, b"messages", ask.topic, ask.boot_id.encode(),
        b"%d" % ask.first, b"%d" % ask.last,
    ]  # fmt: skip


def ask_newest(number: int, after: bytes, prefixes: Sequence[bytes]) -> list[bytes]:
    """The parts of a question for the newest message of each topic after ``after``.

    Only of topics that begin with one of ``prefixes``, :data:`MAX_PREFIXES` of them at most.
    """
    return [PROTOCOL, b"%d" % number, b"newest", after, *prefixes]


def read_answer(parts: Sequence[bytes]) -> Messages | Elsewhere | Newest:
    """What an answer says. Raises ``ValueError`` for anything that is none, a refusal too."""
    if len(parts) < 4 or parts[0] != PROTOCOL:
        raise MalformedEvent("not an answer of this version")
    number, boot_id = whole(parts[1]), parts[3].decode()
    kind, rest = parts[2], parts[4:]
    if kind == b"elsewhere":
        return Elsewhere(number, boot_id)
    if kind == b"messages" and len(rest) >= 3:
        of, first, bodies = rest[0], whole(rest[1]), rest[3:]
        events = [read_event(of, body) for body in bodies]
        if any(_stands_at(e) != (boot_id, seq) for seq, e in enumerate(events, first)):
            raise MalformedEvent("the answer's messages are not those that it says")
        return Messages(number, boot_id, of, first, events)
    if kind == b"newest" and rest and len(rest) % 3 == 1:
        heard = [
            (of, whole(seq), read_event(of, body))
            for of, seq, body in zip(rest[1::3], rest[2::3], rest[3::3], strict=True)
        ]
        if any(_stands_at(event) != (boot_id, seq) for _, seq, event in heard):
            raise MalformedEvent("the answer's messages are not those that it says")
        return Newest(number, boot_id, rest[0] == b"1", heard)
    raise MalformedEvent("not an answer of this version")


def whole(text: bytes) -> int:
    """A whole number from 0 to 2^53 - 1. Raises ``ValueError`` for anything else."""
    if not text.isdigit() or len(text) > 16 or int(text) >= 2**53:
        raise MalformedEvent("not a whole number")
    return int(text)


def _stands_at(event: Event) -> tuple[str, int]:
    return event.boot_id, event.seq


def read_event(heard_topic: bytes, body: bytes) -> Event:
    """The event in a message. Raises ``ValueError`` when topic and body do not fit."""
    read, topic_for = KINDS.get(heard_topic[: heard_topic.find(b"/") + 1], KINDS[TOPICS])
    event = read(body)
    if heard_topic != topic_for(event.camera):
        raise MalformedEvent("the topic names another camera than the event")
    return event
