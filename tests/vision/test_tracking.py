import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.types import Faces
from streamer.vision.tracking import IouTracker


def faces(*boxes) -> Faces:
    n = len(boxes)
    return Faces(
        np.array(boxes, np.float32).reshape(n, 4),
        np.linspace(0.99, 0.7, n, dtype=np.float32),
        np.zeros((n, 5, 2), np.float32),
    )


def square(x: float, y: float, side: float = 100.0) -> tuple[float, float, float, float]:
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def test_ids_start_at_1_and_keep_the_order_of_the_faces() -> None:
    seen = faces(square(500, 100), square(100, 100), square(300, 100))
    tracks = IouTracker().update(seen, 0.0)
    assert tracks.ids.dtype == np.int64
    assert tracks.ids.tolist() == [1, 2, 3]
    assert tracks.faces is seen


def test_ids_follow_the_faces_when_their_order_changes() -> None:
    tracker = IouTracker()
    tracker.update(faces(square(100, 100), square(500, 100)), 0.0)
    again = tracker.update(faces(square(505, 100), square(800, 100), square(103, 100)), 0.04)
    assert again.ids.tolist() == [2, 3, 1]


def test_an_empty_picture_is_no_tracks_and_forgets_nobody_yet() -> None:
    tracker = IouTracker(max_lost_s=1.0)
    tracker.update(faces(square(100, 100)), 0.0)
    assert len(tracker.update(Faces.none(), 0.5)) == 0
    assert tracker.update(faces(square(100, 100)), 1.0).ids.tolist() == [1]


def test_a_face_lost_for_too_long_comes_back_as_another() -> None:
    tracker = IouTracker(max_lost_s=1.0)
    tracker.update(faces(square(100, 100)), 0.0)
    assert tracker.update(faces(square(100, 100)), 1.01).ids.tolist() == [2]


def test_a_walker_hidden_for_a_while_is_found_where_she_must_be() -> None:
    tracker = IouTracker()
    for n in range(10):
        tracker.update(faces(square(100 + 20 * n, 100)), n * 0.1)
    for n in range(10, 15):
        tracker.update(Faces.none(), n * 0.1)
    # 120 pixels from where she was last seen, wider than herself.
    assert tracker.update(faces(square(100 + 20 * 15, 100)), 1.5).ids.tolist() == [1]


def test_the_better_overlap_wins_a_contested_track() -> None:
    tracker = IouTracker()
    tracker.update(faces(square(100, 100)), 0.0)
    assert tracker.update(faces(square(130, 100), square(102, 100)), 0.1).ids.tolist() == [2, 1]


def test_faces_that_only_touch_are_not_joined_even_at_no_minimum() -> None:
    tracker = IouTracker(min_iou=0.0)
    tracker.update(faces(square(100, 100)), 0.0)
    assert tracker.update(faces(square(900, 100)), 0.1).ids.tolist() == [2]


def test_time_that_stands_still_teaches_no_speed() -> None:
    tracker = IouTracker()
    tracker.update(faces(square(100, 100)), 1.0)
    assert tracker.update(faces(square(110, 100)), 1.0).ids.tolist() == [1]
    assert tracker.update(faces(square(110, 100)), 0.9).ids.tolist() == [1]
    assert tracker.update(faces(square(110, 100)), 1.9).ids.tolist() == [1]


@pytest.mark.parametrize("speed", [120, 300, 600, 900])
@pytest.mark.parametrize("gap", [0, 10, 30])
def test_two_faces_that_cross_keep_their_ids(speed, gap) -> None:
    """Both run at ``speed`` pixels a second towards each other and pass ``gap`` pixels apart."""
    rng = np.random.default_rng(speed + gap)
    tracker = IouTracker()
    ends = []
    for n in range(60):
        t = n / 25
        way = speed * (t - 1.2)
        both = [square(640 + way, 300), square(640 - way, 300 + gap)]
        seen = faces(*(np.array(b) + rng.normal(0, 1, 4) for b in both))
        ends.append(tracker.update(seen, t).ids.tolist())
    assert ends[-1] == ends[0]


motions = st.lists(
    st.tuples(
        st.floats(0, 2000),
        st.floats(0, 1000),
        st.floats(20, 300),
        st.floats(-1, 1),
        st.floats(-1, 1),
    ),
    min_size=1,
    max_size=6,
)


@given(motions, st.integers(2, 20))
def test_small_motion_never_changes_an_id(people, frames) -> None:
    """A face alone in its place that moves by up to a tenth of its size a frame stays itself."""
    tracker = IouTracker()
    for n in range(frames):
        # Each in a street of its own, too far apart to meet.
        boxes = [
            square(x + dx * side * 0.1 * n, 10_000 * k + y + dy * side * 0.1 * n, side)
            for k, (x, y, side, dx, dy) in enumerate(people)
        ]
        assert tracker.update(faces(*boxes), n * 0.04).ids.tolist() == [
            k + 1 for k in range(len(people))
        ]


@given(
    st.lists(
        st.tuples(
            st.lists(
                st.tuples(st.floats(0, 900), st.floats(0, 500), st.floats(1, 300)), max_size=8
            ),
            st.floats(0, 2),
        ),
        max_size=15,
    )
)
def test_ids_are_unique_in_a_frame_and_never_come_back_from_the_dead(scenes) -> None:
    tracker = IouTracker(max_lost_s=1.0)
    at, seen_at, highest = 0.0, {}, 0
    for people, later_s in scenes:
        at += later_s
        ids = tracker.update(faces(*(square(*p) for p in people)), at).ids.tolist()
        assert len(set(ids)) == len(ids) == len(people)
        for identity in ids:
            if identity in seen_at:
                assert at - seen_at[identity] <= 1.0
            else:
                assert identity == highest + 1
                highest = identity
            seen_at[identity] = at


def test_memory_does_not_grow_with_the_crowd_that_has_passed() -> None:
    tracker = IouTracker(max_lost_s=1.0)
    for n in range(300):
        tracker.update(
            faces(*(square(200 * k + 37 * n % 150, 9000 * n) for k in range(5))), n * 0.5
        )
    assert len(tracker._known.ids) <= 15


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="max_lost_s"):
        IouTracker(max_lost_s=-1)
    with pytest.raises(ValueError, match="min_iou"):
        IouTracker(min_iou=1.5)
