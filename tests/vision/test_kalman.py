import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.types import Faces
from streamer.vision.kalman import Motion, measured, pictured

POINTS = np.array([[-0.2, -0.1], [0.2, -0.1], [0, 0.1], [-0.2, 0.3], [0.2, 0.3]])


def faces(x: float, y: float, side: float = 100.0) -> Faces:
    box = np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]], np.float32)
    points = (np.array([x, y]) + POINTS * side).astype(np.float32)
    return Faces(box, np.array([0.9], np.float32), points[None])


def follow(places, step_s: float = 0.1, unrest: float = 1.0) -> Motion:
    motion = Motion.of(measured(faces(*places[0])))
    for place in places[1:]:
        motion.advance(step_s)
        motion.correct(np.array([0]), measured(faces(*place)), unrest)
    return motion


def all_of(motion: Motion):
    return np.ones(len(motion), np.bool_)


@given(st.floats(-50, 2000), st.floats(-50, 2000), st.floats(2, 500))
def test_what_is_measured_can_be_pictured_again(x, y, side) -> None:
    seen = faces(x, y, side)
    boxes, landmarks = pictured(measured(seen))
    assert boxes.dtype == landmarks.dtype == np.float32
    np.testing.assert_allclose(boxes, seen.boxes, atol=1e-3)
    np.testing.assert_allclose(landmarks, seen.landmarks, atol=1e-3)


def test_a_steady_walker_is_where_she_must_be() -> None:
    motion = follow([(100 + 30 * n, 200) for n in range(12)])
    boxes, landmarks = pictured(motion.after(0.2, all_of(motion)))
    expected = faces(100 + 30 * 13, 200)
    np.testing.assert_allclose(boxes, expected.boxes, atol=6)
    np.testing.assert_allclose(landmarks, expected.landmarks, atol=6)


def test_who_comes_nearer_grows() -> None:
    motion = follow([(500, 300, 100 + 6 * n) for n in range(15)])
    width = motion.after(0.2, all_of(motion))[0, 2]
    assert 184 < width < 200  # 196 if she went on so; 184 when last seen


def test_velocities_die_away() -> None:
    motion = follow([(100 + 30 * n, 200) for n in range(12)])
    (near,), (far,) = (motion.after(s, all_of(motion))[:, 0] for s in (5.0, 500.0))
    assert far - near < 60
    assert far - motion.place[0, 0] < 300 * 2.1


def test_one_step_or_many_come_to_the_same() -> None:
    once, often = (follow([(100 + 30 * n, 200) for n in range(5)]) for _ in range(2))
    once.advance(0.3)
    for _ in range(30):
        often.advance(0.01)
    np.testing.assert_allclose(once.place, often.place, rtol=1e-9)
    np.testing.assert_allclose(once.speed, often.speed, rtol=1e-9)
    # What is not known grows by nearly as much: its cubes are not exact under decay.
    np.testing.assert_allclose(once.spread, often.spread, rtol=0.15)


@pytest.mark.parametrize("passed_s", [0.0, -1.0])
def test_time_that_does_not_pass_changes_nothing(passed_s) -> None:
    motion = follow([(100 + 30 * n, 200) for n in range(5)])
    place, spread = motion.place.copy(), motion.spread.copy()
    motion.advance(passed_s)
    assert (motion.place == place).all()
    assert (motion.spread == spread).all()


def test_the_unrest_of_a_camera_makes_it_trust_less() -> None:
    calm = follow([(100, 200), (110, 200)])
    shaking = follow([(100, 200), (110, 200)], unrest=50.0)
    assert 100 < shaking.place[0, 0] < calm.place[0, 0] <= 110


def test_it_says_how_far_off_it_was() -> None:
    motion = follow([(100, 200)] * 20)
    close, far = (
        follow([(100, 200)] * 20).correct(np.array([0]), measured(faces(x, 200)), 1.0)[0]
        for x in (101, 130)
    )
    assert close < 1 < far
    assert len(motion) == 1


def test_faces_do_not_touch_each_other() -> None:
    alone = follow([(100 + 30 * n, 200) for n in range(5)])
    both = Motion.of(measured(faces(100, 200))).and_also(Motion.of(measured(faces(900, 90, 30))))
    for n in range(1, 5):
        both.advance(0.1)
        both.correct(np.array([0]), measured(faces(100 + 30 * n, 200)), 1.0)
    np.testing.assert_array_equal(both.where(np.array([True, False])).place, alone.place)
    assert both.place[1, 0] == 900


@given(
    st.lists(
        st.tuples(st.floats(0, 2000), st.floats(0, 2000), st.floats(1, 500), st.floats(0, 5)),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_is_seen_variances_stay_positive_and_sides_too(steps) -> None:
    motion = Motion.of(measured(faces(*steps[0][:3])))
    for *place, later_s in steps:
        motion.advance(later_s)
        motion.correct(np.array([0]), measured(faces(*place)), 1.0)
        place_variance, both, speed_variance = motion.spread
        assert (place_variance > 0).all()
        assert (speed_variance > 0).all()
        assert (place_variance * speed_variance >= both**2 * (1 - 1e-6)).all()
        assert np.isfinite(motion.place).all()
        assert (motion.after(1.0, all_of(motion))[:, 2:4] >= 1).all()
