import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.tracking_scenes import SETTINGS, scene
from streamer.types import Faces, Tracks
from streamer.vision import tracking
from streamer.vision.tracking import FaceTracker, joined
from tests.evaluate import load_truth, score_frames

CROSSING = scene(replace(SETTINGS[2], seconds=4.0), 7)

POINTS = np.array([[-0.2, -0.1], [0.2, -0.1], [0, 0.1], [-0.2, 0.3], [0.2, 0.3]])


def faces(*boxes, scores=None) -> Faces:
    n = len(boxes)
    rows = np.array(boxes, np.float32).reshape(n, 4)
    middle, sides = (rows[:, :2] + rows[:, 2:]) / 2, rows[:, 2:] - rows[:, :2]
    landmarks = (middle[:, None] + POINTS * sides[:, None]).astype(np.float32)
    if scores is None:
        scores = np.linspace(0.99, 0.7, n)
    return Faces(rows, np.array(scores, np.float32), landmarks)


def square(x: float, y: float, side: float = 100.0) -> tuple[float, float, float, float]:
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def middle(tracks: Tracks) -> list[float]:
    (box,) = tracks.faces.boxes
    return [float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2]


def walk(tracker: FaceTracker, steps: int = 10, step_s: float = 0.2, scores=(0.9,)) -> float:
    """Somebody walks right from x = 100 by 300 pixels a second; the instant of the last step."""
    for n in range(steps):
        seen = faces(square(100 + 300 * step_s * n, 200), scores=scores)
        tracker.update(seen, 5.0 + n * step_s)
    return 5.0 + (steps - 1) * step_s


def test_ids_start_at_1_and_keep_the_order_of_the_faces() -> None:
    seen = faces(square(500, 100), square(100, 100), square(300, 100))
    tracks = FaceTracker().update(seen, 0.0)
    assert tracks.ids.dtype == np.int64
    assert tracks.ids.tolist() == [1, 2, 3]
    assert tracks.faces is seen


def test_ids_follow_the_faces_when_their_order_changes() -> None:
    tracker = FaceTracker()
    tracker.update(faces(square(100, 100), square(500, 100)), 0.0)
    again = tracker.update(faces(square(505, 100), square(800, 100), square(103, 100)), 0.04)
    assert again.ids.tolist() == [2, 3, 1]


def test_an_empty_picture_is_no_tracks_and_forgets_nobody_yet() -> None:
    tracker = FaceTracker(max_lost_s=1.0)
    tracker.update(faces(square(100, 100)), 0.0)
    assert len(tracker.update(Faces.none(), 0.5)) == 0
    assert tracker.update(faces(square(100, 100)), 1.0).ids.tolist() == [1]


def test_a_face_lost_for_too_long_comes_back_as_another() -> None:
    tracker = FaceTracker(max_lost_s=1.0)
    tracker.update(faces(square(100, 100)), 0.0)
    assert tracker.update(faces(square(100, 100)), 1.01).ids.tolist() == [2]


def test_a_walker_hidden_for_a_while_is_found_where_she_must_be() -> None:
    tracker = FaceTracker()
    for n in range(10):
        tracker.update(faces(square(100 + 20 * n, 100)), n * 0.1)
    for n in range(10, 15):
        tracker.update(Faces.none(), n * 0.1)
    # 120 pixels from where she was last seen, wider than herself.
    assert tracker.update(faces(square(100 + 20 * 15, 100)), 1.5).ids.tolist() == [1]


def test_the_better_overlap_wins_a_contested_track() -> None:
    tracker = FaceTracker()
    tracker.update(faces(square(100, 100)), 0.0)
    assert tracker.update(faces(square(130, 100), square(102, 100)), 0.1).ids.tolist() == [2, 1]


def test_faces_far_apart_are_not_joined() -> None:
    tracker = FaceTracker()
    tracker.update(faces(square(100, 100)), 0.0)
    assert tracker.update(faces(square(900, 100)), 0.1).ids.tolist() == [2]


def test_a_walker_seen_every_200_ms_keeps_her_id_though_her_boxes_do_not_overlap() -> None:
    tracker = FaceTracker()
    for n in range(8):
        # 130 pixels in 0.2 s: the second box is outside the first.
        assert tracker.update(faces(square(100 + 130 * n, 300)), n * 0.2).ids.tolist() == [1]


def test_time_that_stands_still_teaches_no_speed() -> None:
    tracker = FaceTracker()
    tracker.update(faces(square(100, 100)), 1.0)
    assert tracker.update(faces(square(110, 100)), 1.0).ids.tolist() == [1]
    assert tracker.update(faces(square(110, 100)), 0.9).ids.tolist() == [1]
    assert tracker.update(faces(square(110, 100)), 1.9).ids.tolist() == [1]


@pytest.mark.parametrize("speed", [120, 300, 600, 900])
@pytest.mark.parametrize("gap", [0, 10, 30])
def test_two_faces_that_cross_keep_their_ids(speed, gap) -> None:
    """Both run at ``speed`` pixels a second towards each other and pass ``gap`` pixels apart."""
    rng = np.random.default_rng(speed + gap)
    tracker = FaceTracker()
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
    tracker = FaceTracker()
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
    tracker = FaceTracker(max_lost_s=1.0)
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
    tracker = FaceTracker(max_lost_s=1.0)
    for n in range(300):
        tracker.update(
            faces(*(square(200 * k + 37 * n % 150, 9000 * n) for k in range(5))), n * 0.5
        )
    assert len(tracker.alive()) <= 15


def test_memory_is_bounded_whatever_is_found(monkeypatch) -> None:
    monkeypatch.setattr(tracking, "MOST_TRACKS", 30)
    tracker = FaceTracker(max_lost_s=1e9)
    for n in range(30):
        crowd = [square(200 * k, 9000 * n) for k in range(10)]
        assert len(tracker.update(faces(*crowd), n * 0.5)) == 10
        assert len(tracker.alive()) <= 40


def test_ids_go_on_after_a_reset() -> None:
    tracker = FaceTracker()
    tracker.update(faces(square(100, 100), square(400, 100)), 50.0)
    tracker.reset()
    assert len(tracker.predict(50.0)) == 0
    assert tracker.update(faces(square(100, 100)), 1.0).ids.tolist() == [3]
    assert middle(tracker.predict(1.0)) == [100, 100]


def test_weak_faces_continue_tracks_and_start_none() -> None:
    tracker = FaceTracker(confident=0.6)
    for n in range(3):
        tracker.update(faces(square(100 + 5 * n, 100)), n * 0.1)
    seen = faces(square(300, 300), square(115, 100), scores=[0.5, 0.3])
    tracks = tracker.update(seen, 0.3)
    assert tracks.ids.tolist() == [1]
    assert tracks.faces.boxes.tolist() == [list(square(115, 100))]
    assert tracks.faces.scores.tolist() == pytest.approx([0.3])


def test_a_weak_face_does_not_take_a_track_from_a_confident_one() -> None:
    tracker = FaceTracker(confident=0.6)
    for n in range(3):
        tracker.update(faces(square(100, 100)), n * 0.1)
    tracks = tracker.update(faces(square(110, 100), square(100, 100), scores=[0.7, 0.5]), 0.3)
    assert tracks.ids.tolist() == [1]
    assert tracks.faces.scores.tolist() == pytest.approx([0.7])


def test_a_weak_face_does_not_confirm_what_was_seen_once() -> None:
    tracker = FaceTracker(confident=0.6)
    tracker.update(faces(square(100, 100)), 0.0)
    assert len(tracker.update(faces(square(100, 100), scores=[0.5]), 0.1)) == 0


def test_between_detections_a_walker_is_where_she_must_be() -> None:
    tracker = FaceTracker()
    last_at = walk(tracker)
    for later_s in (0.04, 0.08, 0.12, 0.16):
        found = tracker.predict(last_at + later_s)
        assert found.ids.tolist() == [1]
        assert middle(found) == pytest.approx([100 + 300 * (1.8 + later_s), 200], abs=8)
        assert found.ages_s.tolist() == pytest.approx([later_s])
        assert found.faces.landmarks[0, 2].tolist() == pytest.approx(
            [100 + 300 * (1.8 + later_s), 210], abs=8
        )


def test_predicting_changes_nothing() -> None:
    one, other = FaceTracker(), FaceTracker()
    for n in range(6):
        seen = faces(square(100 + 40 * n, 100))
        one.update(seen, n * 0.2)
        other.update(seen, n * 0.2)
        for k in range(5):
            other.predict(n * 0.2 + k * 0.04)
    np.testing.assert_array_equal(one.predict(1.1).faces.boxes, other.predict(1.1).faces.boxes)


def test_predictions_end_after_max_predict() -> None:
    tracker = FaceTracker(max_predict_s=0.5)
    last_at = walk(tracker)
    assert len(tracker.predict(last_at + 0.5 - 1e-6)) == 1
    assert len(tracker.predict(last_at + 0.5 + 1e-6)) == 0


def test_scores_of_predictions_fall_with_age_and_come_best_first() -> None:
    tracker = FaceTracker(max_predict_s=0.5)
    both = [square(100, 100), square(500, 100)]
    for n in range(4):
        tracker.update(faces(*both, scores=[0.9, 0.8]), n * 0.1)
    tracker.update(faces(both[1], scores=[0.8]), 0.4)
    found = tracker.predict(0.55)
    assert found.ids.tolist() == [2, 1]
    assert found.faces.scores.tolist() == pytest.approx([0.8 * 0.85, 0.9 * 0.75])
    assert found.ages_s.tolist() == pytest.approx([0.15, 0.25])


def test_a_doubtful_face_seen_once_is_not_predicted_and_a_sure_one_is() -> None:
    tracker = FaceTracker()
    tracker.update(faces(square(100, 100), square(500, 100), scores=[0.95, 0.65]), 0.0)
    assert tracker.predict(0.1).ids.tolist() == [1]
    tracker.update(faces(square(100, 100), square(500, 100), scores=[0.95, 0.65]), 0.2)
    assert sorted(tracker.predict(0.3).ids.tolist()) == [1, 2]


def test_one_look_may_miss_a_face_known_well_and_two_may_not() -> None:
    tracker = FaceTracker()
    for n in range(2):
        tracker.update(faces(square(100, 100), square(500, 100)), n * 0.1)
    tracker.update(faces(square(100, 100)), 0.2)
    assert tracker.predict(0.2).ids.tolist() == [1]  # the other was seen twice only
    tracker.update(Faces.none(), 0.3)
    assert tracker.predict(0.3).ids.tolist() == [1]
    tracker.update(Faces.none(), 0.4)
    assert len(tracker.predict(0.4)) == 0


def test_who_leaves_the_picture_is_not_predicted_outside_it() -> None:
    tracker = FaceTracker()
    last_at = walk(tracker)  # at x = 640
    inside = tracker.predict(last_at + 0.1, within=(680, 400))
    assert inside.faces.boxes[0, 2] == 680
    assert len(tracker.predict(last_at + 0.3, within=(680, 400))) == 0
    assert len(tracker.predict(last_at + 0.3)) == 1


def test_what_the_detector_missed_just_now_is_filled_in() -> None:
    tracker = FaceTracker()
    for n in range(4):
        tracker.update(faces(square(100, 100), square(500, 100)), n * 0.1)
    seen = tracker.update(faces(square(500, 100), scores=[0.7]), 0.4)
    filled = joined(seen, tracker.predict(0.4, missed=True))
    assert tracker.predict(0.4, missed=True).ids.tolist() == [1]
    assert filled.ids.tolist() == [1, 2]
    assert filled.ages_s.tolist() == pytest.approx([0.1, 0])
    assert filled.faces.boxes[1].tolist() == list(square(500, 100))
    assert joined(seen, seen) is seen


def test_a_reset_ends_all_tracks() -> None:
    tracker = FaceTracker()
    tracker.update(faces(square(100, 100), square(400, 100)), 0.0)
    tracker.reset()
    assert tracker.alive() == []


def test_others_may_look_while_it_is_updated() -> None:
    tracker, wrong, over = FaceTracker(), [], threading.Event()

    def look() -> None:
        while not over.is_set():
            found = tracker.predict(0.0)
            if len(found) not in (0, 3) or len(tracker.alive()) not in (0, 3):
                wrong.append(found)

    thread = threading.Thread(target=look)
    thread.start()
    for n in range(150):
        tracker.update(faces(*(square(200 * k, 100) for k in range(3)), scores=[0.9] * 3), n / 1e4)
    over.set()
    thread.join()
    assert wrong == []


def ids_of(tracker: FaceTracker) -> set[int]:
    """Of all tracks that have not ended."""
    return set(tracker.alive())


def known(tracks: Tracks, before: set[int]) -> dict[int, list[float]]:
    """Box by id, of ids that are among ``before``."""
    both = zip(tracks.ids.tolist(), tracks.faces.boxes.tolist(), strict=True)
    return {identity: box for identity, box in both if identity in before}


crowds = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.floats(0, 900), st.floats(0, 500), st.floats(1, 300), st.floats(0.05, 1)),
            max_size=7,
        ),
        st.floats(-0.1, 0.8),
    ),
    max_size=12,
)


@given(crowds)
def test_whatever_comes_a_face_has_one_id_and_an_id_one_face(scenes) -> None:
    tracker = FaceTracker(confident=0.5, max_predict_s=0.5)
    at, highest, latest, given_ids, last_seen = 0.0, 0, -1.0, set(), {}
    for people, later_s in scenes:
        at += later_s
        latest = max(latest, at)
        people = sorted(people, key=lambda person: -person[3])
        seen = faces(*(square(*p[:3]) for p in people), scores=[p[3] for p in people])
        tracks = tracker.update(seen, at)
        ids = tracks.ids.tolist()
        assert tracks.ids.dtype == np.int64
        assert len(set(ids)) == len(ids) <= len(people)
        assert (np.diff(tracks.faces.scores) <= 0).all()
        assert sum(p >= 0.5 for p in seen.scores) <= len(ids)
        for identity in sorted(set(ids) - given_ids):
            assert identity == highest + 1
            highest = identity
        given_ids |= set(ids)
        last_seen |= dict.fromkeys(ids, latest)
        filled = joined(tracks, tracker.predict(at, within=(900, 500)))
        missed = joined(tracks, tracker.predict(at, within=(900, 500), missed=True))
        assert filled.ids.tolist() == missed.ids.tolist()
        assert filled.faces.boxes.tolist() == missed.faces.boxes.tolist()
        for later in (0.0, 0.2, 0.6):
            found = tracker.predict(at + later)
            assert set(found.ids.tolist()) <= given_ids
            assert len(set(found.ids.tolist())) == len(found)
            assert (np.diff(found.faces.scores) <= 0).all()
            for identity, age in zip(found.ids.tolist(), found.ages_s.tolist(), strict=True):
                assert age == pytest.approx(max(at + later - last_seen[identity], 0), abs=1e-5)
                assert age <= 0.5


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_the_order_of_the_faces_makes_no_difference(seed, shuffler) -> None:
    frames = CROSSING[seed % (len(CROSSING) - 9) :][:9:3]
    one, other = FaceTracker(confident=0.6), FaceTracker(confident=0.6)
    one.update(frames[0].faces, frames[0].at)
    other.update(frames[0].faces, frames[0].at)
    for frame in frames[1:]:
        order = list(range(len(frame.faces)))
        shuffler.shuffle(order)
        given_faces = frame.faces
        mixed = Faces(
            given_faces.boxes[order], given_faces.scores[order], given_faces.landmarks[order]
        )
        known_before = ids_of(one)
        straight, turned = one.update(given_faces, frame.at), other.update(mixed, frame.at)

        assert known(straight, known_before) == known(turned, known_before)
        if not ids_of(one) <= known_before:
            break  # new ones are numbered as they come


def test_every_fifth_frame_finds_nearly_all_that_every_frame_finds() -> None:
    """With a perfect detector on the demo clip; `python -m benchmarks.tracking` takes the real."""
    truth = load_truth()
    recalls = {}
    for every in (1, 5):
        tracker, found = FaceTracker(), []
        for index, people in enumerate(truth.frames):
            if index % every == 0:
                seen = faces(*(person.bbox for person in people))
                tracks: Tracks = tracker.update(seen, index / truth.fps)
            else:
                tracks = tracker.predict(index / truth.fps, within=(truth.width, truth.height))
            found.append(list(zip(tracks.faces.boxes, tracks.faces.scores, strict=True)))
        expected = [[person.bbox for person in people] for people in truth.frames]
        recalls[every] = score_frames(found, expected).recall
    assert recalls[1] == 1
    assert recalls[5] >= 0.97


def test_ages_are_zero_when_left_out_and_checked_when_not() -> None:
    seen = faces(square(100, 100), square(300, 100))
    ids = np.array([1, 2], np.int64)
    assert Tracks(ids, seen).ages_s.tolist() == [0, 0]
    assert Tracks(ids, seen).ages_s.dtype == np.float32
    with pytest.raises(ValueError, match="ages_s"):
        Tracks(ids, seen, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="ids"):
        Tracks(ids[:1], seen)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("max_lost_s", -1), ("max_predict_s", float("nan")), ("confident", 1.5), ("confident", -0.1)],
)
def test_settings_out_of_range_are_refused(setting, value) -> None:
    with pytest.raises(ValueError, match=setting):
        FaceTracker(**{setting: value})
