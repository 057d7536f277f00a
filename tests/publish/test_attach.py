from __future__ import annotations

from dataclasses import replace

import cv2
import msgspec
import numpy as np
import pytest

from streamer.client import subscribe
from streamer.events import Attached, FacesEvent, decode, encode, faces_event
from streamer.publish.attach import Attachments
from streamer.publish.zeromq import ZeroMqSink
from streamer.testing import ManualClock
from streamer.types import Outcome, Stamps
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
