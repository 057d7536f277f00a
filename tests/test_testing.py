"""The stand-ins we ship."""

import threading

import numpy as np
import pytest

from streamer.errors import DetectionFailed
from streamer.testing import CollectingSink, FakeDetector, ListSource, ManualClock
from streamer.types import Faces, Failure, Frame, NoPicture, Picture, Stamps

PICTURES = [NoPicture(64, 48), NoPicture(32, 24), NoPicture(16, 12)]


def failure(index: int = 0) -> Failure:
    return Failure(Frame("c", 0, index, 0.0, 0.0, None, PICTURES[0]), Stamps(0, 0, 0), "why")


def test_a_manual_clock_moves_only_when_told_and_only_forward() -> None:
    clock = ManualClock(5.0)
    assert (clock(), clock()) == (5.0, 5.0)
    clock.advance(0.5)
    assert clock() == 5.5
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_a_list_source_gives_its_pictures_and_goes_on_counting() -> None:
    clock = ManualClock(7.0)
    source = ListSource(PICTURES, camera="door", fps=10, clock=clock)
    assert not source.live
    first = list(source.frames(threading.Event()))
    assert [frame.picture for frame in first] == PICTURES
    assert [frame.pts for frame in first] == [0.0, 0.1, 0.2]
    assert {(frame.camera, frame.captured_at) for frame in first} == {("door", 7.0)}
    again = list(source.frames(threading.Event()))
    assert [(f.epoch, f.index) for f in first + again] == [
        (0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5),
    ]  # fmt: skip


def test_a_live_list_source_ends_at_stop_while_it_waits_for_the_next_picture() -> None:
    stop = threading.Event()
    frames = ListSource(PICTURES, live=True, fps=0.001).frames(stop)
    assert next(frames).index == 0
    threading.Timer(0.05, stop.set).start()
    assert list(frames) == []


def test_a_stopped_file_gives_nothing_more() -> None:
    stop = threading.Event()
    frames = ListSource(PICTURES).frames(stop)
    next(frames)
    stop.set()
    assert list(frames) == []


def test_a_list_source_wants_a_rate() -> None:
    with pytest.raises(ValueError, match="fps must be above 0"):
        ListSource(PICTURES, fps=0)


def test_a_fake_detector_finds_what_it_is_told() -> None:
    one = Faces(
        np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32)
    )
    assert [len(faces) for faces in FakeDetector().detect(PICTURES)] == [0, 0, 0]
    detector = FakeDetector(one)
    assert detector.detect(PICTURES) == [one, one, one]
    assert detector.detect(PICTURES[:1]) == [one]
    assert detector.batches == [3, 1]
    wide = FakeDetector(lambda picture: one if picture.width > 20 else Faces.none())
    assert [len(faces) for faces in wide.detect(PICTURES)] == [1, 1, 0]


def test_a_fake_detector_can_fail() -> None:
    def fail(picture: Picture) -> Faces:
        raise DetectionFailed("not this one")

    with pytest.raises(DetectionFailed):
        FakeDetector(fail).detect(PICTURES)


def test_a_collecting_sink_is_waited_for_from_another_thread() -> None:
    sink = CollectingSink()
    thread = threading.Thread(target=lambda: [sink.write(failure(i)) for i in range(3)])
    thread.start()
    assert [outcome.frame.index for outcome in sink.wait_for(3)] == [0, 1, 2]
    thread.join()
    with pytest.raises(TimeoutError, match="3 outcomes of 4"):
        sink.wait_for(4, timeout_s=0.01)
    sink.outcomes.clear()
    assert len(sink.outcomes) == 3  # what it gives is a copy


def test_a_collecting_sink_objects_to_misuse() -> None:
    sink = CollectingSink()
    sink.close()
    assert sink.closed
    with pytest.raises(RuntimeError, match="after it was closed"):
        sink.write(failure())
    with pytest.raises(RuntimeError, match="closed twice"):
        sink.close()
