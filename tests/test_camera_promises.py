"""What a camera is promised, in the parts that keep it: its share, its age, and who stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.app import App
from streamer.cameras import Cameras
from streamer.config import Camera, parse_config
from streamer.flow.channel import Channel
from streamer.flow.fan import FanIn
from streamer.flow.fan_out import FanOut
from streamer.flow.lane import Lane
from streamer.flow.meters import Durations
from streamer.inference.scheduling import FairShare
from streamer.stages import CameraMeters, CameraWork, Job, StageMeters, capture, infer, label_of
from streamer.stages import publish as publish_stage
from streamer.status import SourceState
from streamer.testing import CollectingSink, FakeDetector, ListSource, ManualClock
from streamer.types import (
    Faces,
    Frame,
    Picture,
    Published,
    Result,
    Stamps,
    TrackChange,
    Tracks,
)
from streamer.vision.picture import ArrayPicture
from tests.test_camera_line import SYNTHETIC, line
from tests.test_cameras import ROOT, config
from tests.test_stages import ONE_FACE

PICTURE = ArrayPicture(np.random.default_rng(1).integers(0, 255, (192, 320, 3), np.uint8))


class FakeEngine:
    """Gives fake detectors."""

    def detector(self, *_: object, **__: object) -> FakeDetector:
        return FakeDetector()


def cameras_of(lanes: FanIn[Job], clock: ManualClock, **each: dict[str, Any]) -> Cameras:
    model = parse_config({"cameras": {"a": {"source": SYNTHETIC}}}, {}).model
    cameras = Cameras(lanes, FakeEngine(), model, base_folder=Path(), clock=clock)  # type: ignore[arg-type]
    for name, settings in each.items():
        cameras.add(name, Camera(**{"source": SYNTHETIC, **settings}))
    return cameras


def frame(at: float, index: int = 0, camera: str = "cam") -> Frame:
    return Frame(camera, 0, index, at, 0.0, None, PICTURE)


def test_a_camera_of_three_times_the_priority_is_looked_at_three_times_as_often() -> None:
    clock = ManualClock(100.0)
    lanes: FanIn[Job] = FanIn("infer", order=FairShare(), label=label_of, clock=clock)
    cameras = cameras_of(lanes, clock, a={"priority": 3}, b={})
    served = {"a": 0, "b": 0}
    by_name = {each.name: each for each in cameras.lines()}
    batches = lanes.batches(1)
    for index in range(80):
        for name, each in by_name.items():
            each.lane.put(Job(frame(clock(), index, name), each.work))
        batch = next(batches)
        with batch:
            served[batch.items[0].frame.camera] += 1
            clock.advance(0.01)
            batch.settle(0, "detected")
    assert served["a"] == pytest.approx(3 * served["b"], abs=4)
    steered = cameras.steered(clock())
    assert {name: each.priority for name, each in steered.items()} == {"a": 3.0, "b": 1.0}
    cameras.close()


@pytest.mark.parametrize("then", ["stays", "removed", "added anew"])
def test_no_result_older_than_max_age_comes_to_a_sink_whatever_becomes_of_its_camera(
    then: str,
) -> None:
    clock = ManualClock(100.0)
    cameras = cameras_of(FanIn("infer"), clock, cam={"max_age_s": 0.3})
    result = Result(frame(clock()), Tracks.none(), Stamps(100.0, 100.0, 100.0))
    if then != "stays":
        cameras.remove("cam")
    if then == "added anew":
        cameras.add("cam", Camera(source=SYNTHETIC, max_age_s=0.3))
    channel: Channel[Published] = Channel(
        "sink", capacity=4, overflow="block", too_old_at=cameras.too_old_at, clock=clock
    )
    channel.put(result)
    clock.advance(0.2)
    assert next(iter(channel)) is result
    channel.put(result)
    clock.advance(0.2)
    channel.close()
    assert list(channel) == []
    assert channel.stats().dropped == {"too_old": 1}
    cameras.close()


def test_every_sink_of_the_program_drops_what_is_too_old(model_path: Path) -> None:
    del model_path
    settings = config({"cam": {"source": SYNTHETIC, "max_age_s": 0.3, "input_size": 320}})
    sinks = {"one": CollectingSink(), "other": CollectingSink()}
    app = App(settings, base_folder=ROOT, environ={}, extra_sinks=sinks)
    at = time.monotonic() - 0.31
    app._outlet.put(Result(frame(at), Tracks.none(), Stamps(at, at, at)))
    app._outlet.close()
    for name, channel, _, _ in app._sinks:
        assert list(channel) == [], name
        assert channel.stats().dropped == {"too_old": 1}
    assert [name for name, *_ in app._sinks] == ["one", "other"]


@pytest.mark.parametrize(
    ("camera", "limit_s"),
    [({"max_age_s": 2.0}, 2.0), ({"pacing": "all"}, None), ({"source": "clip.mp4"}, None)],
)
def test_a_camera_states_its_limit_only_where_it_is_kept(
    camera: dict[str, Any], limit_s: float | None
) -> None:
    assert line(FanIn("infer"), **camera).status(time.monotonic()).max_age_s == limit_s


# A still scene.


class Scene:
    """A camera's line that is shown pictures, and what comes out of it."""

    def __init__(self, **camera: Any) -> None:
        self.lanes: FanIn[Job] = FanIn("infer", label=label_of)
        self.line = line(self.lanes, source="clip.mp4", **camera)
        self.line.work = replace(self.line.work, detector=FakeDetector(ONE_FACE))
        self.channel: Channel[Published] = Channel("sink", capacity=1000, overflow="block")

    def show(self, pictures: int, fps: float) -> list[Result]:
        """One picture, so many times: nothing moves in it."""
        one, source = self.line, ListSource([PICTURE] * pictures, camera="cam", fps=fps)
        outlet: FanOut[Published] = FanOut()
        outlet.add(self.channel)

        def read() -> None:
            capture(
                source, one.lane, one.wants, one.work_now, one.meters.captured, one.position,
                stop=threading.Event(), still=one.still,
            )  # fmt: skip
            self.lanes.close(lanes=True)

        reading = threading.Thread(target=read)
        reading.start()
        times = StageMeters(Durations(), Durations(), Durations())
        infer(self.lanes, outlet, times, max_batch=1, clock=time.monotonic)
        reading.join(20)
        self.channel.close()
        return [each for each in self.channel if isinstance(each, Result)]


@pytest.mark.parametrize(
    "pace", [{}, {"every": 3}, {"max_fps": 5}, {"every": 12}, {"max_fps": 0.9}, {"every": 50}]
)
def test_faces_stay_in_a_still_scene_whatever_frames_are_to_be_looked_at(
    pace: dict[str, Any],
) -> None:
    results = Scene(motion=True, **pace).show(300, fps=15)
    # At the start everything is new, and a face is predicted for half a second after a look.
    settled = results[120:]
    assert {len(result.tracks) for result in settled} == {1}
    assert {int(result.tracks.ids[0]) for result in results if len(result.tracks)} == {1}
    looks = sum(result.status == "detected" for result in settled)
    assert looks <= 180 / 12
    boxes = {tuple(result.tracks.faces.boxes[0].tolist()) for result in settled}
    assert boxes == {(10.0, 10.0, 50.0, 60.0)}


def still_job(work: CameraWork, at: float, index: int, *, compared: bool = True) -> Job:
    return Job(frame(at, index), work, looks=False, still=True, compared=compared)


def outcomes(work: CameraWork, jobs: list[Job]) -> Iterator[Result]:
    """What comes of the jobs of one camera, each before the next is taken."""
    for job in jobs:
        lanes: FanIn[Job] = FanIn("infer", label=label_of)
        lane: Lane[Job] = lanes.add_lane("cam", capacity=4, overflow="block")
        lane.put(job)
        lanes.close(lanes=True)
        channel: Channel[Published] = Channel("sink", capacity=4, overflow="block")
        outlet: FanOut[Published] = FanOut()
        outlet.add(channel)
        infer(
            lanes, outlet, StageMeters(Durations(), Durations(), Durations()), max_batch=1,
            clock=ManualClock(job.frame.captured_at),
        )  # fmt: skip
        outlet.close()
        (result,) = channel
        assert isinstance(result, Result)
        yield result


def test_held_faces_end_when_no_look_comes_through() -> None:
    scene = Scene(motion=True)
    work = scene.line.work
    jobs = [Job(frame(100.0), work)]
    jobs += [still_job(work, 100 + n / 2, n) for n in range(1, 8)]
    assert [len(result.tracks) for result in outcomes(work, jobs)] == [1] * 6 + [0] * 2


def test_the_age_is_of_what_was_published_of_a_look_or_of_a_frame_seen_to_be_still() -> None:
    scene = Scene(motion=True)
    work, meters = scene.line.work, scene.line.meters
    jobs = [
        Job(frame(100.0), work),
        Job(frame(101.0, 1), work, looks=False),
        still_job(work, 102.0, 2, compared=False),
        still_job(work, 103.0, 3),
        Job(frame(104.0, 4), work),
    ]
    ages, found = [], []
    for result in outcomes(work, jobs):
        found.append(scene.line.result_age_s(110.0))
        before = scene.line.status(110.0).newest_age_s
        written(result, meters)
        ages.append((before, scene.line.status(110.0).newest_age_s))
    assert ages == [(None, 10.0), (10.0, 10.0), (10.0, 10.0), (10.0, 7.0), (7.0, 6.0)]
    assert found == [10.0, 10.0, 10.0, 7.0, 6.0]  # by which overload is told, whatever sinks do


def written(result: Result, meters: CameraMeters) -> None:
    channel: Channel[Published] = Channel("sink", capacity=1, overflow="block")
    channel.put(result)
    channel.close()
    publish_stage(channel, CollectingSink(), lambda _: meters, None, clock=time.monotonic)


# Who stays, whatever the load.


class Slow:
    """A camera that is looked at by a worker of one's own pace, and what is told of its faces."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **camera: Any) -> None:
        self.clock = ManualClock(100.0)
        self.lanes: FanIn[Job] = FanIn("infer", label=label_of, clock=self.clock)
        self.line = line(self.lanes, **camera)
        monkeypatch.setattr(self.line.source, "state", lambda: SourceState("live", 0.0))
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.line.work = replace(self.line.work, detector=FakeDetector(self._look))
        self.news: Channel[Published] = Channel("news", capacity=1000, overflow="block")
        fan: FanOut[Published] = FanOut()
        fan.add(self.news)
        self._fan, times = fan, StageMeters(Durations(), Durations(), Durations())
        self._worker = threading.Thread(
            target=lambda: infer(
                self.lanes, FanOut(), times, max_batch=1, clock=self.clock, news=fan
            )
        )
        self._worker.start()
        self.index = 0

    def _look(self, _picture: Picture) -> Faces:
        self.begun.release()
        assert self.go_on.acquire(timeout=20)
        return ONE_FACE

    def frame(self, *, busy_s: float | None = None) -> None:
        """A frame comes; where pacing wants it, the look ends ``busy_s`` after its capture."""
        if not self.line.wants(self.clock()):
            return
        assert busy_s is not None
        self.line.lane.put(Job(frame(self.clock(), self.index), self.line.work))
        self.index += 1
        assert self.begun.acquire(timeout=20)
        self.wait(busy_s)
        self.go_on.release()
        until = time.monotonic() + 20
        while self.line.lane.oldest_at() is not None:
            assert time.monotonic() < until
            time.sleep(0.001)

    def wait(self, seconds: float) -> None:
        """Time passes, and it is told who has left, as the program does."""
        for _ in range(round(seconds * 20)):
            self.clock.advance(0.05)
            with self.line.work.telling:
                for change in self.line.departed(self.clock(), for_ever=False):
                    self._fan.put(change)

    def told(self) -> list[tuple[str, int]]:
        """All that was told, at the end."""
        self.lanes.close(lanes=True)
        self._worker.join(20)
        self._fan.close()
        return [(each.kind, each.id) for each in self.news if isinstance(each, TrackChange)]


def test_nobody_leaves_while_the_frame_that_shows_them_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch)
    for _ in range(4):
        slow.frame(busy_s=0.8)
        slow.wait(1.0)
    slow.frame(busy_s=5.0)
    slow.wait(2.4)
    slow.wait(0.3)  # and now nobody looks any more
    assert slow.told() == [("appeared", 1), ("left", 1)]


@pytest.mark.parametrize(("every", "fps"), [(50, 15), (20, 5)])
def test_who_is_there_at_every_look_keeps_the_id_however_far_apart_looks_are(
    monkeypatch: pytest.MonkeyPatch, every: int, fps: int
) -> None:
    slow = Slow(monkeypatch, every=every)
    for _ in range(4 * every):
        slow.frame(busy_s=0.0)
        slow.wait(1 / fps)
    assert slow.told() == [("appeared", 1)]
    assert slow.line.meters.faces_total == 4


def test_a_camera_that_sends_a_frame_in_three_seconds_is_followed_once_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch)
    for _ in range(5):
        slow.frame(busy_s=0.1)
        slow.wait(3.0)
    slow.wait(6.0)
    assert slow.told() == [("appeared", 1), ("left", 1), ("appeared", 2), ("left", 2)]
