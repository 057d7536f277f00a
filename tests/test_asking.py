"""Pictures that are asked about go beside the cameras, and their outcomes to nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from streamer.asking import Asking
from streamer.errors import DetectionFailed
from streamer.flow.channel import Channel, Closed
from streamer.flow.fan import FanIn
from streamer.flow.fan_out import FanOut
from streamer.flow.meters import Durations, Rate
from streamer.flow.order import Terms
from streamer.inference.scheduling import FairShare
from streamer.stages import CameraMeters, CameraWork, Job, StageMeters, infer, label_of
from streamer.testing import FakeDetector
from streamer.types import Faces, Failure, Frame, Picture, Published, Result
from streamer.vision.picture import ArrayPicture
from streamer.vision.tracking import FaceTracker

FACES = Faces(
    np.array([[10, 10, 50, 60], [1, 2, 3, 4]], np.float32),
    np.array([0.9, 0.7], np.float32),
    np.zeros((2, 5, 2), np.float32),
)


def picture(width: int = 64, height: int = 64, value: int = 200) -> ArrayPicture:
    return ArrayPicture(np.full((height, width, 3), value, np.uint8))


class Line:
    """A fan, one worker and what the sinks got."""

    def __init__(self, detector: FakeDetector, *, waiting: int = 4, max_batch: int = 4) -> None:
        self.lanes: FanIn[Job] = FanIn("infer", order=FairShare(), label=label_of)
        self.detector = detector
        self.outlet: FanOut[Published] = FanOut()
        self.sink: Channel[Published] = Channel("sink", capacity=99, overflow="drop_oldest")
        self.outlet.add(self.sink)
        self.times = StageMeters(Durations(), Durations(), Durations())
        self.max_batch = max_batch
        self.asking = Asking(self.lanes, lambda: detector, size=64, waiting=waiting, weight=0.1)

    def camera(self, name: str) -> Job:
        rate = Rate(time.monotonic)
        work = CameraWork(self.detector, FaceTracker(), CameraMeters(rate, rate, Durations()), 64)
        return Job(Frame(name, 0, 0, time.monotonic(), 0.0, None, picture()), work)

    @contextmanager
    def running(self) -> Iterator[None]:
        worker = threading.Thread(
            target=infer, args=(self.lanes, self.outlet, self.times),
            kwargs={"max_batch": self.max_batch, "clock": time.monotonic},
        )  # fmt: skip
        worker.start()
        try:
            yield
        finally:
            self.lanes.close(lanes=True)
            worker.join(10)
            assert not worker.is_alive()


def test_whoever_asks_gets_the_outcome_and_no_sink_hears_of_it() -> None:
    line = Line(FakeDetector(FACES))
    with line.running():
        outcome = line.asking.look(picture()).result(10)
    assert isinstance(outcome, Result)
    assert outcome.tracks.faces is FACES
    assert outcome.tracks.ids.tolist() == [1, 2]
    assert outcome.stamps.captured_at <= outcome.stamps.taken_at <= outcome.stamps.detected_at
    assert line.sink.stats().offered == 0
    assert line.times.infer.stats().count == 0


def test_a_picture_that_cannot_be_looked_at_is_a_failure_and_never_ends_the_program() -> None:
    def fails(_: Picture) -> Faces:
        raise DetectionFailed("the network gave nonsense")

    line = Line(FakeDetector(fails))
    with line.running():
        outcomes = [line.asking.look(picture()).result(10) for _ in range(8)]
    assert all(isinstance(outcome, Failure) for outcome in outcomes)


def test_it_shares_no_batch_with_cameras_and_is_behind_them() -> None:
    order: list[int] = []

    def look(shown: Picture) -> Faces:
        order.append(int(shown.bgr()[0, 0, 0]))
        return FACES

    line = Line(FakeDetector(look))
    lanes = [
        line.lanes.add_lane(n, capacity=1, overflow="drop_oldest", terms=Terms(1.0, 5.0))
        for n in ("a", "b")
    ]
    asked = [line.asking.look(picture(value=7)) for _ in range(4)]
    for lane in lanes:
        lane.put(line.camera(lane.name))
    with line.running():
        for future in asked:
            future.result(10)
    assert line.detector.batches.count(2) == 1  # the two cameras, together
    assert sorted(order) == [7, 7, 7, 7, 200, 200]
    # One may have been first; after it the cameras come, however many more were asked.
    assert order[:3].count(200) == 2 or order[1:3] == [200, 200]


def test_the_fan_waits_for_no_company_from_it() -> None:
    lanes: FanIn[Job] = FanIn("infer", order=FairShare(delay_s=60.0), label=label_of)
    detector = FakeDetector()
    Asking(lanes, lambda: detector, size=64, waiting=4, weight=0.1)
    line = Line(detector)
    lane = lanes.add_lane("a", capacity=1, overflow="drop_oldest")
    lane.put(line.camera("a"))
    batch = next(lanes.batches(16))  # the only camera is there: a minute would be in vain
    assert len(batch) == 1
    with batch:
        batch.drop(0, "failed")


def test_a_gpu_is_ready_for_squares_before_the_cameras_run() -> None:
    shapes: list[tuple[int, int]] = []

    def look(shown: Picture) -> Faces:
        shapes.append((shown.width, shown.height))
        if len(shapes) > 1:
            raise DetectionFailed("no room")
        return FACES

    line = Line(FakeDetector(look))
    line.asking.warm_up()
    line.asking.warm_up()  # one that fails is no reason not to start
    assert shapes == [(64, 64), (64, 64)]


def test_more_than_may_wait_lets_the_oldest_go() -> None:
    line = Line(FakeDetector(FACES), waiting=2)
    futures = [line.asking.look(picture()) for _ in range(3)]
    with line.running():
        assert isinstance(futures[2].result(10), Result)
        assert isinstance(futures[1].result(10), Result)
    assert not futures[0].done()


def test_who_gives_up_is_not_answered_and_harms_nobody() -> None:
    line = Line(FakeDetector(FACES))
    gone = line.asking.look(picture())
    assert gone.cancel()
    with line.running():
        assert isinstance(line.asking.look(picture()).result(10), Result)


def test_at_the_end_nobody_is_let_in() -> None:
    line = Line(FakeDetector(FACES))
    with line.running():
        pass
    with pytest.raises(Closed):
        line.asking.look(picture())


@pytest.mark.parametrize(
    ("size", "framed"),
    [
        ((1280, 720), (1280, 720)),
        ((1000, 100), (1000, 562)),
        ((640, 384), (640, 384)),
        ((640, 480), (640, 640)),
        ((300, 900), (900, 900)),
        ((1, 1), (1, 1)),
    ],
)
def test_every_picture_has_one_of_two_shapes_and_keeps_its_coordinates(
    size: tuple[int, int], framed: tuple[int, int]
) -> None:
    seen: list[Picture] = []

    def look(shown: Picture) -> Faces:
        seen.append(shown)
        return FACES

    line = Line(FakeDetector(look))
    with line.running():
        line.asking.look(picture(*size)).result(10)
    shown = seen[0]
    assert (shown.width, shown.height) == framed
    image = shown.bgr()
    assert image.shape == (framed[1], framed[0], 3)
    assert (image[: size[1], : size[0]] == 200).all()
    assert image.sum() == 200 * 3 * size[0] * size[1]
    half = shown.bgr(max(1, framed[0] // 2), max(1, framed[1] // 2))
    assert half[0, 0, 0] == 200
