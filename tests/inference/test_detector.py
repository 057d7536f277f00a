import threading
from functools import cache

import cv2
import numpy as np
import pytest

from streamer.errors import DetectionFailed, OutOfMemory
from streamer.inference.detector import ConfidentOnly, RetinaFace
from streamer.inference.ladder import MemoryCounts
from streamer.inference.session import Session, open_session
from streamer.types import Faces, Floats
from streamer.vision.boxes import iou
from streamer.vision.picture import ArrayPicture
from tests.inference.pictures import model_bytes, shipped

FACE = np.array([[178, 58, 273, 178]], np.float32)
"""The astronaut's face, by eye."""


@cache
def session() -> Session:
    return open_session(model_bytes(), device="cpu", threads=1, spin=False)


@cache
def detector() -> RetinaFace:
    return RetinaFace(session())


def scaled(name: str, width: int, height: int) -> ArrayPicture:
    return ArrayPicture(cv2.resize(shipped(name), (width, height), interpolation=cv2.INTER_AREA))


def same(ours: Faces, theirs: Faces, atol: float = 1e-3) -> None:
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=atol)
    np.testing.assert_allclose(ours.landmarks, theirs.landmarks, atol=atol)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)


def test_the_astronaut_has_one_face_with_its_eyes_nose_and_mouth_in_place() -> None:
    [faces] = detector().detect([ArrayPicture(shipped("astronaut.png"))])
    assert len(faces) == 1
    assert faces.scores[0] > 0.99
    assert iou(faces.boxes, FACE)[0, 0] > 0.8
    left_eye, right_eye, nose, mouth_left, mouth_right = faces.landmarks[0]
    assert left_eye[0] < nose[0] < right_eye[0]
    assert mouth_left[0] < nose[0] < mouth_right[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
    np.testing.assert_allclose(nose, (224, 129), atol=8)


def test_the_man_with_the_camera_is_seen_from_the_side() -> None:
    [faces] = detector().detect([ArrayPicture(shipped("camera.png"))])
    assert len(faces) == 1


@pytest.mark.parametrize(
    "name",
    [
        "brick.png", "cell.png", "chessboard_RGB.png", "coffee.png", "coins.png", "color.png",
        "grass.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "page.png", "phantom.png",
        "retina.jpg", "rocket.jpg", "text.png",
    ],
)  # fmt: skip
def test_pictures_without_a_face_have_none(name) -> None:
    [faces] = detector().detect([ArrayPicture(shipped(name))])
    assert len(faces) == 0


@pytest.mark.parametrize("size", [(1280, 720), (640, 360), (360, 640), (2000, 500), (333, 777)])
def test_the_face_is_found_at_its_place_in_any_shape_of_picture(size) -> None:
    width, height = size
    side = min(size)
    canvas = np.full((height, width, 3), 60, np.uint8)
    left, top = width - side, height - side
    canvas[top:, left:] = scaled("astronaut.png", side, side).bgr()
    [faces] = detector().detect([ArrayPicture(canvas)])
    assert len(faces) == 1
    expected = FACE * side / 512 + np.array([left, top, left, top], np.float32)
    assert iou(faces.boxes, expected)[0, 0] > 0.7


def test_a_batch_of_four_equals_four_singles() -> None:
    face = shipped("astronaut.png")
    pictures = [ArrayPicture(np.roll(face, 23 * k, axis=1)) for k in range(4)]
    for ours, theirs in zip(
        detector().detect(pictures), (detector().detect([p])[0] for p in pictures), strict=True
    ):
        assert len(theirs) >= 1
        same(ours, theirs)


def mixed_pictures() -> list[ArrayPicture]:
    return [
        scaled("astronaut.png", 1280, 720),
        scaled("astronaut.png", 300, 500),
        scaled("coffee.png", 640, 360),
        scaled("astronaut.png", 640, 370),  # another content, the same network input
        scaled("astronaut.png", 200, 200),
        scaled("camera.png", 1280, 720),
    ]


def test_a_batch_of_different_sizes_equals_singles_in_the_order_given() -> None:
    pictures = mixed_pictures()
    together = detector().detect(pictures)
    alone = [detector().detect([p])[0] for p in pictures]
    assert [len(f) for f in together] == [1, 1, 0, 1, 1, 1]
    for ours, theirs in zip(together, alone, strict=True):
        same(ours, theirs)


class Counting:
    """A session that keeps the shapes it was run on."""

    def __init__(self, sizes: tuple[int, ...] = ()) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.memory = MemoryCounts()
        self.sizes = sizes

    def batch_size(self, pictures: int) -> int:
        return next((size for size in self.sizes if size >= pictures), pictures)

    def folds(self, height: int, width: int, *, trial: bool = False) -> bool:
        return False

    def warm_up(self, batch):
        return self.run(batch)

    def run(self, batch):
        self.shapes.append(batch.shape)
        return session().run(batch)


def test_pictures_of_one_network_size_share_one_run() -> None:
    counting = Counting()
    RetinaFace(counting).detect(mixed_pictures())
    assert sorted(counting.shapes) == [(1, 3, 640, 384), (1, 3, 640, 640), (4, 3, 384, 640)]


def test_a_batch_is_padded_to_a_size_of_the_session_and_the_rest_is_ignored() -> None:
    counting = Counting((1, 2, 4, 8))
    mine = RetinaFace(counting)
    pictures = mixed_pictures()
    for number in (6, 3, 5, 1):
        for ours, theirs in zip(
            mine.detect(pictures[:number]), detector().detect(pictures[:number]), strict=True
        ):
            same(ours, theirs)
    assert {shape[0] for shape in counting.shapes} == {1, 2, 4}


class Full(Counting):
    """Has room for so many input pixels at once."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def run(self, batch):
        if batch[:, 0].size > self.room:
            self.shapes.append(batch.shape)
            raise OutOfMemory("CUDA failure 2: out of memory")
        return super().run(batch)


def test_where_memory_is_short_the_batch_is_halved_and_nothing_is_lost() -> None:
    full = Full(2 * 640 * 640)
    pictures = [ArrayPicture(shipped("astronaut.png"))] * 5
    found = RetinaFace(full).detect(pictures)
    assert [len(faces) for faces in found] == [1] * 5
    assert [shape[0] for shape in full.shapes] == [5, 2, 2, 1]
    assert (full.memory.splits, full.memory.shrinks) == (1, 0)


def test_then_the_picture_is_looked_at_smaller_and_boxes_stay_in_its_own_pixels() -> None:
    full = Full(500 * 500)
    mine = RetinaFace(full)
    [faces] = mine.detect([ArrayPicture(shipped("astronaut.png"))])
    assert iou(faces.boxes, FACE)[0, 0] > 0.75
    assert (full.memory.splits, full.memory.shrinks, mine.input_size) == (0, 1, 480)


def test_a_detector_that_must_not_miss_a_face_rather_fails() -> None:
    full = Full(500 * 500)
    mine = RetinaFace(full, shrinks=False)
    with pytest.raises(OutOfMemory):
        mine.detect([ArrayPicture(shipped("astronaut.png"))])
    assert (full.memory.shrinks, full.memory.given_up, mine.input_size) == (0, 1, 640)


def test_then_the_pictures_fail_and_are_counted() -> None:
    full = Full(0)
    with pytest.raises(DetectionFailed, match="out of memory"):
        RetinaFace(full).detect([ArrayPicture(shipped("astronaut.png"))] * 2)
    assert full.memory.given_up == 2


def test_no_pictures_are_no_faces_and_no_run() -> None:
    counting = Counting()
    assert RetinaFace(counting).detect([]) == []
    assert counting.shapes == []


def test_warming_up_runs_the_shape_and_batch_that_will_come() -> None:
    counting = Counting()
    RetinaFace(counting, input_size=320).warm_up(1280, 720, batch=3)
    assert counting.shapes == [(3, 3, 192, 320)]


def test_what_is_left_in_a_buffer_does_not_show_in_the_next_picture() -> None:
    mine = RetinaFace(session())
    [before] = mine.detect([scaled("astronaut.png", 640, 364)])
    mine.detect([ArrayPicture(np.full((384, 640, 3), 255, np.uint8))] * 3)  # the whole input
    [after] = mine.detect([scaled("astronaut.png", 640, 364)])
    same(after, before, atol=0)


def test_a_thread_keeps_buffers_for_few_sizes_only() -> None:
    mine = RetinaFace(session(), input_size=64)
    for height in range(2, 65, 2):
        mine.warm_up(64, height)
    for width in range(2, 65, 2):
        mine.warm_up(width, 64)
    assert len(mine._buffers._kept) <= 4


def test_four_threads_on_one_detector_find_what_one_finds() -> None:
    pictures = mixed_pictures()
    mine = RetinaFace(session())
    alone = [mine.detect([p])[0] for p in pictures]
    found: dict[tuple[int, int], Faces] = {}
    start = threading.Barrier(4)

    def work(worker: int) -> None:
        start.wait()
        for step in range(len(pictures)):
            n = (worker + step) % len(pictures)
            found[worker, n] = mine.detect([pictures[n]])[0]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 * len(pictures)
    for (_, n), faces in found.items():
        same(faces, alone[n], atol=0)


class Corrupting(Counting):
    def run(self, batch):
        loc, conf, landmarks = super().run(batch)
        conf[0, 5, 1] = np.nan
        return loc, conf, landmarks


def test_a_network_that_gives_nonsense_fails_and_finds_nothing() -> None:
    with pytest.raises(DetectionFailed):
        RetinaFace(Corrupting()).detect([ArrayPicture(shipped("astronaut.png"))])


@pytest.mark.parametrize(
    "wrong",
    [{"input_size": 0}, {"input_size": 650}, {"confidence": 1.5}, {"nms": -1}, {"max_faces": 0}],
)
def test_settings_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="must be"):
        RetinaFace(session(), **wrong)


def test_a_higher_confidence_finds_fewer() -> None:
    picture = ArrayPicture(shipped("gravel.png"))  # stones that look a little like faces
    counts = [
        len(RetinaFace(session(), confidence=c).detect([picture])[0]) for c in (0.1, 0.3, 0.6)
    ]
    assert counts[0] > counts[1] > counts[2] == 0
    assert len(RetinaFace(session(), confidence=0.1, max_faces=2).detect([picture])[0]) == 2


def test_the_memory_of_all_workers_is_taken_at_the_warm_up() -> None:
    fresh = open_session(model_bytes(), device="cpu", threads=1, spin=False)
    alone, together = fresh.run, threading.Barrier(3)
    met = []

    def run(batch: Floats) -> tuple[Floats, Floats, Floats]:
        if threading.current_thread() is not threading.main_thread():
            met.append(together.wait(30))  # broken unless three are here at one time
        return alone(batch)

    fresh.run = run  # type: ignore[method-assign]
    RetinaFace(fresh).warm_up(128, 72, at_once=3)
    assert len(met) == 6
    assert len(fresh.warmed) == 1


def test_the_weak_faces_of_another_may_be_left_out() -> None:
    pictures = [scaled("astronaut.png", 160, 160), ArrayPicture(shipped("chelsea.png"))]
    weak = RetinaFace(session(), confidence=0.05).detect(pictures)
    assert any((faces.scores <= 0.6).any() for faces in weak)
    sure = ConfidentOnly(RetinaFace(session(), confidence=0.05), 0.6).detect(pictures)
    for ours, theirs in zip(
        sure, RetinaFace(session(), confidence=0.6).detect(pictures), strict=True
    ):
        same(ours, theirs)
