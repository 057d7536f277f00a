"""The three stages, with fakes at their ends and real joints between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from streamer.errors import DetectionFailed, PictureFailed, StageFailure
from streamer.flow.channel import Channel
from streamer.flow.fan import FanIn
from streamer.flow.fan_out import FanOut
from streamer.flow.ledger import Ledger
from streamer.flow.meters import Durations, Rate
from streamer.flow.order import Terms
from streamer.flow.stage import Stage, StageGroup
from streamer.inference.scheduling import FairShare
from streamer.protocols import Detector
from streamer.stages import (
    FAILURES_IN_A_ROW,
    STATIONS,
    CameraMeters,
    CameraWork,
    Job,
    Position,
    StageMeters,
    capture,
    infer,
    label_of,
    publish,
)
from streamer.testing import CollectingSink, FakeDetector, ListSource
from streamer.types import (
    CameraChange,
    Faces,
    Failure,
    Frame,
    Outcome,
    Picture,
    Published,
    Result,
)
from streamer.vision.picture import ArrayPicture
from streamer.vision.privacy import Mode, Privacy
from streamer.vision.tracking import FaceTracker

ONE_FACE = Faces(
    np.array([[10, 10, 50, 60]], np.float32),
    np.array([0.9], np.float32),
    np.zeros((1, 5, 2), np.float32),
)


def picture(value: int = 0) -> ArrayPicture:
    return ArrayPicture(np.full((64, 64, 3), value, np.uint8))


class Line:
    """Cameras, workers and one sink, joined as ``app`` joins them."""

    def __init__(
        self,
        detectors: dict[str, Detector],
        *,
        workers: int = 1,
        max_batch: int = 1,
        live: bool = False,
        wants: Callable[[float], bool] = lambda _at: True,
        pictures: int = 20,
        fills: bool = False,
        privacy: Mode = "none",
    ) -> None:
        clock = time.monotonic
        self.stop = threading.Event()
        self.lanes: FanIn[Job] = FanIn("infer", order=FairShare(), label=label_of)
        self.sink = CollectingSink()
        self.channel: Channel[Outcome] = Channel("sink", capacity=8, overflow="block")
        self.outlet: FanOut[Outcome] = FanOut()
        self.outlet.add(self.channel)
        self.meters = {
            name: CameraMeters(Rate(clock), Rate(clock), Durations()) for name in detectors
        }
        self.times = StageMeters(Durations(), Durations(), Durations())
        stages = []
        for name in detectors:
            lane = self.lanes.add_lane(
                name, capacity=1 if live else 4, overflow="drop_oldest" if live else "block"
            )
            source = ListSource(
                [picture(n % 256) for n in range(pictures)], camera=name, live=live, fps=200
            )

            work = CameraWork(
                detectors[name], FaceTracker(), self.meters[name],
                fills=fills, privacy=Privacy(privacy),
            )  # fmt: skip

            def run_capture(source=source, lane=lane, work=work) -> None:  # type: ignore[no-untyped-def]
                capture(
                    source,
                    lane,
                    wants,
                    lambda: work,
                    work.meters.captured,
                    Position(),
                    stop=self.stop,
                )

            stages.append(Stage(f"capture:{name}", run_capture, writes=[lane]))
        self.lanes.close()

        def run_infer() -> None:
            infer(self.lanes, self.outlet, self.times, max_batch=max_batch, clock=clock)

        stages += [
            Stage(f"infer-{n}", run_infer, reads=[self.lanes], writes=[self.outlet])
            for n in range(workers)
        ]
        stages.append(
            Stage(
                "publish:sink",
                lambda: publish(
                    self.channel, self.sink, self.meters.get, self.times.publish, clock=clock
                ),
                reads=[self.channel],
            )
        )
        self.group = StageGroup(stages, stopping=self.stop, drain_s=5.0)

    def run(self) -> list[Outcome]:
        try:
            self.group.run()
        finally:
            for lane in self.lanes.lanes():
                ledger = lane.ledger()
                assert ledger.closes, ledger
                assert ledger.in_flight == 0
        return self.sink.outcomes


def test_results_are_late_by_the_age_that_their_camera_allows() -> None:
    line = Line({"none": FakeDetector(ONE_FACE), "all": FakeDetector(ONE_FACE),
                 "file": FakeDetector(ONE_FACE)}, workers=1)  # fmt: skip
    line.meters["none"].max_age_s = 3600.0
    line.meters["all"].max_age_s = 1e-9
    line.run()
    assert {name: meters.late for name, meters in line.meters.items()} == {
        "none": 0, "all": line.meters["all"].latency.stats().count, "file": 0,
    }  # fmt: skip
    assert line.meters["all"].late > 0


@pytest.mark.parametrize("workers", [1, 3])
def test_files_lose_nothing_and_keep_their_order(workers: int) -> None:
    detector = FakeDetector(ONE_FACE)
    line = Line({"a": detector, "b": detector}, workers=workers)
    outcomes = line.run()
    for name in ("a", "b"):
        mine = [o for o in outcomes if o.frame.camera == name]
        assert [o.frame.index for o in mine] == list(range(20))
        assert all(isinstance(o, Result) and len(o.tracks) == 1 for o in mine)
    assert line.sink.closed
    assert line.meters["a"].faces_total == 20
    assert line.times.infer.stats().count == 40
    assert line.times.publish.stats().count == 40
    assert line.meters["b"].latency.stats().count == 20
    assert line.meters["b"].published.count() == 20
    for station in STATIONS:
        spent = line.meters["b"].spent[station].stats()
        assert spent.count == 20
        assert 0 <= spent.sum_s < 60


def test_stamps_go_forward_and_ids_hold() -> None:
    outcomes = Line({"a": FakeDetector(ONE_FACE)}).run()
    for outcome in outcomes:
        captured_at, taken_at, detected_at = outcome.stamps
        assert captured_at <= taken_at <= detected_at
    ids = {int(o.tracks.ids[0]) for o in outcomes if isinstance(o, Result)}
    assert ids == {1}


def test_what_pacing_does_not_choose_is_skipped_and_never_converted() -> None:
    count = iter(range(1000))
    line = Line({"a": FakeDetector()}, wants=lambda _at: next(count) % 4 == 0)
    outcomes = line.run()
    assert [o.frame.index for o in outcomes] == [0, 4, 8, 12, 16]
    ledger = line.lanes.lanes()[0].ledger()
    assert (ledger.captured, ledger.skipped, ledger.settled["detected"]) == (20, 15, 5)


def test_frames_between_two_looks_come_in_order_with_the_faces_expected_there() -> None:
    count = iter(range(1000))
    line = Line({"a": FakeDetector(ONE_FACE)}, wants=lambda _at: next(count) % 4 == 0, fills=True)
    outcomes = line.run()
    assert [o.frame.index for o in outcomes] == list(range(20))
    assert [o.status for o in outcomes] == (["detected"] + ["tracked"] * 3) * 5
    for outcome in outcomes[4:]:  # from its second look on it is sure
        assert isinstance(outcome, Result)
        assert outcome.tracks.ids.tolist() == [1]
        assert (outcome.tracks.ages_s > 0).tolist() == [outcome.status == "tracked"]
    ledger = line.lanes.lanes()[0].ledger()
    assert (ledger.captured, ledger.skipped) == (20, 0)
    assert ledger.settled == {"detected": 5, "tracked": 15}
    assert line.meters["a"].faces_total == 5


def test_nobody_is_expected_where_the_resolution_or_the_life_is_another() -> None:
    meters = CameraMeters(Rate(time.monotonic), Rate(time.monotonic), Durations())
    looks = iter(range(100))

    def at_first(_picture: Picture) -> Faces:
        return ONE_FACE if next(looks) % 4 != 3 else Faces.none()

    work = CameraWork(FakeDetector(at_first), FaceTracker(), meters, fills=True)
    lanes: FanIn[Job] = FanIn("infer")
    lane = lanes.add_lane("cam", capacity=16, overflow="block")
    large = ArrayPicture(np.zeros((256, 512, 3), np.uint8))
    small = ArrayPicture(np.zeros((128, 256, 3), np.uint8))
    pictures = [(0, large)] * 3 + [(0, small)] * 4 + [(1, small)]
    for n, (epoch, shown) in enumerate(pictures):
        lane.put(Job(Frame("cam", epoch, n, n * 0.04, 0.0, None, shown), work))
    lanes.close(lanes=True)
    sink: Channel[Published] = Channel("sink", capacity=16, overflow="block")
    outlet: FanOut[Published] = FanOut()
    outlet.add(sink)
    times = StageMeters(Durations(), Durations(), Durations())
    infer(lanes, outlet, times, max_batch=1, clock=time.monotonic)
    outlet.close()
    results = [o.tracks for o in sink if isinstance(o, Result)]
    assert [len(tracks) for tracks in results] == [1, 1, 1, 0, 1, 1, 1, 0]
    assert [tracks.ids.tolist() for tracks in results[:3]] == [[1]] * 3
    assert all(tracks.ids.tolist() == [2] for tracks in results[4:7])


def test_frames_before_the_first_look_are_not_said_to_be_without_faces() -> None:
    """The one that was chosen was dropped: nobody knows who is in those behind it."""
    meters = CameraMeters(Rate(time.monotonic), Rate(time.monotonic), Durations())
    work = CameraWork(FakeDetector(ONE_FACE), FaceTracker(), meters, fills=True)
    lanes: FanIn[Job] = FanIn("infer")
    lane = lanes.add_lane("cam", capacity=16, overflow="block")
    for n in range(5):
        lane.put(Job(Frame("cam", 0, n, n * 0.04, 0.0, None, picture()), work, looks=n == 3))
    lanes.close(lanes=True)
    sink: Channel[Published] = Channel("sink", capacity=16, overflow="block")
    outlet: FanOut[Published] = FanOut()
    outlet.add(sink)
    infer(
        lanes,
        outlet,
        StageMeters(Durations(), Durations(), Durations()),
        max_batch=1,
        clock=time.monotonic,
    )
    outlet.close()
    assert [(o.frame.index, o.status, len(o.tracks)) for o in sink if isinstance(o, Result)] == [
        (3, "detected", 1),
        (4, "tracked", 1),
    ]
    ledger = lane.ledger()
    assert (ledger.captured, ledger.skipped) == (5, 3)
    assert ledger.settled == {"detected": 1, "tracked": 1}
    assert ledger.closes


def test_where_a_chosen_frame_came_too_late_the_next_is_chosen() -> None:
    lanes: FanIn[Job] = FanIn("infer", order=FairShare(), label=label_of)
    lane = lanes.add_lane("cam", capacity=1, overflow="drop_oldest", terms=Terms(1.0, 0.5))
    meters = CameraMeters(Rate(time.monotonic), Rate(time.monotonic), Durations())
    work = CameraWork(FakeDetector(ONE_FACE), FaceTracker(), meters)
    outlet: FanOut[Published] = FanOut()
    times = StageMeters(Durations(), Durations(), Durations())
    stop = threading.Event()

    class Late(ListSource):
        """Its first frame is two seconds old; the others come once that one is dropped."""

        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for frame in super().frames(stop):
                old_s = 0.0 if frame.index else 2.0
                yield replace(frame, captured_at=time.monotonic() - old_s)
                while not frame.index and not lane.late:
                    time.sleep(0.005)

    worker = threading.Thread(
        target=infer,
        args=(lanes, outlet, times),
        kwargs={"max_batch": 1, "clock": time.monotonic},
    )
    worker.start()
    source = Late([picture()] * 4, camera="cam", live=True)
    first = iter([True])  # as with every: 1000
    capture(
        source, lane, lambda _at: next(first, False), lambda: work, meters.captured, Position(),
        stop=stop,
    )  # fmt: skip
    lanes.close(lanes=True)
    worker.join(10)
    ledger = lane.ledger()
    assert ledger.dropped == {("infer", "deadline"): 1}
    assert ledger.settled == {"detected": 1}
    assert ledger.skipped == 2


def test_a_look_that_misses_a_face_gets_it_as_expected() -> None:
    looks = iter(range(1000))

    def blinking(_picture: Picture) -> Faces:
        return Faces.none() if next(looks) == 9 else ONE_FACE

    outcomes = Line({"a": FakeDetector(blinking)}, fills=True).run()
    ages = [o.tracks.ages_s.tolist() for o in outcomes if isinstance(o, Result)]
    assert ages[:9] + ages[10:] == [[0.0]] * 19
    assert len(ages[9]) == 1 and 0 < ages[9][0] < 0.5
    without = Line({"a": FakeDetector(Faces.none())}, fills=True).run()
    assert all(isinstance(o, Result) and not len(o.tracks) for o in without)


def test_a_slow_detector_makes_a_live_camera_drop_and_never_wait() -> None:
    def slowly(_picture: Picture) -> Faces:
        time.sleep(0.03)
        return Faces.none()

    line = Line({"a": FakeDetector(slowly)}, live=True, pictures=40)
    outcomes = line.run()
    ledger = line.lanes.lanes()[0].ledger()
    assert ledger.captured == 40
    assert ledger.dropped["infer", "queue_full"] > 0
    assert outcomes[-1].frame.index == 39  # the newest is never the one let go


def test_cameras_that_share_a_detector_share_a_batch() -> None:
    first = threading.Event()

    def wait_once(_picture: Picture) -> Faces:
        if not first.is_set():
            first.set()
            time.sleep(0.3)  # meanwhile the lanes of all cameras fill
        return Faces.none()

    shared = FakeDetector(wait_once)
    line = Line({name: shared for name in "abcd"}, max_batch=16)  # noqa: C420
    line.run()
    assert max(shared.batches) == 4
    batches = line.times.batches.stats()
    assert (batches.count, batches.sum_s) == (len(shared.batches), sum(shared.batches))
    own = {name: FakeDetector(wait_once) for name in "ab"}
    Line(dict(own), max_batch=16).run()
    assert all(max(detector.batches) == 1 for detector in own.values())


def test_a_failure_is_never_an_empty_result() -> None:
    def fails_on_odd(shown: Picture) -> Faces:
        if int(shown.bgr()[0, 0, 0]) % 2:
            raise DetectionFailed("not this one")
        return Faces.none()

    line = Line({"a": FakeDetector(fails_on_odd)})
    outcomes = line.run()
    assert [o.frame.index for o in outcomes] == list(range(20))
    for outcome in outcomes:
        if outcome.frame.index % 2:
            assert isinstance(outcome, Failure)
            assert outcome.reason == "not this one"
            assert not hasattr(outcome, "tracks")
        else:
            assert isinstance(outcome, Result)
    ledger = line.lanes.lanes()[0].ledger()
    assert ledger.dropped == {("infer", "failed"): 10}
    assert ledger.settled == {"detected": 10}


def test_a_detector_that_always_fails_ends_the_program() -> None:
    def fails(_picture: Picture) -> Faces:
        raise DetectionFailed("broken")

    line = Line({"a": FakeDetector(fails)})
    with pytest.raises(StageFailure) as caught:
        line.run()
    assert "3 times in a row" in str(caught.value.exceptions[0])
    assert len(line.sink.outcomes) == FAILURES_IN_A_ROW
    assert all(isinstance(outcome, Failure) for outcome in line.sink.outcomes)


def test_a_camera_whose_pictures_cannot_be_read_ends_nobody() -> None:
    def unreadable(_picture: Picture) -> Faces:
        raise PictureFailed("its colours cannot be converted")

    line = Line({"a": FakeDetector(unreadable), "b": FakeDetector()})
    outcomes = line.run()
    assert all(isinstance(o, Failure) for o in outcomes if o.frame.camera == "a")
    assert len(outcomes) == 40
    assert line.lanes.lanes()[0].ledger().dropped == {("infer", "failed"): 20}


def test_a_bug_in_a_detector_ends_the_program_and_says_where() -> None:
    def bug(_picture: Picture) -> Faces:
        raise ZeroDivisionError

    line = Line({"a": FakeDetector(bug), "b": FakeDetector()}, workers=2)
    with pytest.raises(StageFailure) as caught:
        line.run()
    notes = [note for error in caught.value.exceptions for note in error.__notes__]
    assert any(note.startswith("in stage 'infer-") for note in notes)


def test_stop_ends_a_live_line_in_order() -> None:
    line = Line({"a": FakeDetector()}, live=True, pictures=100_000)
    threading.Timer(0.3, line.group.stop).start()
    outcomes = line.run()
    assert outcomes
    assert line.sink.closed


def test_only_sinks_that_ask_for_changes_get_them() -> None:
    class Both(CollectingSink):
        def __init__(self) -> None:
            super().__init__()
            self.changes: list[CameraChange] = []

        def write_change(self, change: CameraChange) -> None:
            self.changes.append(change)

    for sink in (Both(), CollectingSink()):
        inlet: Channel[Published] = Channel("inlet", capacity=2, overflow="block")
        news = CameraChange("a", "live", 0.0, 0.0)
        inlet.put(news)
        inlet.close()
        publish(inlet, sink, None, None, clock=time.monotonic)
        assert sink.outcomes == []
        assert getattr(sink, "changes", [news]) == [news]


def captured(source: ListSource) -> tuple[Ledger, Position]:
    """What the ledger says when the source has been read, and where its numbers ended."""
    lane = FanIn[Job]("infer").add_lane("cam", capacity=9, overflow="block")
    meters = CameraMeters(Rate(time.monotonic), Rate(time.monotonic), Durations())
    work = CameraWork(FakeDetector(), FaceTracker(), meters)
    position = Position()
    capture(
        source,
        lane,
        lambda at: True,
        lambda: work,
        meters.captured,
        position,
        stop=threading.Event(),
    )
    return lane.ledger(), position


def test_frames_that_were_lost_before_they_came_here_are_counted() -> None:
    class Gaps(ListSource):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            yield from (frame for frame in super().frames(stop) if frame.index not in (0, 3, 4))

    ledger, _ = captured(Gaps([picture()] * 6, camera="cam", live=False))
    assert (ledger.captured, ledger.waiting) == (6, 3)
    assert ledger.dropped == {("capture", "ring_full"): 3}
    assert ledger.closes


def test_frames_that_were_not_decoded_are_told_from_those_that_found_no_room() -> None:
    class LeftOut(ListSource):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for frame in super().frames(stop):
                if frame.index in (2, 9):
                    yield replace(frame, left_out=2)
                elif frame.index in (5, 7, 8):  # of three before 5 and two before 9 ...
                    continue
                elif frame.index == 6:
                    yield replace(frame, left_out=9)  # ... no more than are missing

    ledger, _ = captured(LeftOut([picture()] * 10, camera="cam", live=False))
    assert ledger.dropped == {("capture", "not_decoded"): 2 + 3 + 2}
    assert (ledger.captured, ledger.waiting) == (10, 3)
    assert ledger.closes


def test_frames_that_no_frame_tells_of_any_more_are_counted_at_the_end() -> None:
    class Owing(ListSource):
        left_out = 7

    ledger, position = captured(Owing([picture()] * 2, camera="cam", live=False))
    assert ledger.dropped == {("capture", "not_decoded"): 7}
    assert (ledger.captured, position.index) == (9, 9)
    assert ledger.closes


def test_the_first_frame_of_another_resolution_is_looked_at_whatever_pacing_says() -> None:
    small, large = picture(), ArrayPicture(np.zeros((96, 128, 3), np.uint8))
    assert (small.width, small.height) != (large.width, large.height)
    lanes: FanIn[Job] = FanIn("infer")
    lane = lanes.add_lane("cam", capacity=9, overflow="block")
    meters = CameraMeters(Rate(time.monotonic), Rate(time.monotonic), Durations())
    work = CameraWork(FakeDetector(), FaceTracker(), meters, fills=True)
    source = ListSource([small, small, large, large], camera="cam", live=False)
    capture(
        source,
        lane,
        lambda at: False,
        lambda: work,
        meters.captured,
        Position(),
        stop=threading.Event(),
    )
    lanes.close(lanes=True)
    looks = []
    for batch in lanes.batches(1):
        with batch:
            looks.append(batch.items[0].looks)
            batch.settle(0, "detected")
    assert looks == [True, False, True, False]


def test_a_sink_that_gathers_is_given_bursts() -> None:
    class Gathers(CollectingSink):
        apart_s = 0.0

        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []

        @contextmanager
        def burst(self) -> Iterator[None]:
            before = len(self.outcomes)
            yield
            self.sizes.append(len(self.outcomes) - before)

    outcomes = Line({"a": FakeDetector()}, pictures=6).run()
    inlet: Channel[Published] = Channel("inlet", capacity=9, overflow="block")
    for outcome in outcomes:
        inlet.put(outcome)
    inlet.close()
    sink = Gathers()
    publish(inlet, sink, None, None, clock=time.monotonic)
    assert sink.outcomes == outcomes
    assert sink.sizes == [6]
    assert sink.closed
