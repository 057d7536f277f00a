"""How many cameras are held: what counts as held, and how it is sought."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import cameras as bench
from benchmarks import cameras_run
from benchmarks.cameras import OTHERS, STREAMER, Outcome, figures, prove, seek, table
from benchmarks.cameras_run import Run
from benchmarks.cameras_score import (
    Heard,
    Search,
    growth,
    hopeless,
    jain,
    score,
    step_down,
    to_prove,
)
from benchmarks.peers import RUNNERS
from streamer.testing import ManualClock


def results(
    cameras: int, seconds: float, rate: float = 5.0, age_s: Callable[[float], float] = lambda _: 0.1
) -> list[Heard]:
    """Every camera is heard ``rate`` times a second, with an age by the instant."""
    every = [(n + 0.5) / rate for n in range(round(seconds * rate))]
    return [Heard(camera, at, age_s(at)) for at in every for camera in range(cameras)]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.floats(1e-3, 1e3))
def test_jain_is_between_one_share_and_one_whatever_the_unit(
    shares: list[float], unit: float
) -> None:
    index = jain(shares)
    if max(shares) == 0:
        assert index == 0
        return
    assert 1 / len(shares) - 1e-9 <= index <= 1 + 1e-9
    if max(shares) > 1e-300:  # what is smaller loses digits by itself
        assert jain([share * unit for share in shares]) == pytest.approx(index)


def test_jain_of_equals_and_of_one_that_has_all() -> None:
    assert jain([3.0] * 7) == pytest.approx(1)
    assert jain([5.0, 0, 0, 0]) == pytest.approx(0.25)
    assert jain([]) == 0


def test_all_that_is_asked_for_is_held() -> None:
    found = score(results(4, 20), cameras=4, seconds=20)
    assert found.held, found.faults
    assert (found.detections, len(found.per_camera)) == (400, 4)
    assert found.p95_age_ms == found.worst_camera_p95_age_ms == pytest.approx(100)
    assert found.min_detections_per_s == found.max_detections_per_s == pytest.approx(5)
    assert found.jain == pytest.approx(1)
    assert found.per_camera[0].longest_gap_ms == pytest.approx(200)


def test_one_result_in_ten_that_is_too_old_is_too_many_and_one_in_fifty_is_not() -> None:
    def some(every: int) -> list[Heard]:
        looks = results(4, 20)
        return [h._replace(age_s=0.4) if n % every == 0 else h for n, h in enumerate(looks)]

    assert score(some(50), cameras=4, seconds=20).held
    assert score(some(10), cameras=4, seconds=20).faults == ("p95 of the age 400 ms",)


def test_a_camera_that_gets_too_little_is_a_fault_even_among_many() -> None:
    looks = [h for n, h in enumerate(results(24, 20)) if h.camera != 7 or n // 24 % 3 == 0]
    found = score(looks, cameras=24, seconds=20)
    assert found.faults == ("a camera got 1.70 detections a second",)
    assert found.jain > 0.95
    assert found.per_camera[7].longest_gap_ms == pytest.approx(600)


def test_a_camera_that_was_never_heard_counts() -> None:
    found = score(results(3, 10), cameras=4, seconds=10)
    assert found.min_detections_per_s == 0
    assert found.jain == pytest.approx(0.75)
    assert found.per_camera[3].p95_age_ms is None
    assert len(found.faults) == 2


def test_unequal_shares_are_a_fault_although_each_is_enough() -> None:
    looks = results(2, 20, rate=2.5) + [Heard(0, at, 0.1) for _, at, _ in results(1, 20, rate=6)]
    assert score(looks, cameras=2, seconds=20).faults == ("Jain 0.771",)


def test_nothing_heard_is_not_held() -> None:
    found = score([], cameras=2, seconds=10)
    assert found.faults[0] == "no result came"
    assert found.p95_age_ms is None
    assert hopeless([], cameras=2, seconds=10)


def test_only_what_was_heard_while_it_was_measured_counts() -> None:
    outside = [Heard(0, -0.1, 9.0), Heard(0, 10.0, 9.0), Heard(0, 11.0, 9.0)]
    assert score(results(1, 10) + outside, cameras=1, seconds=10).max_age_ms == pytest.approx(100)


def test_age_that_grows_is_a_fault_long_before_it_is_too_old() -> None:
    slow = results(2, 300, age_s=lambda at: 0.1 + 0.005 * at / 60)  # 5 ms a minute
    found = score(slow, cameras=2, seconds=300)
    assert found.slope_ms_per_min is not None
    assert found.slope_ms_per_min.middle == pytest.approx(5, abs=0.1)
    assert found.faults == ("age grows by 5 ms a minute",)
    slower = results(2, 300, age_s=lambda at: 0.1 + 0.001 * at / 60)
    assert score(slower, cameras=2, seconds=300).held


def test_age_that_goes_up_and_down_does_not_grow() -> None:
    waves = results(2, 300, age_s=lambda at: 0.15 + 0.05 * math.sin(at / 7))
    assert score(waves, cameras=2, seconds=300).held


def test_in_a_short_run_only_age_that_runs_away_is_a_fault() -> None:
    def growing(ms_per_min: float) -> tuple[str, ...]:
        looks = results(2, 12, age_s=lambda at: 0.03 + ms_per_min / 1e3 * at / 60)
        return score(looks, cameras=2, seconds=12).faults

    assert growing(600) == ()
    assert growing(1200) == ("age grows by 1200 ms a minute",)


def test_growth_that_may_be_chance_is_no_fault() -> None:
    steps = results(2, 64, age_s=lambda at: 0.1 + 0.1 * (at // 8 % 2) + 0.01 * (at // 8))
    found = score(steps, cameras=2, seconds=64)
    assert found.slope_ms_per_min is not None
    assert found.slope_ms_per_min.middle > 60
    assert found.slope_ms_per_min.low < 0
    assert found.held, found.faults


def test_too_few_windows_with_results_give_no_slope() -> None:
    early = [h for h in results(1, 16) if h.at_s < 6]
    assert growth(early, 16) is None
    assert "long silences" in score(early, cameras=1, seconds=16).faults


@pytest.mark.parametrize(("cameras", "seconds"), [(0, 1.0), (1, 0.0), (1, math.nan)])
def test_there_must_be_a_camera_and_time(cameras: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="nothing is to be said"):
        score([], cameras=cameras, seconds=seconds)


def test_a_run_is_only_given_up_when_it_is_far_off() -> None:
    assert not hopeless(results(2, 4, age_s=lambda _: 0.4), cameras=2, seconds=4)
    assert hopeless(results(2, 4, age_s=lambda _: 0.5), cameras=2, seconds=4)
    assert hopeless(results(2, 4, rate=1), cameras=2, seconds=4)


@given(st.integers(0, 120), st.integers(1, 96), st.integers(0, 64))
def test_the_search_finds_the_most_that_hold(limit: int, first: int, more: int) -> None:
    search = Search(first, first + more)
    tried = []
    while (number := search.next) is not None:
        assert 1 <= number <= first + more
        assert number not in tried
        tried.append(number)
        search.learn(number, number <= limit)
        assert len(tried) <= 12
    best = min(limit, first + more)
    assert search.holds <= best
    assert best - search.holds < max(1, search.holds // 16)  # nothing at all up to 31
    assert search.holds == 0 or search.holds in tried


def test_the_search_begins_with_a_camera_at_least() -> None:
    with pytest.raises(ValueError, match="from 1 to 8"):
        Search(0, 8)


@given(st.integers(1, 200))
def test_less_is_proved_next_and_in_the_end_nothing(number: int) -> None:
    assert 0 <= step_down(number) < number
    assert number * 15 / 16 <= to_prove(number) <= number


def run_of(cameras: int, seconds: float, *, held: bool, **ended: object) -> Run:
    looks = results(cameras, seconds, age_s=lambda _: 0.1 if held else 0.5)
    return Run(score(looks, cameras=cameras, seconds=seconds), "it 1", 1.0, 0.0, False, ended)


class Machine:
    """Holds up to ``limit`` cameras for a while, ``long_limit`` for long; its clock is driven."""

    def __init__(self, limit: int, long_limit: int, minutes: float = 10.0) -> None:
        self.limit, self.long_limit = limit, long_limit
        self.left = ManualClock()
        self.all_s = minutes * 60
        self.asked: list[tuple[int, float]] = []

    def run(self, cameras: int, seconds: float) -> Run:
        self.asked.append((cameras, seconds))
        self.left.advance(seconds + bench.LOAD_S + cameras_run.WARM_S)
        limit = self.long_limit if seconds > 20 else self.limit
        return run_of(cameras, seconds, held=cameras <= limit)

    def left_s(self) -> float:
        return self.all_s - self.left()


def test_what_short_runs_find_a_long_one_proves() -> None:
    machine = Machine(27, 27)
    found = seek(machine.run, Search(24, 96), 12, machine.left_s)
    assert found.held is not None
    assert found.held.score.cameras == 27
    prove(machine.run, found, 300, 60, machine.left_s)
    assert machine.asked[-1] == (26, 300)  # a sixteenth less
    assert found.held.score.seconds == 300
    assert found.beyond is not None
    assert found.beyond.score.cameras == 28


def test_what_failed_once_below_is_not_why_there_are_no_more() -> None:
    found = Outcome([run_of(9, 12, held=False), run_of(5, 12, held=False)])
    assert found.beyond is found.runs[1]
    found.held = run_of(7, 12, held=True)
    assert found.beyond is found.runs[0]


def test_what_a_long_run_does_not_hold_is_tried_with_less() -> None:
    machine = Machine(27, 22, minutes=30)
    found = seek(machine.run, Search(24, 96), 12, machine.left_s)
    prove(machine.run, found, 300, 60, machine.left_s)
    assert [cameras for cameras, seconds in machine.asked if seconds > 20] == [26, 23, 21]
    assert found.held is not None
    assert found.held.score.cameras == 21
    assert found.beyond is not None
    assert found.beyond.score.cameras == 23


def test_without_time_nothing_is_said_to_be_proved() -> None:
    machine = Machine(27, 24, minutes=9)
    found = seek(machine.run, Search(24, 96), 12, machine.left_s)
    prove(machine.run, found, 300, 60, machine.left_s)
    assert machine.asked[-1][0] == 23  # with the seconds that were left
    assert 60 <= machine.asked[-1][1] < 300
    late = seek(machine.run, Search(24, 96), 12, lambda: 0.0)
    assert len(late.runs) == 1
    assert late.held is not None
    prove(machine.run, late, 300, 60, lambda: 0.0)
    assert late.held is None
    assert figures(late)["cameras_held"] == 0


def test_cameras_are_not_held_by_making_less_of_them() -> None:
    assert run_of(2, 10, held=True, input_scale=1.0, paused=0, lost=0).held
    assert run_of(2, 10, held=True, input_scale=0.75).faults == ("the input was made smaller",)
    assert run_of(2, 10, held=True, paused=3).faults == ("3 cameras were paused",)
    assert run_of(2, 10, held=True, lost=1).faults == ("a camera was lost",)


def test_what_is_written_is_json_also_where_nothing_was_heard() -> None:
    silent = Run(score([], cameras=3, seconds=4), "it 1", 0.0, None, True, {})
    found = Outcome([silent, run_of(1, 12, held=False)])
    written = json.loads(json.dumps(figures(found), allow_nan=False))
    assert (written["cameras_held"], written["cameras"], len(written["runs"])) == (0, 1, 2)
    ours = Outcome([run_of(5, 12, held=True)])
    ours.held = ours.runs[0]
    written = json.loads(json.dumps(figures(ours), allow_nan=False))
    assert written["cameras_held"] == 5
    assert written["p95_age_ms"] == pytest.approx(100)
    assert written["min_detections_per_s"] == pytest.approx(5)
    assert written["jain"] == pytest.approx(1)
    assert table({"ours": ours, "it": found}, {"no": "exit 1: [red]x"}, "title").row_count == 3


def test_every_side_has_its_runner_and_all_it_is_given() -> None:
    given_ = dict.fromkeys(("clip", "fps", "cameras", "model", "cache"), "x")
    for one in (STREAMER, *OTHERS):
        assert (RUNNERS / one.runner).is_file()
        assert "{" not in "".join(argument.format_map(given_) for argument in one.arguments)
    assert {one.environment for one in OTHERS} == {"uniface", "inference"}
    assert [one.name for one in OTHERS if one.heavy] == ["InferencePipeline + uniface"]
