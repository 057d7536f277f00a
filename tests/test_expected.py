"""Where faces are by the instant of publishing, beside where they were in the frame."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from streamer.client import subscribe
from streamer.events import decode, encode
from streamer.expected import AHEAD_S, with_expected
from streamer.types import Faces, Result, Tracks
from streamer.vision.tracking import FaceTracker, held, joined
from tests.test_cameras import Running
from tests.test_events import FAILURE, FRAME, TWO, event_of

WALKS = np.array([[100, 0, 100, 0], [-50, 0, -50, 20]], np.float32)
MOVING = replace(TWO, tracks=Tracks(TWO.tracks.ids, TWO.tracks.faces, speeds=WALKS))


def test_each_face_has_moved_on_and_is_cut_to_the_picture() -> None:
    event = with_expected(event_of(MOVING), MOVING, 100.2)
    assert event.faces is not None
    assert event.faces[0].bbox == (100.12, 50.46, 180.5, 151.0)
    assert event.faces[0].expected == (120.12, 50.46, 200.5, 151.0)
    assert event.faces[1].expected == (0, 600.0, 30.25, 720)  # leaves at the left and the bottom
    line = encode(event)
    assert decode(line) == event
    assert json.loads(line)["faces"][0]["expected"] == [120.12, 50.46, 200.5, 151.0]


def test_nobody_moves_on_for_longer_than_half_a_second() -> None:
    late = with_expected(event_of(MOVING), MOVING, 103.0).faces
    assert late == with_expected(event_of(MOVING), MOVING, 100.0 + AHEAD_S).faces
    assert with_expected(event_of(FAILURE), FAILURE, 103.0) == event_of(FAILURE)


def test_without_it_nothing_is_said_of_it() -> None:
    assert b"expected" not in encode(event_of(MOVING))


def seen(x: float) -> Faces:
    box = np.array([[x, 100, x + 80, 200]], np.float32)
    points = np.array([[[x + 25, 140], [x + 55, 140], [x + 40, 160], [x + 28, 180], [x + 52, 180]]])
    return Faces(box, np.array([0.9], np.float32), points.astype(np.float32))


def test_a_tracker_says_how_its_faces_move() -> None:
    """200 pixels a second: the box expected 0.1 s on is nearer the truth than the one found."""
    tracker = FaceTracker()
    tracks = Tracks.none()
    for n in range(20):
        tracks = tracker.update(seen(100 + 8 * n), 100 + n / 25)
    assert tracks.speeds[0] == pytest.approx([200, 0, 200, 0], abs=15)
    result = Result(replace(FRAME, captured_at=100 + 19 / 25), tracks, TWO.stamps)
    event = with_expected(event_of(result), result, result.frame.captured_at + 0.1)
    assert event.faces is not None
    assert event.faces[0].expected == pytest.approx([272, 100, 352, 200], abs=3)
    later = tracker.predict(100 + 19 / 25 + 0.1)
    assert later.speeds[0] == pytest.approx([200, 0, 200, 0], abs=20)
    assert not held(tracks, 0.5).speeds.any(), "nothing moves in a still scene"
    both = joined(Tracks.none(), later)
    assert both.speeds.tolist() == later.speeds.tolist()


def test_speeds_are_those_of_their_faces_whatever_their_order() -> None:
    tracker = FaceTracker()
    tracks = Tracks.none()
    for n in range(12):
        one, other = seen(100 + 8 * n), seen(900 - 4 * n)
        first, second = (one, other) if n % 2 else (other, one)
        faces = Faces(
            np.concatenate([first.boxes, second.boxes]),
            np.array([0.95, 0.9], np.float32),
            np.concatenate([first.landmarks, second.landmarks]),
        )
        tracks = tracker.update(faces, 100 + n / 25)
    right = tracks.faces.boxes[:, 0] < 500
    assert (tracks.speeds[right, 0] > 100).all()
    assert (tracks.speeds[~right, 0] < -50).all()


def test_the_running_program_says_it_where_it_is_asked_to(model_path: object) -> None:
    del model_path
    publish = {"zeromq": {"bind": "tcp://127.0.0.1:*", "expected": True}}
    camera = {"source": "demo:", "input_size": 320, "every": 2}
    with Running({"door": camera}, publish=publish) as running:
        assert running.app.zeromq is not None
        with subscribe(running.app.zeromq.endpoint, timeout_s=30) as events:
            moved = 0
            while moved < 20:
                for face in next(events).faces or ():
                    assert isinstance(face.expected, tuple)
                    moved += face.expected != face.bbox
