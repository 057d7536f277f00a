"""Simulated cameras: the processor is shared as it should be, and the real rules decide."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.inference.scheduling import FairShare
from streamer.inference.simulation import (
    Machine,
    SimulatedCamera,
    SimulatedRun,
    _Processor,
    simulate,
)
from tests.inference.simulate import Simulation, every

SIZE = 640


def machine(service_s: float = 0.02, **settings: float) -> Machine:
    return Machine({SIZE: {1: [service_s]}}, **settings)  # type: ignore[arg-type]


def camera(fps: float = 10.0, **settings: object) -> SimulatedCamera:
    return SimulatedCamera(fps, SIZE, **settings)  # type: ignore[arg-type]


WORK = st.tuples(
    st.integers(0, 40), st.integers(0, 30), st.integers(1, 3)
)  # begins, takes, threads


def shared_slowly(work: list[tuple[float, float, int]], cores: float) -> list[float]:
    """When each piece of work is done, by going from change to change and dividing anew."""
    left = {n: seconds for n, (_, seconds, _) in enumerate(work)}
    done: dict[int, float] = {}
    now = 0.0
    while len(done) < len(work):
        there = [n for n in left if work[n][0] <= now + 1e-12]
        for n in [n for n in there if left[n] <= 1e-9]:
            done[n] = now
            del left[n]
            there.remove(n)
        rate = min(1.0, cores / max(1, sum(work[n][2] for n in there)))
        coming = [work[n][0] - now for n in left if n not in there]
        steps = [left[n] / rate for n in there] + coming
        if not steps:
            break
        step = min(steps)
        now += step
        for n in there:
            left[n] -= step * rate
    return [done[n] for n in range(len(work))]


@given(st.lists(WORK, min_size=1, max_size=8), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_the_processor_is_shared_evenly(quarters: list[tuple[int, int, int]], cores: float) -> None:
    work = [(begins / 4, takes / 4, threads) for begins, takes, threads in sorted(quarters)]
    processor, done = _Processor(cores), dict[int, float]()
    now = 0.0

    def go_on(until: float) -> None:
        while (at := processor.next_at()) is not None and at <= until:
            for then in processor.finish(at):
                then()
                done.setdefault(len(done), at)

    order: list[int] = []
    for number, (begins, takes, threads) in enumerate(work):
        go_on(begins)
        now = begins
        processor.begin(now, takes, threads, lambda number=number: order.append(number))
    go_on(math.inf)
    expected = shared_slowly(work, cores)
    for place, number in enumerate(order):
        assert done[place] == pytest.approx(expected[number], abs=1e-6)
    assert len(order) == len(work)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([2.0, 5.0, 15.0, 25.0, 60.0]),
            st.integers(0, 40),
            st.sampled_from([0.5, 1.0, 3.0]),
            st.sampled_from([None, 0.2, 1.0]),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([0.0031371, 0.0207177, 0.1513131]),  # no two things at one instant
    st.integers(1, 3),
)
def test_who_is_served_when_is_as_with_the_fan_itself(
    drawn: list[tuple[float, int, float, float | None]], service_s: float, workers: int
) -> None:
    """Where nothing but the network costs time, the two simulations are one."""
    plans = [  # no two shares are ever equal, or rounding would decide
        (fps, 0.0100171 * phase + 0.0013317 * n, weight * (1 + 0.0137 * n), max_age_s)
        for n, (fps, phase, weight, max_age_s) in enumerate(drawn)
    ]
    ours = simulate(
        [
            camera(fps, phase_s=phase_s, priority=weight, max_age_s=max_age_s, fill=False)
            for fps, phase_s, weight, max_age_s in plans
        ],
        machine(service_s, cores=100, workers=workers),
        seconds=2.5,
    )
    theirs = Simulation(lambda _items, _now: service_s, FairShare(), workers=workers)
    for number, (fps, phase_s, weight, max_age_s) in enumerate(plans):
        instants = every(1 / fps, 2.5, phase_s)
        theirs.camera(str(number), instants, weight=weight, max_age_s=max_age_s, kind=SIZE)
    theirs.run(2.5)
    for number, one in enumerate(ours.cameras):
        served = [s for s in theirs.served if s.camera == str(number) and s.ended_at < 2.5 - 1e-6]
        looks = [look for look in one.looks if look.published_at < 2.5 - 1e-6]
        assert [look.captured_at for look in looks] == pytest.approx([s.born_at for s in served])
        assert [look.published_at for look in looks] == pytest.approx([s.ended_at for s in served])


@settings(max_examples=50)
@given(
    count=st.integers(1, 6),
    fps=st.sampled_from([5.0, 15.0, 25.0]),
    every_n=st.integers(1, 4),
    fill=st.booleans(),
    service_s=st.sampled_from([0.004, 0.03, 0.2]),
    cores=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_every_ledger_closes_and_no_work_is_done_for_nothing(
    count: int, fps: float, every_n: int, fill: bool, service_s: float, cores: float
) -> None:
    plans = [camera(fps, phase_s=n * 0.618 % 1 / fps, every=every_n, fill=fill)
             for n in range(count)]  # fmt: skip
    what = machine(service_s, cores=cores, workers=2, decode_s=0.002, track_s=0.0005,
                   predict_s=0.0005, publish_s=0.0005)  # fmt: skip
    run = simulate(plans, what, seconds=4.0)
    assert run == simulate(plans, what, seconds=4.0)
    assert run.work_s <= cores * 4.0 + 1e-6
    for one in run.cameras:
        assert one.ledger.closes
        assert one.ledger.captured == len(one.captured_at)
        frames = [look.frame for look in one.looks]
        assert frames == sorted(set(frames))
        assert all(fill or look.detected for look in one.looks)
        assert all(look.frame % every_n == 0 for look in one.looks if look.detected)
        for look in one.looks:
            assert look.captured_at == one.captured_at[look.frame]
            least = service_s if look.detected else 0.0
            assert look.published_at - look.captured_at >= least + 0.001 - 1e-9


def test_one_camera_on_an_idle_machine() -> None:
    what = machine(0.02, cores=2, threads=2, decode_s=0.002, track_s=0.001, publish_s=0.0005)
    run = simulate([camera(10.0)], what, seconds=2.0)
    looks = run.cameras[0].looks
    assert len(looks) == 20
    assert [look.captured_at for look in looks] == pytest.approx(
        [0.002 + n / 10 for n in range(20)]
    )
    assert {round(look.published_at - look.captured_at, 6) for look in looks} == {0.0215}
    assert run.work_s == pytest.approx(20 * (0.002 + 2 * 0.02 + 0.001 + 0.0005))


def test_frames_that_are_not_looked_at_are_told_as_predicted() -> None:
    what = machine(track_s=0.001, predict_s=0.0004)
    run = simulate([camera(12.0, max_fps=4.0)], what, seconds=2.0)
    assert [look.detected for look in run.cameras[0].looks[:6]] == [True, False, False] * 2
    took = [round(look.published_at - look.captured_at, 6) for look in run.cameras[0].looks[:3]]
    assert took == [0.021, 0.0004, 0.0004]
    without = simulate([camera(12.0, max_fps=4.0, fill=False)], machine(), seconds=2.0)
    assert [look.frame for look in without.cameras[0].looks] == list(range(0, 24, 3))
    assert without.cameras[0].ledger.skipped == 16


def test_what_is_too_much_is_dropped_and_the_rest_is_fresh() -> None:
    run = simulate([camera(25.0, phase_s=n / 50) for n in range(4)], machine(0.1), seconds=6.0)
    for one in run.cameras:
        assert one.ledger.dropped["infer", "queue_full"] > 50
        assert 13 <= len(one.looks) <= 16  # a fourth of ten a second
        # It waits for a place for one turn of all four at most, and then runs.
        assert max(look.published_at - look.captured_at for look in one.looks) < 0.5


def gaps(run: SimulatedRun) -> list[float]:
    captured_at = run.cameras[0].captured_at
    return [after - before for before, after in pairwise(captured_at)]


def test_a_decoder_that_is_too_slow_gives_fewer_frames() -> None:
    run = simulate([camera(25.0)], machine(0.0, decode_s=0.05), seconds=2.0)
    assert gaps(run) == pytest.approx([0.05] * len(gaps(run)))


def test_a_decoder_that_fell_behind_for_a_while_makes_no_burst() -> None:
    """As of a real camera: its schedule moves when it is late by more than a frame."""
    what = Machine({SIZE: {1: [0.0]}, 32: {1: [0.1]}}, threads=30, workers=2, decode_s=0.01)
    hog = SimulatedCamera(0.1, 32, phase_s=1.0)  # a run that leaves the others a 31st, for 3 s
    after = gaps(simulate([camera(10.0), hog], what, seconds=9.0))
    assert max(after) > 0.25
    assert sum(gap < 0.09 for gap in after) <= 2  # at most one frame is caught up with
    assert after[-30:] == pytest.approx([0.1] * 30)


def test_batches_on_a_gpu_take_what_a_batch_was_measured_to_take() -> None:
    gpu = Machine({SIZE: {1: [0.01], 4: [0.016]}}, cores=1, max_batch=8, on_cpu=False, decode_s=0.0)
    assert gpu.runs(SIZE, 1) == ([0.01], 1)
    assert gpu.runs(SIZE, 3) == ([0.016], 1)
    assert gpu.runs(SIZE, 6) == ([0.016], 2)
    run = simulate([camera(10.0) for _ in range(4)], gpu, seconds=1.0)
    # The first is alone; those that came meanwhile run together.
    first = sorted(round(one.looks[0].published_at, 4) for one in run.cameras)
    assert first == [0.016] * 4 or first == [0.01, 0.026, 0.026, 0.026]
    assert run.work_s == 0.0  # none of it is the processor's


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: machine(-1.0), "at least 0"),
        (lambda: machine(cores=0), "at least 0"),
        (lambda: machine(workers=0), "at least 1"),
        (lambda: Machine({SIZE: {1: []}}), "measured run"),
        (lambda: simulate([], machine(), seconds=1), "measured"),
        (lambda: simulate([SimulatedCamera(5, 320)], machine(), seconds=1), "measured"),
        (lambda: simulate([camera(0.0)], machine(), seconds=1), "above 0"),
    ],
)
def test_wrong_numbers_are_refused(wrong: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wrong()  # type: ignore[operator]
