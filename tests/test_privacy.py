"""Privacy with the real model: no face of the demo clip can be found in what leaves streamer."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from streamer.config import Camera
from streamer.errors import PictureFailed
from streamer.flow.channel import Channel
from streamer.flow.fan import FanIn
from streamer.flow.fan_out import FanOut
from streamer.flow.meters import Durations, Rate
from streamer.inference.detector import RetinaFace
from streamer.inference.session import open_session
from streamer.publish.restream import drawn
from streamer.publish.rtsp_push import RtspPush
from streamer.resources import resource
from streamer.stages import CameraMeters, CameraWork, Job, StageMeters, infer
from streamer.testing import FakeDetector
from streamer.types import Faces, Frame, Outcome, Picture, Published, Result, SourceUrl
from streamer.vision.picture import ArrayPicture
from streamer.vision.privacy import MaskedPicture, Mode
from streamer.vision.tracking import FaceTracker
from streamer.web.live import LiveView
from tests.evaluate import ClipTruth, iou_table, load_truth
from tests.publish.test_rtsp_push import Taker
from tests.test_app import app_of, config
from tests.test_stages import Line
from tests.web.synthetic import until

MODES: tuple[Mode, ...] = ("blur", "pixelate", "box")
WIDTHS = (160, 320, 640, 960, 1280)
QUALITIES = (30, 80, 100)
SAME = 0.5
"""Overlap (IoU) from which on what is found is the face of the truth."""


pytestmark = pytest.mark.timeout(600)


class Found(NamedTuple):
    """Something like a face, found where the truth has one; ``known``: at the last look too."""

    frame: int
    mode: Mode
    width: int
    quality: int
    score: float
    overlap: float
    known: bool


class Prying:
    """A sink that looks for faces in the pictures that viewers get, drawn and as JPEG."""

    def __init__(self, finder: RetinaFace, *, modes: tuple[Mode, ...], all_ways: bool) -> None:
        self._finder = finder
        self._modes = modes
        self._all_ways = all_ways
        self._truth: ClipTruth = load_truth()
        self._view = LiveView(["clip"], stale_after_s=1e9)
        self._known: set[str] = set()
        self.found: list[Found] = []
        self.pictures = 0

    def write(self, outcome: Outcome) -> None:
        picture, n = outcome.frame.picture, outcome.frame.index
        assert isinstance(picture, MaskedPicture)
        if outcome.status == "detected":
            self._known = {face.person for face in self._truth.frames[n]}
        # Each frame in one mode, width and quality, in turn: run this file for all of each.
        ways = list(itertools.product(WIDTHS, QUALITIES))
        for k, mode in enumerate(self._modes):
            picture.privacy.mode = mode  # it holds at once
            if not self._all_ways and n % len(self._modes) != k:
                continue
            for width, quality in ways if self._all_ways else [ways[n // 3 % len(ways)]]:
                self._view.write(outcome)
                self._look(n, mode, width, quality)

    def _look(self, n: int, mode: Mode, width: int, quality: int) -> None:
        shown = self._view.jpeg("clip", width, quality=quality)
        assert shown is not None
        image = cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_COLOR)
        faces = self._finder.detect([ArrayPicture(np.asarray(image, np.uint8))])[0]
        self.pictures += 1
        true = self._truth.frames[n]
        overlaps = iou_table(faces.boxes * (1280 / shown.width), [face.bbox for face in true])
        for row, score in zip(overlaps, faces.scores.tolist(), strict=True):
            best = int(row.argmax()) if len(true) else 0
            if len(true) and row[best] > 0:
                known = true[best].person in self._known
                self.found.append(Found(n, mode, width, quality, score, float(row[best]), known))

    def close(self) -> None:
        pass


def finder_of(model: bytes) -> RetinaFace:
    session = open_session(model, device="cpu", threads=1, spin=False)
    return RetinaFace(session, input_size=640, confidence=0.5, nms=0.4, max_faces=200)


@pytest.fixture(scope="module")
def finder(model_bytes: bytes) -> RetinaFace:
    return finder_of(model_bytes)


def watch_clip(
    finder: RetinaFace, modes: tuple[Mode, ...] = MODES, *, all_ways: bool = False, **camera: Any
) -> Prying:
    prying = Prying(finder, modes=modes, all_ways=all_ways)
    source = {"source": str(resource("demo.mp4")), "privacy": "blur", **camera}
    app_of(config({"clip": source}), extra_sinks={"prying": prying}).run()
    return prying


def test_no_face_of_the_clip_is_found_in_any_picture(finder: RetinaFace) -> None:
    prying = watch_clip(finder)
    assert prying.pictures == 250
    assert [one for one in prying.found if one.overlap >= SAME] == []


def test_looking_at_every_fifth_frame_the_others_show_no_face_that_was_known(
    finder: RetinaFace,
) -> None:
    prying = watch_clip(finder, every=5)
    assert prying.pictures == 250
    same = [one for one in prying.found if one.overlap >= SAME]
    assert [one for one in same if one.known] == []
    # Who comes in between two looks is bare until the next: a promise that is not made. Then:
    assert {one.frame for one in same} <= {37, 38, 39}


def test_without_fill_nothing_is_shown_that_was_not_looked_at(finder: RetinaFace) -> None:
    prying = watch_clip(finder, every=5, fill=False)
    assert prying.pictures == 50
    assert [one for one in prying.found if one.overlap >= SAME] == []


class Restreaming:
    """A sink that sends every picture, as restream does but without letting any go."""

    def __init__(self, server: Taker) -> None:
        url = SourceUrl(f"rtsp://127.0.0.1:{server.port}/door")
        self._server = server
        self._push = RtspPush(url, width=1280, height=720, fps=25, kbps=4000)

    def write(self, outcome: Outcome) -> None:
        self._push.write(drawn(outcome, 1280, 720, old=False), outcome.frame.index / 25)

    def close(self) -> None:
        # Who says good-bye takes along what the server has not worked off yet, and it holds the
        # last picture back until another begins.
        until(lambda: self._server.came >= 249, 60.0)
        self._push.close()


@pytest.mark.rtsp
def test_in_what_an_rtsp_server_gets_of_the_whole_clip_no_face_is_found(
    finder: RetinaFace, tmp_path: Path
) -> None:
    server = Taker(tmp_path)
    try:
        source = {"source": str(resource("demo.mp4")), "privacy": "blur"}
        app_of(config({"clip": source}), extra_sinks={"send": Restreaming(server)}).run()
    finally:
        server.end()
    pictures = server.pictures()
    assert len(pictures) >= 249
    found, truth = [], load_truth()
    for n, image in enumerate(pictures):
        faces = finder.detect([ArrayPicture(np.ascontiguousarray(image))])[0]
        near = truth.frames[max(0, n - 1) : n + 2]
        true = [face.bbox for frame in near for face in frame]
        overlaps = iou_table(faces.boxes, true)
        found += [(n, *row) for row in overlaps if row.size and row.max() >= SAME]
    assert found == []


def test_without_privacy_the_faces_are_found(finder: RetinaFace) -> None:
    prying = watch_clip(finder, ("none",), every=25, fill=False)
    assert len([one for one in prying.found if one.overlap >= SAME]) > 20


def test_a_frame_that_could_not_be_looked_at_is_covered_whole() -> None:
    looks = iter(range(1000))

    def failing_once(_picture: Picture) -> Faces:
        if next(looks) == 1:
            raise PictureFailed("it cannot be read")
        return Faces.none()

    line = Line({"a": FakeDetector(failing_once)}, pictures=3, privacy="box")
    whole = [bool((o.frame.picture.bgr() == 48).all()) for o in line.run()]
    assert whole == [False, True, False]


def test_a_camera_that_is_replaced_is_covered_at_once_what_waits_included() -> None:
    app = app_of(
        config({"cam": {"source": "demo:"}}, http={"bind": "127.0.0.1:0"}),
    )
    running = threading.Thread(target=app.run)
    running.start()
    try:
        live = app._live
        assert live is not None
        until(lambda: live.sequence("cam") > 3)
        assert app.status().cameras[0].privacy == "none"
        # The new source never gives a picture: the old one's is what a snapshot shows.
        app.roster.replace("cam", Camera(source="rtsp://127.0.0.1:9/x", privacy="box"))
        shown = live.jpeg("cam", 1280)
        assert shown is not None
        image = cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert np.median(image) == 48
        assert app.status().cameras[0].privacy == "box"
    finally:
        app.stop()
        running.join()


def test_files_are_predicted_by_their_own_time_however_fast_they_are_read() -> None:
    meters = CameraMeters(Rate(time.monotonic), Rate(time.monotonic), Durations())
    moved = iter([40.0, 60.0, 80.0, 100.0])

    def moving(_picture: Picture) -> Faces:
        x = next(moved)
        box = np.array([[x, 60, x + 40, 110]], np.float32)
        return Faces(box, np.array([0.9], np.float32), np.zeros((1, 5, 2), np.float32))

    work = CameraWork(FakeDetector(moving), FaceTracker(), meters, fills=True)
    lanes: FanIn[Job] = FanIn("infer")
    lane = lanes.add_lane("clip", capacity=32, overflow="block")
    blank = ArrayPicture(np.zeros((240, 320, 3), np.uint8))
    for n in range(19):  # all captured at one instant; 25 a second by the file's own time
        frame = Frame("clip", 0, n, 1.0, 0.0, n * 0.04, blank)
        lane.put(Job(frame, work, n % 5 == 0, False, frame.pts))
    lanes.close(lanes=True)
    sink: Channel[Published] = Channel("sink", capacity=32, overflow="block")
    outlet: FanOut[Published] = FanOut()
    outlet.add(sink)
    times = StageMeters(Durations(), Durations(), Durations())
    infer(lanes, outlet, times, max_batch=1, clock=time.monotonic)
    outlet.close()
    last = [o for o in sink if isinstance(o, Result)][-1]
    assert last.status == "tracked"
    assert last.tracks.faces.boxes[0, 0] == pytest.approx(112, abs=3)
    assert last.tracks.ages_s[0] == pytest.approx(0.12)


if __name__ == "__main__":  # every frame in every mode, width and quality: python -m …
    MODEL = Path(__file__).resolve().parent.parent / "models" / "retinaface_mnet025.onnx"
    for options in ({}, {"every": 5}, {"every": 5, "fill": False}):
        told = watch_clip(finder_of(MODEL.read_bytes()), all_ways=True, **options)
        print(json.dumps({
            **options,
            "pictures": told.pictures,
            "faces found": len([o for o in told.found if o.overlap >= SAME and o.known]),
            "new faces found": len([o for o in told.found if o.overlap >= SAME and not o.known]),
            "likenesses": len([o for o in told.found if o.overlap < SAME]),
            "highest overlap of a likeness": max(o.overlap for o in told.found),
        }), flush=True)  # fmt: skip
