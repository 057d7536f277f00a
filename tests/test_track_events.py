"""The wire of faces that come and go: a golden file for each kind, and what strangers may send."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.changes import Quality, TrackChange
from streamer.events import MalformedEvent, encode
from streamer.track_events import (
    TRACK_SCHEMA,
    TRACK_TOPICS,
    TrackEvent,
    decode_track,
    track_event,
    track_schema,
    track_topic,
)

GOLDEN = Path(__file__).parent / "data" / "events"
APPEARED = TrackChange(
    kind="appeared", camera="door", id=7, epoch=2, frame=41, at=100.0, wall_at=1_700_000_000.12345,
    width=1280, height=720, box=(100.123, 50.456, 180.5, 151.0),
    landmarks=((121.111, 90.5), (159.999, 91.25), (140.0, 110.0), (125.75, 130.0), (155.0, 131.0)),
    confidence=0.9987654, quality=Quality(89.8712, 312.4567, 0.91234, 0.55432), best_frame=41,
    seen_s=0.0,
)  # fmt: skip
CHANGES = {
    "track_appeared": APPEARED,
    "track_best": replace(
        APPEARED, kind="best", frame=63, best_frame=63, at=101.5, seen_s=1.5,
        quality=Quality(112.0, None, 1.0, 0.5),
    ),
    "track_left": replace(
        APPEARED, kind="left", frame=120, at=105.25, seen_s=5.25, best_frame=63, reason="unseen",
    ),
}  # fmt: skip


def event_of(change: TrackChange) -> TrackEvent:
    return track_event(change, seq=3, boot_id="3f9a", now_at=change.at + 0.0254321)


@pytest.mark.parametrize("name", CHANGES)
def test_the_wire_is_what_the_golden_file_says(name: str) -> None:
    golden = (GOLDEN / f"{name}.json").read_bytes().rstrip(b"\n")
    event = event_of(CHANGES[name])
    assert encode(event) == golden
    assert decode_track(golden) == event


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    line = encode(event_of(APPEARED)).replace(b'"kind"', b'"to_come":{"x":[1]},"kind"')
    assert decode_track(line) == event_of(APPEARED)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'"appeared"', b'"went"'), (b"track/1", b"faces/1"), (b'"id":7', b'"id":"7"'),
        (b'"seq":3', b'"seq":0'), (b'"reason":""', b'"reason":"bored"'),
        (b'"frontality":0.912', b'"frontality":1.5'), (b'"quality"', b'"qualities"'),
        (b'"door"', b'""'), (b"[100.12,", b"["),
    ],
)  # fmt: skip
def test_a_hostile_event_is_one_clear_error(was: bytes, becomes: bytes) -> None:
    line = encode(event_of(APPEARED))
    assert was in line
    with pytest.raises(MalformedEvent, match=r"^not an event of streamer\.track/1: "):
        decode_track(line.replace(was, becomes))


@given(st.binary(max_size=100), st.integers(0, 500), st.integers(0, 40))
def test_any_bytes_give_an_event_or_a_malformed_event(junk: bytes, at: int, cut: int) -> None:
    data = encode(event_of(APPEARED))
    for hostile in (junk, data[:at] + junk + data[at + cut :]):
        try:
            assert decode_track(hostile).schema == TRACK_SCHEMA
        except MalformedEvent:
            pass


def test_topics_keep_cameras_apart() -> None:
    assert track_topic("cam1") == b"track/cam1/"
    assert track_topic("cam1").startswith(TRACK_TOPICS)
    assert not track_topic("cam10").startswith(track_topic("cam1"))
    with pytest.raises(ValueError, match="slash"):
        track_topic("a/b")


def test_the_json_schema_describes_every_field() -> None:
    described = track_schema()
    assert json.loads(json.dumps(described)) == described
    event = described["$defs"]["TrackEvent"]
    assert event["required"] == list(TrackEvent.__struct_fields__) == list(event["properties"])
    assert event["properties"]["schema"] == {"enum": [TRACK_SCHEMA]}
