"""Overload: steps in the stated order, no flapping, and always back by itself."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.flow.ledger import Ledger
from streamer.inference.overload import (
    SCALES,
    CameraReading,
    Overload,
    Reading,
    Step,
    shares,
)


class Plant:
    """Cameras that share the capacity there is; ``fixed`` is the share of a run that does not
    shrink with the picture."""

    def __init__(self, cameras, *, fixed=0.2, **options):
        self.cameras = dict(cameras)  # name: (offered, priority)
        self.overload = Overload(**options)
        self.fixed = fixed
        self.at = 1000.0
        self.changes = []

    def run(self, seconds, capacity, *, busy=None):
        """``capacity``: detections a second at full input size."""
        for _ in range(int(seconds)):
            step = self.overload.step
            now = capacity / (self.fixed + (1 - self.fixed) * step.scale**2)
            active = {n: c for n, c in self.cameras.items() if n not in step.paused}
            got = shares(now, active)
            reading = Reading(
                self.at,
                {
                    name: CameraReading(offered, got.get(name, 0.0), 0.1, 1.0, priority)
                    for name, (offered, priority) in self.cameras.items()
                },
                min(1.0, sum(got.values()) / now) if busy is None else busy,
                now,
            )
            after = self.overload.update(reading)
            if after != step:
                self.changes.append((self.at, after))
                self.check(step, after)
            self.at += 1.0
        return self.overload.step

    def check(self, before, after):
        if len(self.changes) > 1:
            assert self.changes[-1][0] - self.changes[-2][0] >= 10.0
        active = self.cameras.keys() - after.paused
        assert active, "all cameras are paused"
        assert after.scale == SCALES[-1] or not after.paused, "cameras go last and come back first"
        for name in after.paused:
            assert all(self.cameras[name][1] <= self.cameras[a][1] for a in active)
        assert after.reason


def equal(count, offered=15.0, priority=1.0):
    return {f"c{n}": (offered, priority) for n in range(count)}


def test_a_low_rate_above_the_floor_is_no_reason_for_a_step():
    plant = Plant(equal(10))
    assert plant.run(600, 21.0) == Step()  # 2.1 of 15 a second each: step one of the order
    assert not plant.changes


def test_steps_come_in_the_stated_order_and_go_back_in_reverse():
    cameras = {**equal(6), "hall": (15.0, 0.5), "gate": (15.0, 3.0)}
    plant = Plant(cameras)
    low = plant.run(120, 3.0)
    assert [step.scale for _, step in plant.changes[:2]] == [0.75, 0.5]
    assert "hall" in plant.changes[2][1].paused
    assert "gate" not in low.paused
    before = list(plant.changes)
    assert plant.run(120, 200.0) == Step()
    back = [step for _, step in plant.changes[len(before) :]]
    assert [step.level for step in back] == list(range(low.level - 1, -1, -1))
    assert back[-3].scale == 0.5
    assert not back[-3].paused
    assert back[0].reason == "there is room again"


def test_as_many_cameras_are_paused_as_it_takes_and_no_more():
    plant = Plant(equal(10), fixed=0.0)
    plant.run(60, 3.0)  # 12 a second at half size: 5 cameras at a floor of 2, with some room
    assert plant.overload.step.paused == {"c5", "c6", "c7", "c8", "c9"}


@pytest.mark.parametrize("seconds", [1, 4])
def test_a_short_overload_is_borne(seconds):
    plant = Plant(equal(4))
    plant.run(60, 100.0)
    plant.run(seconds, 1.0)
    assert plant.run(60, 100.0) == Step()
    assert not plant.changes


def test_bad_luck_that_goes_round_is_no_reason_for_a_step_and_that_of_one_is():
    served, starved = CameraReading(15.0, 2.4, 0.1, 1.0), CameraReading(15.0, 1.5, 0.1, 1.0)
    overload = Overload()
    for at in range(600):  # at any time one of four suffers, each for three seconds
        cameras = {f"c{n}": starved if at // 3 % 4 == n else served for n in range(4)}
        assert overload.update(Reading(float(at), cameras, 1.0, 10.0)) == Step()
    for at in range(600, 606):
        cameras = {f"c{n}": starved if n == 2 else served for n in range(4)}
        overload.update(Reading(float(at), cameras, 1.0, 10.0))
    assert overload.step.scale == 0.75
    assert overload.step.reason == "c2 gets 1.5 of 15.0 detections a second"


def test_where_one_run_takes_longer_than_a_result_may_be_old_less_is_looked_at():
    """Nearly everything is refused, and by that no worker is busy."""
    refused = CameraReading(15.0, 0.4, 3.0, 1.0, late=8.0)
    overload = Overload()
    for at in range(20):
        overload.update(Reading(float(at), {"a": refused, "b": refused}, 0.3, 1.0))
    assert overload.step.scale < 1.0


def test_a_camera_that_no_step_helps_costs_the_others_one_step_and_no_more():
    """It promises 50 ms, which no run of its input can keep; five others are well."""
    overload, at, steps = Overload(), 0.0, []
    for _ in range(900):
        at += 1.0
        cameras = {f"c{n}": CameraReading(15.0, 14.9, 0.1, 1.0) for n in range(5)}
        cameras["hasty"] = CameraReading(15.0, 0.2, 9.0, 0.05, late=14.0)
        before = overload.step
        if overload.update(Reading(at, cameras, 1.0, 76.0)) != before:
            steps.append((at, overload.step))
    assert not any(step.paused for _, step in steps)
    assert min(step.scale for _, step in steps) == 0.75
    assert len(steps) <= 6  # down and up again, and the same after ten minutes


def test_a_healthy_camera_that_promises_little_age_does_not_suffer():
    """Between two looks the newest result ages, however young it came."""
    camera = CameraReading(15.0, 2.5, 0.45, 0.3)
    assert not camera.suffers(2.0, busy=True)
    assert CameraReading(15.0, 2.5, 1.2, 0.3).suffers(2.0, busy=True)


def test_a_camera_of_little_priority_has_its_share_of_the_floor():
    assert not CameraReading(15.0, 0.6, 0.1, 1.0, priority=0.25).suffers(2.0, busy=True)
    assert CameraReading(15.0, 0.4, 0.1, 1.0, priority=0.25).suffers(2.0, busy=True)
    assert CameraReading(15.0, 1.7, 0.1, 1.0, priority=4.0).suffers(2.0, busy=True)


def test_a_step_up_that_is_predicted_wrongly_is_taken_ever_more_seldom():
    """Recordings take what the cameras were to get: each time there seems to be room."""
    overload, at, ups = Overload(), 0.0, []
    for _ in range(1800):
        at += 1.0
        served = 1.5 if overload.step.scale == 1.0 else 2.6
        cameras = {f"c{n}": CameraReading(15.0, served, 0.1, 1.0) for n in range(4)}
        capacity = 20.0 / overload.step.scale**2
        before = overload.step
        after = overload.update(Reading(at, cameras, 1.0, capacity))
        if after.scale > before.scale:
            ups.append(at)
    assert len(ups) <= 18  # every two minutes at last, and not every twenty seconds
    assert ups[-1] - ups[-2] > 100


def test_the_end_of_a_paused_camera_is_told_as_that():
    plant = Plant(equal(3))
    plant.run(60, 1.0)
    del plant.cameras["c2"]
    plant.run(1, 1.0)
    assert plant.overload.step.reason == "c2 is not there any more"


def test_what_the_workers_are_not_to_blame_for_is_no_overload():
    plant = Plant(equal(4))
    assert plant.run(600, 1.0, busy=0.4) == Step()


def test_age_beyond_the_promise_is_overload_only_while_frames_are_lost():
    late = CameraReading(offered=0.5, served=0.5, age_s=1.9, max_age_s=1.0)
    assert not late.suffers(2.0, busy=True)  # it has no newer frame
    assert CameraReading(offered=15.0, served=5.0, age_s=1.9, max_age_s=1.0).suffers(2.0, busy=True)
    assert not CameraReading(offered=15.0, served=5.0, age_s=0.9, max_age_s=1.0).suffers(
        2.0, busy=True
    )


def test_where_all_cameras_cover_faces_they_are_paused_and_the_input_stays():
    overload, at = Overload(), 1000.0
    starved = CameraReading(15.0, 0.5, 0.1, 1.0, scales=False)
    for at in range(1000, 1030):
        overload.update(Reading(float(at), {"a": starved, "b": starved}, 1.0, 1.0))
    assert (overload.step.scale, overload.step.paused) == (1.0, {"b"})
    mixed = {"a": starved, "b": CameraReading(15.0, 0.5, 0.1, 1.0)}
    overload = Overload()
    for at in range(1000, 1008):
        overload.update(Reading(float(at), mixed, 1.0, 1.0))
    assert (overload.step.scale, overload.step.paused) == (0.75, frozenset())


def test_a_camera_that_is_gone_is_not_paused_any_more():
    plant = Plant(equal(3))
    plant.run(60, 1.0)
    assert plant.overload.step.paused == {"c1", "c2"}
    del plant.cameras["c2"]
    assert plant.run(1, 1.0).paused == {"c1"}
    del plant.cameras["c0"]
    assert not plant.run(60, 1.0).paused


def test_the_floor_is_what_it_is_said_to_be():
    assert Plant(equal(4), floor=1.0).run(600, 4.5) == Step()
    assert Plant(equal(4), floor=2.0).run(600, 4.5) != Step()


@pytest.mark.parametrize("wrong", ["floor", "patience_s", "calm_s", "every_s", "probe_s"])
def test_numbers_are_above_zero(wrong):
    with pytest.raises(ValueError, match="above 0"):
        Overload(**{wrong: 0.0})


def test_each_step_is_judged_by_itself():
    plant = Plant(equal(4), calm_s=30.0, patience_s=15.0)
    plant.run(40, 4.0)
    plant.run(120, 500.0)
    instants = [at for at, _ in plant.changes]
    assert len(instants) == 4
    assert instants[1] - instants[0] >= 15.0
    assert instants[3] - instants[2] >= 30.0


def test_a_prediction_that_is_too_dark_is_tried_and_holds():
    """Where runs hardly shrink with the picture, pixels say that there is no room above."""
    plant = Plant(equal(4), fixed=0.95)
    plant.run(30, 5.0)
    assert plant.overload.step.level
    plant.run(600, 12.0)  # 3 a second each at full size, and 12.6 predicted less by pixels
    assert plant.overload.step == Step()
    assert any("tried" in step.reason for _, step in plant.changes)


def test_trying_what_does_not_hold_grows_seldom():
    plant = Plant(equal(4), fixed=0.2)
    plant.run(6 * 3600, 6.0)
    early = [at for at, _ in plant.changes if at < 1000 + 1800]
    late = [at for at, _ in plant.changes if at >= 1000 + 5 * 3600]
    assert len(early) <= 14
    assert len(late) <= 4


@settings(max_examples=100)
@given(
    cameras=st.lists(
        st.tuples(st.floats(0.2, 60.0), st.sampled_from([0.5, 1.0, 3.0])), min_size=1, max_size=8
    ),
    phases=st.lists(st.tuples(st.integers(1, 200), st.floats(0.1, 300.0)), max_size=6),
    fixed=st.floats(0.0, 1.0),
)
def test_whatever_the_load_it_never_flaps_and_always_comes_back(cameras, phases, fixed):
    plant = Plant({f"c{n}": camera for n, camera in enumerate(cameras)}, fixed=fixed)
    for seconds, capacity in phases:
        plant.run(seconds, capacity)
    # Room for all by any prediction: back after ten seconds of calm for each step.
    level = plant.overload.step.level
    assert plant.run(11 * (level + 1), 6000.0) == Step()


@settings(max_examples=25)
@given(
    cameras=st.lists(
        st.tuples(st.floats(0.2, 60.0), st.sampled_from([0.5, 1.0, 3.0])), min_size=1, max_size=6
    ),
    capacity=st.floats(0.1, 60.0),
    fixed=st.floats(0.0, 1.0),
)
def test_under_a_steady_load_it_comes_to_rest(cameras, capacity, fixed):
    plant = Plant({f"c{n}": camera for n, camera in enumerate(cameras)}, fixed=fixed)
    plant.run(3600, capacity)
    assert len(plant.changes) <= 30


@given(
    st.dictionaries(
        st.text("abcdef", min_size=1, max_size=3),
        st.tuples(st.floats(0.0, 100.0), st.floats(0.1, 10.0)),
        max_size=8,
    ),
    st.floats(0.0, 500.0),
)
def test_shares_are_fair_and_waste_nothing(wanted, capacity):
    got = shares(capacity, wanted)
    assert sum(got.values()) == pytest.approx(min(capacity, sum(m for m, _ in wanted.values())))
    full = max(
        (got[n] / weight for n, (most, weight) in wanted.items() if got[n] < most - 1e-9),
        default=None,
    )
    for name, (most, weight) in wanted.items():
        assert got[name] <= most
        if full is not None and got[name] < most - 1e-9:
            assert got[name] / weight == pytest.approx(full, rel=1e-6, abs=1e-9)


def test_a_reading_is_what_two_ledgers_say():
    def ledger(captured, skipped, dropped):
        return Ledger(captured, {}, skipped, dropped, 0, 0)

    reading = CameraReading.between(
        ledger(100, 10, {("infer", "queue_full"): 5}),
        ledger(130, 15, {("infer", "queue_full"): 15, ("infer", "failed"): 3}),
        2.0,
        age_s=0.2,
        max_age_s=1.0,
        priority=2.0,
    )
    assert reading == CameraReading(12.5, 7.5, 0.2, 1.0, 2.0)


def test_frames_that_never_came_were_not_looked_at_and_not_offered():
    """Fifteen of 25 were not decoded, nine of ten waited in vain: it suffers."""
    never = {("capture", "not_decoded"): 10, ("capture", "ring_full"): 5}
    reading = CameraReading.between(
        Ledger(0, {}, 0, {}, 0, 0),
        Ledger(25, {}, 0, {**never, ("infer", "queue_full"): 9}, 0, 0),
        1.0,
        age_s=0.2,
        max_age_s=1.0,
        priority=1.0,
    )
    assert (reading.offered, reading.served) == (10, 1)
    assert reading.suffers(2.0, busy=True)
