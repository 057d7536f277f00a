"""Results made from when frames were looked at: the same as the stages make, and moved on."""

from __future__ import annotations

import time

import numpy as np
import pytest

from streamer.flow.channel import Channel
from streamer.flow.fan import FanIn
from streamer.flow.fan_out import FanOut
from streamer.flow.meters import Durations, Rate
from streamer.inference.retelling import foretell, retell
from streamer.inference.simulation import Look, Machine, SimulatedCamera, simulate
from streamer.stages import CameraMeters, CameraWork, Job, StageMeters, infer
from streamer.testing import FakeDetector
from streamer.types import Faces, Frame, Picture, Published, Result
from streamer.vision.picture import ArrayPicture
from streamer.vision.streaming_score import Truth, score_stream
from streamer.vision.tracking import FaceTracker

WITHIN = (256, 128)
FPS = 10.0


def face(frame: int, *, speed: float = 8.0) -> Faces:
    """One face of 40 pixels that has moved by ``speed`` pixels in each frame; hidden in one."""
    if frame == 5:
        return Faces.none()
    x = 4.0 + speed * frame
    points = np.array([[[x + 12, 36], [x + 28, 36], [x + 20, 46], [x + 14, 56], [x + 26, 56]]])
    return Faces(
        np.array([[x, 20, x + 40, 70]], np.float32),
        np.array([0.9], np.float32),
        points.astype(np.float32),
    )


def looks_of(count: int, every: int, late_s: float = 0.02) -> list[Look]:
    return [Look(n, n / FPS, n / FPS + late_s, n % every == 0) for n in range(count)]


@pytest.mark.parametrize(("every", "fill"), [(1, True), (1, False), (3, True)])
def test_it_says_what_the_stages_say(every: int, fill: bool) -> None:
    def find(picture: Picture) -> Faces:
        return face(int(picture.bgr()[0, 0, 0]))

    looks = looks_of(12, every)
    lanes: FanIn[Job] = FanIn("infer")
    lane = lanes.add_lane("a", capacity=len(looks), overflow="block")
    meters = CameraMeters(Rate(time.monotonic), Rate(time.monotonic), Durations())
    work = CameraWork(FakeDetector(find), FaceTracker(), meters, fills=fill)
    for number, captured_at, _, detected in looks:
        pixels = np.full((WITHIN[1], WITHIN[0], 3), number, np.uint8)
        frame = Frame("a", 0, number, captured_at, 0.0, None, ArrayPicture(pixels))
        lane.put(Job(frame, work, detected))
    lanes.close(lanes=True)
    outlet: FanOut[Published] = FanOut()
    channel: Channel[Published] = Channel("sink", capacity=len(looks), overflow="block")
    outlet.add(channel)
    times = StageMeters(Durations(), Durations(), Durations())
    infer(lanes, outlet, times, max_batch=1, clock=time.monotonic)
    outlet.close()
    told = retell(looks, face, within=WITHIN, fill=fill)
    for look, result, ours in zip(looks, channel, told, strict=True):
        assert isinstance(result, Result)
        assert (ours.published_at, ours.captured_at) == (look.published_at, look.captured_at)
        np.testing.assert_array_equal(ours.boxes, result.tracks.faces.boxes)
        np.testing.assert_array_equal(ours.scores, result.tracks.faces.scores)
    assert len(told[5].boxes) == (1 if fill else 0)  # hidden, and expected all the same


def test_a_prediction_for_now_is_truer_than_the_newest_result() -> None:
    looks = looks_of(20, every=4, late_s=0.15)
    found = {n: face(n) for n in range(30)}
    truth = [Truth.of(n / FPS, found[n].boxes) for n in range(8, 20)]
    instants = [true.at for true in truth]
    held = score_stream(retell(looks, found.__getitem__, within=WITHIN), truth)
    moved = score_stream(foretell(looks, found.__getitem__, instants, within=WITHIN), truth)
    assert moved.recall == 1.0
    assert held.recall < 1.0


def test_what_comes_after_its_successor_is_no_news() -> None:
    looks = [Look(0, 0.0, 0.1, True), Look(2, 0.2, 0.3, True), Look(1, 0.1, 0.5, True)]
    found = {n: face(n) for n in range(3)}
    before, after = foretell(looks, found.__getitem__, [0.4, 0.6], within=WITHIN)
    direct = FaceTracker()
    for n in (0, 2):
        direct.update(found[n], n / 10)
    for told in (before, after):
        expected = direct.predict(told.published_at, within=WITHIN)
        np.testing.assert_array_equal(told.boxes, expected.faces.boxes)


def test_a_slower_machine_is_less_true() -> None:
    """The point of it all: the same faces found, later, are worth less."""
    found = [face(n, speed=5.0) for n in range(40)]

    def worth(service_s: float) -> float:
        machine = Machine({64: {1: [service_s]}}, cores=2)
        one = simulate([SimulatedCamera(FPS, 64)], machine, seconds=1.9).cameras[0]
        truth = [Truth.of(at, found[n].boxes) for n, at in enumerate(one.captured_at)]
        return score_stream(retell(one.looks, found.__getitem__, within=WITHIN), truth).f1

    quick, slow, slower = worth(0.02), worth(0.12), worth(0.3)
    assert quick > slow > slower
