"""Once a second: too much to do becomes a step down, told; room becomes a step up."""

from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from streamer.flow.ledger import Ledger
from streamer.inference.overload import Overload, Reading, Step
from streamer.inference.service import ServiceTimes
from streamer.steering import WINDOW, Steered, Steering, steer
from streamer.testing import ManualClock


class Machine:
    """Two cameras at 15 frames a second on a worker that looks at ``capacity`` a second."""

    def __init__(self) -> None:
        self.times = ServiceTimes()
        self.steering = Steering(self.times, workers=1)
        self.at = 100.0
        self.step = Step()
        self.ledgers = {name: Ledger(0, {}, 0, {}, 0, 0) for name in ("a", "b")}

    def second(self, capacity: float) -> Step | None:
        """One second passes and is looked at."""
        scale = self.step.scale
        active = [name for name in self.ledgers if name not in self.step.paused]
        each = min(15, int(capacity / scale**2 / len(active)))
        for name, ledger in self.ledgers.items():
            got = each if name in active else 0
            dropped = dict(ledger.dropped)
            dropped["infer", "queue_full"] = dropped.get(("infer", "queue_full"), 0) + 15 - got
            settled = {"detected": ledger.settled.get("detected", 0) + got}
            self.ledgers[name] = Ledger(ledger.captured + 15, settled, 0, dropped, 0, 0)
        for _ in range(each * len(active)):
            self.times.measured(640, 1, scale**2 / capacity)
        if each * len(active) == 0:  # it was busy all the same, with one that is not over
            self.times.busy_s += 1.0
        self.at += 1.0
        found = self.steering.look(
            {n: Steered(ledger, 0.2, 1.0, 1.0 + (n == "b")) for n, ledger in self.ledgers.items()},
            self.at,
        )
        self.step = found or self.step
        return found


def test_too_much_to_do_is_a_step_down_and_room_a_step_up() -> None:
    machine = Machine()
    assert not any(machine.second(60.0) for _ in range(20))
    assert machine.steering.load().level == 0
    steps = [step for _ in range(60) if (step := machine.second(0.6))]
    assert [step.level for step in steps] == list(range(1, len(steps) + 1))
    assert steps[-1].paused == {"a"}  # the least by priority, and never both
    assert steps[-1].scale == 0.5
    load = machine.steering.load()
    assert (load.level, load.paused, load.steps["up"]) == (3, {"a"}, 0)
    assert load.capacity is not None and load.service_s.keys() == {(640, 1)}
    for _ in range(120):
        machine.second(60.0)
    load = machine.steering.load()
    assert (load.level, load.input_scale, load.paused) == (0, 1.0, frozenset())
    assert load.steps == {"down": 3, "up": 3}


def test_a_step_is_logged_with_its_level_beside_that_of_the_line() -> None:
    machine = Machine()
    with capture_logs() as lines:
        steps = [step for _ in range(60) if (step := machine.second(0.6))]
    told = [(line["log_level"], line["overload_level"]) for line in lines]
    assert told == [("warning", step.level) for step in steps]
    assert steps
    assert all("level" not in line for line in lines)


def test_a_camera_that_came_just_now_is_not_judged() -> None:
    steering = Steering(ServiceTimes(), workers=2)
    camera = Steered(Ledger(9, {}, 0, {("infer", "queue_full"): 9}, 0, 0), None, 1.0, 1.0)
    for second in range(30):
        assert steering.look({f"cam-{second}": camera}, 100.0 + second) is None
    assert steering.load().level == 0


def test_a_camera_is_judged_once_it_has_sent_for_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known from the start and dials for six seconds."""
    judged: list[set[str]] = []

    class Told(Overload):
        def update(self, reading: Reading) -> Step:
            judged.append(set(reading.cameras))
            return super().update(reading)

    monkeypatch.setattr("streamer.steering.Overload", Told)
    steering = Steering(ServiceTimes(), workers=1)
    for second in range(13):
        late = Ledger(15 * max(0, second - 5), {}, 0, {}, 0, 0)
        other = Ledger(15 * second + 1, {}, 0, {}, 0, 0)
        cameras = {"late": late, "other": other}
        steering.look({n: Steered(c, None, 1.0, 1.0) for n, c in cameras.items()}, second + 100.0)
    assert [len(names) for names in judged] == [1] * 7 + [2] * 3  # from the third second on


def test_nothing_is_judged_before_a_window_has_passed() -> None:
    machine = Machine()
    assert not any(machine.second(0.6) for _ in range(WINDOW))


def test_the_stage_does_what_is_decided_and_ends() -> None:
    over, done = threading.Event(), []

    class Once(Steering):
        def look(self, cameras, now):  # type: ignore[no-untyped-def]
            assert cameras == {} and now == 5.0
            over.set()
            return Step(0.75)

    steering = Once(ServiceTimes(), workers=1)
    clock = ManualClock(5.0)
    steer(steering, dict, done.append, over, clock=clock)
    assert done == [Step(0.75)]
