"""Who appears, how good the best picture is, and who left: what is told of a camera's faces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.changes import TrackChange
from streamer.types import Faces, Frame, Picture, Tracks
from streamer.vision.patience import LOST_S
from streamer.vision.picture import ArrayPicture
from streamer.vision.visits import BEST_EVERY_S, BETTER, LATE_S, MOST, Visits

POINTS = np.array([[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]], np.float32)
"""A frontal face's points as shares of its box (of ArcFace's template)."""
CHECKS = np.kron(np.indices((45, 80)).sum(0) % 2, np.ones((16, 16))).astype(np.uint8) * 200
SHARP = ArrayPicture(np.dstack([CHECKS] * 3).copy())
BLANK = ArrayPicture(np.full((720, 1280, 3), 90, np.uint8))


def tracks_of(*faces: tuple[int, float, float]) -> Tracks:
    """Faces of (id, score, size in pixels), each in a place of its own."""
    boxes = np.array([[50 * n, 40, 50 * n + size, 40 + size] for n, _, size in faces], np.float32)
    boxes = boxes.reshape(-1, 4)
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    return Tracks(
        np.array([n for n, _, _ in faces], np.int64),
        Faces(
            boxes,
            np.array([score for _, score, _ in faces], np.float32),
            (boxes[:, None, :2] + POINTS * sides).astype(np.float32),
        ),
    )


class Camera:
    """Shows frames to visits, 10 a second, and keeps what is told."""

    def __init__(self) -> None:
        self.visits = Visits()
        self.index = 0
        self.epoch = 0
        self.told: list[TrackChange] = []

    @property
    def at(self) -> float:
        return 100 + self.index / 10

    def see(
        self, *faces: tuple[int, float, float], picture: Picture = SHARP, times: int = 1
    ) -> list[TrackChange]:
        new: list[TrackChange] = []
        for _ in range(times):
            self.index += 1
            frame = Frame("door", self.epoch, self.index, self.at, 0.0, None, picture)
            new += self.visits.see(frame, tracks_of(*faces), self.at)
        self.told += new
        return new


def kinds(told: list[TrackChange]) -> list[tuple[str, int]]:
    return [(change.kind, change.id) for change in told]


def test_a_sure_face_appears_at_once_and_a_faint_one_when_it_is_found_again() -> None:
    camera = Camera()
    assert kinds(camera.see((1, 0.9, 80), (2, 0.65, 80))) == [("appeared", 1)]
    told = camera.see((1, 0.9, 80), (2, 0.65, 80))
    assert kinds(told) == [("appeared", 2)]
    assert told[0].frame == 2 and told[0].seen_s == pytest.approx(0.1)
    assert told[0].confidence == pytest.approx(0.65)
    assert camera.see((1, 0.9, 80), (2, 0.65, 80)) == []


def test_a_face_that_was_found_once_and_faintly_is_never_told() -> None:
    camera = Camera()
    camera.see((1, 0.65, 80))
    assert camera.see(times=40) == []
    assert len(camera.visits) == 0


def test_a_face_leaves_two_seconds_after_it_was_found_last() -> None:
    camera = Camera()
    camera.see((1, 0.9, 80), times=5)
    assert camera.see(times=20) == []
    (left,) = camera.see()
    assert (left.kind, left.id, left.reason) == ("left", 1, "unseen")
    assert (left.frame, left.seen_s) == (5, pytest.approx(0.4))
    assert left.quality.size_px == pytest.approx(80)
    assert kinds(camera.see((1, 0.9, 80))) == [("appeared", 1)]


def test_a_better_picture_is_told_once_a_second_and_only_when_clearly_better() -> None:
    camera = Camera()
    camera.see((1, 0.9, 40))
    camera.see((1, 0.9, 40 * 1.1), times=20)
    assert kinds(camera.told) == [("appeared", 1)]
    camera.see((1, 0.9, 60), times=2)
    camera.see((1, 0.9, 80), times=2)
    camera.see((1, 0.9, 50), times=20)
    assert kinds(camera.told) == [("appeared", 1), ("best", 1), ("best", 1)]
    first, second = camera.told[1:]
    assert first.quality.size_px == pytest.approx(60)
    # The best of the second that passed is told when it is over, of the frame where it was.
    assert second.quality.size_px == pytest.approx(80)
    assert second.frame == second.best_frame == 24
    assert second.quality.score > first.quality.score


def test_a_blurred_picture_is_not_a_better_one() -> None:
    camera = Camera()
    camera.see((1, 0.9, 70))
    assert camera.see((1, 0.9, 112), picture=BLANK, times=30) == []
    assert camera.told[0].quality.sharpness is not None
    assert camera.told[0].quality.sharpness > 1000


def test_the_best_picture_is_told_before_its_face_leaves() -> None:
    camera = Camera()
    camera.see((1, 0.9, 40))
    camera.see((1, 0.9, 90))
    camera.visits.leave(camera.at)
    told = camera.visits.end()
    assert kinds(told) == [("best", 1), ("left", 1)]
    assert told[0].best_frame == told[1].best_frame == 2


def test_all_leave_where_the_camera_is_dialled_again_or_has_another_resolution() -> None:
    camera = Camera()
    camera.see((1, 0.9, 80), (2, 0.9, 80))
    camera.epoch = 1
    told = camera.see((3, 0.9, 80))
    assert kinds(told) == [("left", 1), ("left", 2), ("appeared", 3)]
    assert [change.reason for change in told] == ["camera", "camera", ""]
    assert (told[0].epoch, told[2].epoch) == (0, 1)
    small = ArrayPicture(np.zeros((90, 160, 3), np.uint8))
    assert kinds(camera.see((4, 0.9, 50), picture=small)) == [("left", 3), ("appeared", 4)]


def test_where_nobody_looks_faces_leave_by_the_clock() -> None:
    camera = Camera()
    camera.see((1, 0.9, 80))
    assert camera.visits.leave(camera.at + LOST_S) == []
    (left,) = camera.visits.leave(camera.at + LOST_S + LATE_S + 0.01)
    assert (left.kind, left.reason) == ("left", "camera")


def test_nobody_leaves_who_may_be_in_a_frame_that_is_still_to_be_looked_at() -> None:
    camera = Camera()
    camera.see((1, 0.9, 80))
    at = camera.at
    assert camera.visits.leave(at + 60, oldest_at=at + LOST_S) == []
    assert kinds(camera.visits.leave(at + 60, oldest_at=at + LOST_S + 0.01)) == [("left", 1)]


def test_after_the_end_nothing_is_told() -> None:
    camera = Camera()
    camera.see((1, 0.9, 80))
    assert kinds(camera.visits.end(for_ever=True)) == [("left", 1)]
    assert camera.see((1, 0.9, 80), (2, 0.9, 80), times=3) == []
    assert camera.visits.end() == []


def test_what_is_known_is_bounded() -> None:
    camera = Camera()
    for n in range(20):
        camera.see(*[(100 * n + k, 0.65, 30) for k in range(100)])
        assert len(camera.visits) <= MOST


@given(
    st.lists(
        st.tuples(
            st.sets(st.integers(1, 4), max_size=4), st.sampled_from([0.62, 0.9]),
            st.floats(20, 150), st.integers(0, 30),
        ),
        max_size=25,
    )
)  # fmt: skip
def test_each_face_appears_then_leaves_and_is_told_of_at_bounded_rates(
    looks: list[tuple[set[int], float, float, int]],
) -> None:
    camera = Camera()
    for ids, score, size, passes in looks:
        camera.see(*[(n, score, size + n) for n in sorted(ids)])
        camera.told += camera.visits.leave(camera.at)
        camera.index += passes  # tenths of a second without a look
    camera.told += camera.visits.end(for_ever=True)
    for number in range(1, 5):
        mine = [change for change in camera.told if change.id == number]
        there, best_at, best = False, -1e9, 0.0
        for change in mine:
            if change.kind == "appeared":
                assert not there
                there, best_at, best = True, change.at, change.quality.score
                assert change.best_frame <= change.frame
            elif change.kind == "best":
                assert there and change.frame == change.best_frame
                assert change.quality.score >= BETTER * best
                best = change.quality.score
            else:
                assert there and change.reason and change.quality.score >= best
                there = False
        assert not there
        del best_at
        told_s = (camera.at - 100) / BEST_EVERY_S
        leaves = sum(change.kind == "left" for change in mine)
        assert sum(change.kind == "best" for change in mine) <= told_s + leaves + 1
