from __future__ import annotations

from dataclasses import replace

import cv2
import msgspec
import numpy as np
import pytest
from pydantic import BaseModel

from streamer.client import subscribe
from streamer.config import MAX_CAMERAS
from streamer.config_sections import Model, ZeroMq
from streamer.events import (
    MAX_MESSAGE_BYTES,
    SCHEMA,
    Attached,
    Face,
    FacesEvent,
    Keypoints,
    decode,
    encode,
    faces_event,
)
from streamer.heartbeat_events import heartbeat_event
from streamer.publish.attach import CROP_PX, Attachments
from streamer.publish.zeromq import ZeroMqSink
from streamer.testing import ManualClock
from streamer.types import Beat, Outcome, Result, Stamps
from streamer.vision.picture import ArrayPicture
from streamer.vision.privacy import Privacy
from tests.client.test_subscribe import Publisher
from tests.web.synthetic import outcome


def shape(attached: Attached) -> tuple[int, ...]:
    image = cv2.imdecode(np.frombuffer(attached.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[:2] == (attached.height, attached.width)
    return image.shape


def test_crops_are_of_each_face_and_the_frame_is_of_all() -> None:
    one = outcome("door", 3, faces=2)
    crops = Attachments("crops").of(one)
    assert [crop.id for crop in crops] == [1, 2]
    face = one.tracks.faces.boxes[0]  # type: ignore[union-attr]
    height, width, _ = shape(crops[0])
    margin = 0.5 * max(face[2] - face[0], face[3] - face[1])
    assert width == pytest.approx(face[2] - face[0] + margin, abs=3)
    assert height == pytest.approx(face[3] - face[1] + margin, abs=3)
    (frame,) = Attachments("frame", width=160).of(one)
    assert (frame.id, shape(frame)) == (None, (90, 160, 3))


def test_no_side_of_a_crop_is_above_what_is_said() -> None:
    one = outcome("door", 0)
    assert isinstance(one, Result)
    picture = ArrayPicture(np.zeros((720, 1280, 3), np.uint8))
    one.tracks.faces.boxes[:] = (256.08, 297.04, 405.5, 416.58)  # with its margins 224.13 wide
    (crop,) = Attachments("crops").of(replace(one, frame=replace(one.frame, picture=picture)))
    assert (crop.width, crop.height) == (CROP_PX, 195)


def test_only_frames_with_faces_that_were_found_get_any() -> None:
    attachments = Attachments("frame")
    assert attachments.of(outcome("door", 0, faces=0)) == ()
    assert attachments.of(outcome("door", 0, failed=True)) == ()
    one = outcome("door", 0)
    one.tracks.ages_s[:] = 0.2  # type: ignore[union-attr]
    assert attachments.of(one) == ()


def test_bytes_are_bounded_for_an_event_and_for_a_second() -> None:
    clock = ManualClock()
    one = outcome("door", 0, faces=3)
    every = Attachments("crops", clock=clock).of(one)
    size = len(every[0].jpeg)
    assert len(every) == 3
    assert len(Attachments("crops", event_bytes=size + 1, clock=clock).of(one)) == 1
    assert Attachments("frame", event_bytes=10, clock=clock).of(one) == ()
    slow = Attachments("crops", bytes_per_s=4.0 * size, clock=clock)
    given = 0
    for _ in range(100):  # ten seconds
        given += sum(len(crop.jpeg) for crop in slow.of(one))
        clock.advance(0.1)
    assert 0.8 * 40 * size < given < (40 + 4 + 4) * size


def test_privacy_holds_for_them() -> None:
    noise = ArrayPicture(np.random.default_rng(0).integers(0, 256, (180, 320, 3), np.uint8))
    bare = outcome("door", 0, picture=noise)
    shown = Privacy("box").looked(bare.frame, bare.tracks.faces, 1.0)  # type: ignore[union-attr]
    covered = outcome("door", 0, picture=shown.picture)
    (crop,) = Attachments("crops").of(covered)
    image = cv2.imdecode(np.frombuffer(crop.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(image.astype(int) - 48).max() < 12
    (crop,) = Attachments("crops").of(bare)
    image = cv2.imdecode(np.frombuffer(crop.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image.std() > 30


def test_the_wire_has_them_only_where_there_are_any_and_carries_them_whole() -> None:
    one = outcome("door", 0)
    words = {"seq": 1, "boot_id": "b", "model": "m", "now_at": one.frame.captured_at}
    assert b"pictures" not in encode(faces_event(one, **words))  # type: ignore[arg-type]
    pictures = Attachments("crops").of(one)
    event = faces_event(one, pictures=pictures, **words)  # type: ignore[arg-type]
    assert decode(encode(event)).pictures == pictures
    packed = msgspec.msgpack.decode(encode(event, "msgpack"), type=FacesEvent)
    assert packed.pictures == pictures


def test_the_age_counts_the_time_that_they_took() -> None:
    clock, attach = ManualClock(100.0), Attachments("frame", width=320)

    class Slow(Attachments):
        def of(self, outcome: Outcome) -> tuple[Attached, ...]:
            clock.advance(0.25)
            return attach.of(outcome)

    sink = ZeroMqSink(
        "tcp://127.0.0.1:0", boot_id="b", model="m", attach=Slow("frame"), clock=clock
    )
    with sink.burst():
        one = outcome("door", 0)
        stamps = Stamps(99.9, 99.9, 99.9)
        sink.write(replace(one, frame=replace(one.frame, captured_at=99.9), stamps=stamps))
        ((_, body),) = sink._held
    sink.close()
    assert decode(body).age_ms == pytest.approx(350.0)


def test_a_subscriber_gets_them() -> None:
    attach = Attachments("frame", width=320)
    sink = ZeroMqSink("tcp://127.0.0.1:0", boot_id="b", model="m", attach=attach)
    publisher = Publisher(lambda: sink.write(outcome("door", 0)), sink.close)
    try:
        with subscribe(sink.endpoint, timeout_s=20) as events:
            event = next(iter(events))
    finally:
        publisher.end()
    assert event.pictures
    assert shape(event.pictures[0]) == (180, 320, 3)


def largest(section: type[BaseModel], name: str) -> int:
    """The most that the configuration allows."""
    return next(one.le for one in section.model_fields[name].metadata if hasattr(one, "le"))


def test_the_largest_event_and_heartbeat_that_the_configuration_allows_are_not_too_long() -> None:
    far = (-65535.25, -65535.25, -65535.25, -65535.25)
    point = (-65535.25, -65535.25)
    points = Keypoints(point, point, point, point, point)
    count = largest(Model, "max_faces")
    number = 2**53 - 1
    faces = (Face(number, far, 0.12345, points, "predicted", 1234.5, far),) * count
    jpeg = bytes(1 + largest(ZeroMq, "attach_kb") * 1000 // count)
    name = "n" * 63
    event = FacesEvent(
        SCHEMA, "f" * 32, name, number, number, number, 1700000000.123, 1234.567, "tracked", 65535,
        65535, name, faces, (Attached(number, 224, 224, jpeg),) * count,
    )  # fmt: skip
    assert len(encode(event)) < MAX_MESSAGE_BYTES / 2
    names = [f"{number:063}" for number in range(MAX_CAMERAS)]
    topics = {f"{kind}/{name}/": number for kind in ("faces", "camera", "track") for name in names}
    words = ("captured", "detected", "tracked", "failed", "skipped", "dropped", "in_flight")
    ledger = dict.fromkeys(words, number)
    beat = Beat(0.0, 1e9, dict.fromkeys(names, ledger), dict.fromkeys(names, "backing_off"))
    told = encode(heartbeat_event(beat, last=topics, seq=number, boot_id="f" * 32))
    assert len(told) < MAX_MESSAGE_BYTES / 2


def test_pictures_that_would_make_a_message_too_long_are_left_out() -> None:
    class Huge(Attachments):
        def of(self, outcome: Outcome) -> tuple[Attached, ...]:
            return (Attached(None, 64, 48, bytes(MAX_MESSAGE_BYTES)),)

    sink = ZeroMqSink("tcp://127.0.0.1:0", boot_id="b", model="m", attach=Huge("frame"))
    with sink.burst():
        sink.write(outcome("door", 0))
        ((_, body),) = sink._held
    sink.close()
    assert len(decode(body).faces or ()) == 1
    assert decode(body).pictures is msgspec.UNSET
