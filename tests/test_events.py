"""The wire: golden files, round trips, and everything a stranger may send."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from streamer.events import (
    SCHEMA,
    TOPICS,
    Face,
    FacesEvent,
    Keypoints,
    MalformedEvent,
    camera_event,
    camera_schema,
    camera_topic,
    decode,
    decode_camera,
    encode,
    faces_event,
    schema,
    topic,
)
from streamer.types import (
    LANDMARKS,
    STATES,
    CameraChange,
    Faces,
    Failure,
    Frame,
    NoPicture,
    Outcome,
    Result,
    Stamps,
    Tracks,
)

GOLDEN = Path(__file__).parent / "data" / "events"
FRAME = Frame("door", 2, 41, 100.0, 1700000000.1234567, None, NoPicture(1280, 720))
STAMPS = Stamps(100.0, 100.001, 100.02)
FAILURE = Failure(FRAME, STAMPS, "the model gave no numbers")


def result(faces: Faces, ids: list[int] | None = None) -> Result:
    numbers = np.arange(len(faces)) if ids is None else np.array(ids)
    return Result(FRAME, Tracks(numbers.astype(np.int64), faces), STAMPS)


def event_of(outcome: Outcome) -> FacesEvent:
    return faces_event(
        outcome, seq=7, boot_id="3f9a", model="retinaface_mnet025", now_at=100.0254321
    )


TWO = result(
    Faces(
        np.array([[100.123, 50.456, 180.5, 151.0], [-3.004, 600.0, 40.25, 724.999]], np.float32),
        np.array([0.9987654, 0.6], np.float32),
        np.array(
            [
                [
                    [121.111, 90.5],
                    [159.999, 91.25],
                    [140.0, 110.0],
                    [125.75, 130.0],
                    [155.0, 131.0],
                ],
                [[5.0, 640.0], [30.0, 641.5], [17.125, 660.0], [8.0, 690.0], [28.0, 690.5]],
            ],
            np.float32,
        ),
    ),
    [12, 15],
)
TRACKED = replace(
    TWO,
    tracks=Tracks(TWO.tracks.ids, TWO.tracks.faces, np.array([0.0, 0.12345], np.float32)),
    status="tracked",
)
OUTCOMES = {
    "two_faces": TWO, "nobody": result(Faces.none()), "failed": FAILURE, "tracked": TRACKED,
}  # fmt: skip


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_wire_is_what_the_golden_file_says(name: str) -> None:
    golden = (GOLDEN / f"{name}.json").read_bytes().rstrip(b"\n")
    event = event_of(OUTCOMES[name])
    assert encode(event) == golden
    assert decode(golden) == event


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    assert decode((GOLDEN / "unknown_fields.json").read_bytes()) == event_of(TWO)


def test_a_failure_has_null_faces_and_nobody_has_an_empty_list() -> None:
    failed = json.loads(encode(event_of(FAILURE)))
    nobody = json.loads(encode(event_of(result(Faces.none()))))
    assert (failed["status"], failed["faces"]) == ("failed", None)
    assert (nobody["status"], nobody["faces"]) == ("detected", [])


def test_keypoints_are_named_in_the_order_of_the_landmarks() -> None:
    assert Keypoints.__struct_fields__ == LANDMARKS


def test_a_number_that_is_not_finite_is_refused() -> None:
    for value in (np.nan, np.inf, -np.inf):
        boxes = np.array([[0, 0, value, 1]], np.float32)
        faces = Faces(boxes, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))
        with pytest.raises(ValueError, match="finite"):
            event_of(result(faces))


def test_topics_keep_cameras_apart() -> None:
    assert topic("cam1") == b"faces/cam1/"
    assert topic("cam1").startswith(TOPICS)
    assert not topic("cam10").startswith(topic("cam1"))
    for name in ("", "a/b", "/"):
        with pytest.raises(ValueError, match="slash"):
            topic(name)


@st.composite
def results(draw: st.DrawFn) -> Result:
    n = draw(st.integers(0, 8))
    pixels = st.floats(-20_000, 20_000, width=32)
    scores = draw(npst.arrays(np.float32, n, elements=st.floats(0, 1, width=32)))
    faces = Faces(
        draw(npst.arrays(np.float32, (n, 4), elements=pixels)),
        -np.sort(-scores),
        draw(npst.arrays(np.float32, (n, 5, 2), elements=pixels)),
    )
    return result(faces, draw(st.lists(st.integers(0, 2**53 - 1), min_size=n, max_size=n)))


@given(results())
def test_a_result_survives_the_wire_to_far_within_detection_parity(outcome: Result) -> None:
    event = decode(encode(event_of(outcome)))
    assert event.faces is not None
    faces = outcome.tracks.faces
    assert [face.id for face in event.faces] == outcome.tracks.ids.tolist()
    for face, box, score, points in zip(
        event.faces, faces.boxes, faces.scores, faces.landmarks, strict=True
    ):
        assert np.abs(np.array(face.bbox) - box).max() <= 0.0051
        assert abs(face.confidence - score) <= 0.0000051
        said = np.array([getattr(face.keypoints, name) for name in LANDMARKS])
        assert np.abs(said - points).max() <= 0.0051


finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(codec="utf-8"))
counts = st.integers(0, 2**53 - 1)
points = st.tuples(finite, finite)
faces_of_any_kind = st.builds(
    Face,
    id=st.integers(-(2**53) + 1, 2**53 - 1),
    bbox=st.tuples(finite, finite, finite, finite),
    confidence=st.floats(0, 1),
    keypoints=st.builds(Keypoints, *[points] * 5),
)


@st.composite
def events(draw: st.DrawFn) -> FacesEvent:
    faces = draw(st.none() | st.lists(faces_of_any_kind, max_size=3).map(tuple))
    return FacesEvent(
        schema=SCHEMA,
        boot_id=draw(words),
        camera=draw(words.filter(bool)),
        epoch=draw(counts),
        frame=draw(counts),
        seq=draw(counts.filter(bool)),
        wall_at=draw(finite),
        age_ms=draw(finite),
        status="failed" if faces is None else "detected",
        width=draw(counts.filter(bool)),
        height=draw(counts.filter(bool)),
        model=draw(words),
        faces=faces,
    )


@given(events())
def test_any_event_survives_the_wire(event: FacesEvent) -> None:
    data = encode(event)
    assert decode(data) == event
    assert b"\n" not in data


VALID = encode(event_of(TWO)).decode()
NAN_BOX = VALID.replace("[100.12,", "[NaN,")
HOSTILE = {
    "empty": "",
    "not json": "hello",
    "a list": "[]",
    "null": "null",
    "truncated": VALID[:-1],
    "trailing": VALID + "{}",
    "deep list": "[" * 100_000,
    "deep list in an unknown field": VALID.replace('"epoch"', '"x":' + "[" * 100_000),
    "deep object in an unknown field": VALID.replace('"epoch"', '"x":' + '{"a":' * 100_000),
    "deep list for faces": VALID.replace('"faces":[', '"faces":' + "[" * 100_000),
    "huge int": VALID.replace('"frame":41', '"frame":' + "9" * 5000),
    "int above 2**53": VALID.replace('"frame":41', '"frame":9007199254740992'),
    "negative int": VALID.replace('"frame":41', '"frame":-1'),
    "no seq 0": VALID.replace('"seq":7', '"seq":0'),
    "bool for an int": VALID.replace('"frame":41', '"frame":true'),
    "text for an int": VALID.replace('"frame":41', '"frame":"41"'),
    "nan": NAN_BOX,
    "infinity": VALID.replace("[100.12,", "[Infinity,"),
    "overflowing float": VALID.replace("[100.12,", "[1e999,"),
    "null coordinate": VALID.replace("[100.12,", "[null,"),
    "confidence above 1": VALID.replace("0.99877", "1.5"),
    "box of three": VALID.replace("[100.12,", "["),
    "box of five": VALID.replace("[100.12,", "[1,100.12,"),
    "lone surrogate": VALID.replace('"door"', '"\\ud800"'),
    "no camera": VALID.replace('"door"', '""'),
    "missing field": VALID.replace('"seq":7,', ""),
    "no schema": VALID.replace('"schema":"streamer.faces/1",', ""),
    "another schema": VALID.replace("faces/1", "faces/2"),
    "another status": VALID.replace('"detected"', '"skipped"'),
    "failed with faces": VALID.replace('"detected"', '"failed"'),
    "null faces, not failed": encode(event_of(FAILURE)).decode().replace('"failed"', '"detected"'),
    "failed with an empty list": (
        encode(event_of(FAILURE)).decode().replace('"faces":null', '"faces":[]')
    ),
    "escape codes quoted back": VALID.replace("faces/1", "\\u001b[31m\\n" * 1000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_is_one_clear_error(name: str) -> None:
    assert HOSTILE[name] != VALID
    with pytest.raises(MalformedEvent) as caught:
        decode(HOSTILE[name].encode())
    said = str(caught.value)
    assert said.startswith("not an event of streamer.faces/1: ")
    assert said.isprintable()
    assert len(said) < 400


@pytest.mark.parametrize("data", [b"\xff\xfe", VALID.replace("door", "\xff").encode("latin-1")])
def test_bytes_that_are_not_utf8_are_an_error(data: bytes) -> None:
    with pytest.raises(MalformedEvent):
        decode(data)


def test_an_event_of_another_version_says_what_to_do() -> None:
    with pytest.raises(MalformedEvent, match="use the client that came with"):
        decode(HOSTILE["another schema"].encode())


def test_of_a_duplicate_key_the_last_one_counts() -> None:
    assert decode(VALID.replace('"frame":41', '"frame":1,"frame":41').encode()) == event_of(TWO)
    with pytest.raises(MalformedEvent):
        decode(VALID.replace('"frame":41', '"frame":41,"frame":null').encode())


@given(st.binary(max_size=200), st.integers(0, len(VALID)), st.integers(0, 40))
def test_any_bytes_give_an_event_or_a_malformed_event(junk: bytes, at: int, cut: int) -> None:
    data = VALID.encode()
    for hostile in (junk, data[:at] + junk + data[at + cut :]):
        try:
            event = decode(hostile)
        except MalformedEvent:
            continue
        assert (event.status == "failed") == (event.faces is None)


def test_the_json_schema_describes_every_field() -> None:
    described = schema()
    assert json.loads(json.dumps(described)) == described
    event = described["$defs"]["FacesEvent"]
    assert list(FacesEvent.__struct_fields__) == list(event["properties"])
    assert [*event["required"], "pictures"] == list(event["properties"])
    assert event["properties"]["schema"] == {"enum": [SCHEMA]}
    assert event["then"] == {"properties": {"faces": {"type": "null"}}}
    keypoints = described["$defs"]["Keypoints"]["properties"]
    assert tuple(keypoints) == LANDMARKS


def test_reading_events_needs_no_numpy() -> None:
    program = (
        "import sys, streamer.events, streamer.client\n"
        "streamer.events.decode(sys.stdin.buffer.read())\n"
        "print([m for m in ('numpy', 'cv2', 'av', 'onnxruntime', 'pydantic') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], input=VALID.encode(), capture_output=True, check=True
    )
    assert ran.stdout.decode().strip() == "[]"


def lost(**more: Any) -> CameraChange:
    values = {"reason": "stall", "detail": "gave no picture", "epoch": 2, "retry_at": 12.5, **more}
    return CameraChange("door", "backing_off", 10.0, 1_700_000_000.25, **values)


def test_a_change_of_a_camera_survives_the_wire() -> None:
    event = camera_event(lost(), seq=3, boot_id="b", now_at=10.5)
    line = encode(event)
    assert decode_camera(line) == event
    assert json.loads(line) == {
        "schema": "streamer.camera/1", "boot_id": "b", "camera": "door", "seq": 3,
        "wall_at": 1_700_000_000.25, "age_ms": 500.0, "state": "backing_off", "reason": "stall",
        "detail": "gave no picture", "frozen": False, "epoch": 2, "retry_in_ms": 2000.0,
    }  # fmt: skip


def test_what_is_not_known_of_a_change_is_null() -> None:
    event = camera_event(lost(epoch=None, retry_at=None), seq=1, boot_id="b", now_at=10.0)
    assert event.epoch is None
    assert event.retry_in_ms is None


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"schema":"streamer.faces/1"}', b"\xff"])
def test_a_hostile_change_is_one_clear_error(line: bytes) -> None:
    with pytest.raises(MalformedEvent, match=r"not an event of streamer\.camera/1"):
        decode_camera(line)


def test_the_wire_knows_every_state() -> None:
    states = camera_schema()["$defs"]["CameraEvent"]["properties"]["state"]["enum"]
    assert set(states) == set(STATES)


def test_topics_of_changes_are_apart_from_those_of_faces() -> None:
    assert camera_topic("cam1") == b"camera/cam1/"
    assert not camera_topic("cam10").startswith(camera_topic("cam1"))


@given(events())
def test_any_event_survives_messagepack(event: FacesEvent) -> None:
    data = encode(event, "msgpack")
    assert data[0] >= 0x80
    assert decode(data) == event


@pytest.mark.parametrize("name", OUTCOMES)
def test_messagepack_has_the_same_fields_as_json(name: str) -> None:
    event = event_of(OUTCOMES[name])
    data = encode(event, "msgpack")
    assert msgspec.msgpack.decode(data) == json.loads(encode(event))
    unknown = msgspec.msgpack.encode(msgspec.msgpack.decode(data) | {"to_come": {"a": [b"x"]}})
    assert decode(unknown) == event


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 40))
def test_any_bytes_like_messagepack_give_an_event_or_a_malformed_event(
    junk: bytes, at: int, cut: int
) -> None:
    data = encode(event_of(TWO), "msgpack")
    for hostile in (b"\x8d" + junk, data[:at] + junk + data[at + cut :]):
        try:
            event = decode(hostile)
        except MalformedEvent:
            continue
        assert (event.status == "failed") == (event.faces is None)


def test_what_json_cannot_say_is_no_event_in_messagepack_either() -> None:
    fields = msgspec.msgpack.decode(encode(event_of(TWO), "msgpack"))
    for change in ({"wall_at": float("nan")}, {"age_ms": float("inf")}, {"seq": 2**60}):
        with pytest.raises(MalformedEvent):
            decode(msgspec.msgpack.encode(fields | change))
    deep = b"\x81\xa1x" * 100_000
    with pytest.raises(MalformedEvent):
        decode(deep)
