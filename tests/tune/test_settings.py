"""Which setting is chosen: on machines that are made up, with the clip's own truth as findings."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.flow.ledger import Ledger
from streamer.inference.simulation import (
    Look,
    Machine,
    Simulated,
    SimulatedCamera,
    SimulatedRun,
    simulate,
)
from streamer.tune.measure import CLIP_FRAMES, SizeMeasured, clip_truth
from streamer.tune.settings import (
    ALIKE,
    MOST_BUSY,
    Clip,
    Expected,
    Setting,
    age_ms,
    choose,
    demand,
    dropped_share,
    expect,
    latency_ms,
    least_rate,
    machine_of,
    settings_to_try,
    with_setting,
)

FPS = 15.0


@cache
def found_at(input_size: int) -> dict[int, list[list[float]]]:
    """What a made-up detector finds: every true face that is wide enough for the size, exactly."""
    least = 72 * 480 / input_size
    rows = {}
    for number, boxes in enumerate(clip_truth()):
        rows[number] = [
            [x1, y1, x2, y2, 0.95, *[(x1 + x2) / 2, (y1 + y2) / 2] * 5]
            for x1, y1, x2, y2 in boxes
            if x2 - x1 >= least
        ]
    return rows


def measured(input_size: int, each_s: float, **settings: object) -> SizeMeasured:
    """A CPU of two cores on which one picture takes ``each_s``."""
    plain = SizeMeasured(
        input_size=input_size,
        model="m",
        provider="cpu",
        warning="",
        workers=2,
        threads=1,
        max_batch=1,
        delay_s=0.0,
        on_cpu=True,
        cores=2.0,
        service_s={1: [each_s, each_s * 1.1]},
        decode_s=0.0015,
        track_s=0.0003,
        predict_s=0.0001,
        publish_s=0.0001,
        found=found_at(input_size),
    )
    return replace(plain, **settings)  # type: ignore[arg-type]


def machine_where(each_s_at_640: float) -> list[SizeMeasured]:
    return [measured(size, each_s_at_640 * (size / 640) ** 2) for size in (320, 640, 1280)]


def cameras(count: int, **settings: object) -> list[SimulatedCamera]:
    return [
        SimulatedCamera(FPS, 640, phase_s=n * 0.618034 % 1.0, **settings)  # type: ignore[arg-type]
        for n in range(count)
    ]


def tried(count: int, each_s_at_640: float) -> list[Expected]:
    found = machine_where(each_s_at_640)
    machine, clip, each = machine_of(found), Clip(found, fps=FPS), cameras(count)
    return [
        expect([with_setting(camera, setting) for camera in each], machine, clip, setting)
        for setting in settings_to_try(each, machine, fps=FPS)
    ]


def test_a_quick_machine_looks_at_every_frame_and_closely() -> None:
    best = choose(tried(1, 0.001))
    assert best.setting == Setting(1280, None)
    assert best.score > 0.98
    assert best.detections_per_s == pytest.approx(15.0, abs=0.2)


def test_a_slow_machine_looks_less_often_before_it_looks_less_closely() -> None:
    """320 misses faces of the clip; the tracker fills in what is not looked at."""
    few, many = choose(tried(2, 0.03)), choose(tried(8, 0.03))
    assert few.holds
    assert many.holds
    assert few.setting.input_size == many.setting.input_size == 640
    assert many.detections_per_s < few.detections_per_s
    assert many.score > 0.93


def test_what_is_late_is_worth_less() -> None:
    scores = []
    for each_s in (0.005, 0.2, 0.8):
        found = [measured(640, each_s)]
        machine, clip = machine_of(found), Clip(found, fps=FPS)
        scores.append(expect(cameras(1), machine, clip, Setting(640, None)).score)
    assert scores[0] > scores[1] > scores[2]


def test_predicting_makes_up_for_frames_that_are_not_looked_at() -> None:
    found = [measured(640, 0.02)]
    machine, clip, setting = machine_of(found), Clip(found, fps=FPS), Setting(640, 2.5)
    filled = expect(cameras(1, max_fps=2.5), machine, clip, setting)
    held = expect(cameras(1, max_fps=2.5, fill=False), machine, clip, setting)
    assert filled.detections_per_s == held.detections_per_s == 2.5
    assert filled.score > held.score + 0.02


def test_what_is_far_too_much_is_not_tried_but_each_size_is() -> None:
    found = machine_where(0.05)
    machine = machine_of(found)
    each = cameras(12)
    settings = settings_to_try(each, machine, fps=FPS)
    assert {setting.input_size for setting in settings} == {320, 640, 1280}
    for setting in settings:
        assert setting.max_fps is None or setting.max_fps >= 2
        assert demand(each, machine, setting) < 1.3 or setting.max_fps == 2.5
    assert Setting(1280, None) not in settings
    assert len(settings_to_try(cameras(1), machine_of(machine_where(0.001)), fps=FPS)) == 15


def test_the_demand_is_what_the_simulation_finds() -> None:
    found = machine_where(0.03)
    machine = machine_of(found)
    for count, setting in ((2, Setting(640, None)), (6, Setting(320, 5.0))):
        each = [with_setting(camera, setting) for camera in cameras(count)]
        run = simulate(each, machine, seconds=10.0)
        share = demand(cameras(count), machine, setting)
        assert run.work_s / (machine.cores * 10.0) == pytest.approx(share, rel=0.1)


def test_a_gpu_is_asked_in_batches() -> None:
    one = measured(640, 0.0, service_s={1: [0.004], 8: [0.008]}, max_batch=8, workers=1,
                   on_cpu=False, threads=1)  # fmt: skip
    machine = machine_of([one])
    each = cameras(30)
    assert demand(each, machine, Setting(640, None)) == pytest.approx(30 * 15 * 0.001, rel=0.05)
    found = expect(each, machine, Clip([one], fps=FPS), Setting(640, None))
    assert found.dropped_share == 0.0
    assert found.detections_per_s > 14


def test_a_size_that_was_not_looked_at_whole_is_left_out() -> None:
    whole = measured(320, 0.01)
    part = measured(640, 0.01, found={n: rows for n, rows in found_at(640).items() if n < 99})
    assert Clip([whole, part], fps=FPS).sizes == [320]


def run_of(looks: list[Look], dropped: dict[tuple[str, str], int] | None = None) -> SimulatedRun:
    detected = sum(look.detected for look in looks)
    ledger = Ledger(
        captured=detected, settled={"detected": detected}, skipped=0, dropped=dropped or {},
        waiting=0, held=0,
    )  # fmt: skip
    return SimulatedRun([Simulated([look.captured_at for look in looks], looks, ledger)], 0.0)


def test_rates_latency_and_age_are_of_looks_after_the_warm_up() -> None:
    looks = [Look(n, 1.0 + n / 2, 1.1 + n / 2, n % 2 == 0) for n in range(20)]
    run = run_of(looks, {("infer", "queue_full"): 2, ("infer", "fill_full"): 7})
    # Looked at at 1, 2, 3, ... 10 s, told 0.1 s later; from 2 s on that is nine of ten.
    assert least_rate(run, 9.0) == 1.0
    assert latency_ms(run) == pytest.approx(100.0)
    age = age_ms(run, until=10.0)
    assert age is not None
    assert 1040 < age < 1060  # it grows from 100 to 1100 ms and begins anew
    assert dropped_share(run) == pytest.approx(2 / 12)
    assert (latency_ms(run_of([])), age_ms(run_of([]), until=9.0)) == (None, None)
    assert dropped_share(run_of([])) == 0.0


@st.composite
def outcomes(draw: st.DrawFn) -> Expected:
    return Expected(
        Setting(draw(st.sampled_from([320, 640])), draw(st.sampled_from([None, 5.0]))),
        detections_per_s=draw(st.floats(0, 15)),
        latency_ms=None,
        age_ms=None,
        dropped_share=draw(st.sampled_from([0.0, 0.005, 0.02, 0.5])),
        busy_share=draw(st.floats(0, 1)),
        score=draw(st.floats(0, 1)),
        recall=1.0,
        precision=1.0,
    )


@given(st.lists(outcomes(), min_size=1, max_size=8))
def test_what_is_chosen_holds_if_anything_does_and_is_hardly_worse_than_the_best(
    some: list[Expected],
) -> None:
    best = choose(some)
    assert best in some
    holding = [each for each in some if each.busy_share <= MOST_BUSY and each.dropped_share <= 0.01]
    if not holding:
        assert best.dropped_share <= min(each.dropped_share for each in some) + 0.1
        return
    assert best in holding
    assert best.score >= max(each.score for each in holding) - ALIKE
    assert not math.isnan(best.score)


def test_of_equals_the_one_that_looks_at_most_is_chosen() -> None:
    one = Expected(Setting(640, 5.0), 5.0, None, None, 0.0, 0.4, 0.990, 1.0, 1.0)
    more = replace(one, setting=Setting(640, 7.5), detections_per_s=7.5, score=0.986)
    quick = replace(one, setting=Setting(320, 15.0), detections_per_s=15.0, score=0.994)
    better = replace(quick, score=0.996)
    too_much = replace(more, busy_share=0.9, score=0.999)
    assert choose([one, more]) is more
    assert choose([one, more, too_much]) is more
    assert choose([one, quick]) is one  # 640 at 5 a second are more pixels than 320 at 15
    assert choose([one, more, better]) is better


def test_a_machine_is_put_together_from_all_sizes() -> None:
    machine = machine_of([measured(320, 0.005, decode_s=0.001), measured(640, 0.02),
                          measured(960, 0.05, decode_s=0.009)])  # fmt: skip
    assert isinstance(machine, Machine)
    assert set(machine.service_s) == {320, 640, 960}
    assert machine.decode_s == 0.0015
    assert len(clip_truth()) == CLIP_FRAMES
