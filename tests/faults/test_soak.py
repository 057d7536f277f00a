"""The soak's judgement on numbers, and on a build that really leaks."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.soak import MB, Point, judge
from tests.faults.program import ROOT
from tests.faults.slope import theil_sen


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.floats(-5, 5))
def test_the_slope_is_found_among_noise_and_leaps(seed, true):
    chance = np.random.default_rng(seed)
    x = np.linspace(0, 10, 40)
    y = true * x + chance.normal(0, 0.5, 40)
    y[chance.integers(0, 40, 4)] += 1000.0  # a tenth of the points say nothing
    slope = theil_sen(x, y)
    assert abs(slope.middle - true) < 0.5
    assert slope.low <= slope.middle <= slope.high


def test_the_interval_holds_the_truth_as_often_as_it_says():
    chance = np.random.default_rng(7)
    x = np.arange(30.0)
    slopes = [theil_sen(x, chance.normal(0, 1, 30)) for _ in range(400)]
    held = np.mean([slope.low <= 0 <= slope.high for slope in slopes])
    assert 0.91 <= held <= 0.99


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="7 points are too few"):
        theil_sen(range(7), range(7))


def points(mb_per_hour: float, *, files: int = 0, threads: int = 0) -> list[Point]:
    chance = np.random.default_rng(3)
    return [
        Point(
            n / 60,
            int((200 + mb_per_hour * n / 60 + chance.normal(0, 0.05)) * MB),
            int(chance.uniform(250, 300) * MB),  # the pages of files come and go
            40 + files * n // 30,
            20 + threads * n // 30,
        )
        for n in range(30)
    ]


def test_what_does_not_grow_is_acquitted():
    verdict = judge(points(0.0))
    assert verdict.faults == []
    assert verdict.proven


@pytest.mark.parametrize(
    ("grown", "word"),
    [(points(3.0), "memory"), (points(0, files=9), "files"), (points(0, threads=3), "threads")],
)
def test_what_grows_is_named(grown, word):
    assert any(word in fault for fault in judge(grown).faults)


def test_it_is_said_when_the_machine_was_too_busy_to_tell():
    grown = points(3.0)
    (quiet,) = judge(grown).faults
    assert "busy" not in quiet
    late = [point._replace(steps=n // 20) for n, point in enumerate(grown)]
    (busy,) = judge(late).faults
    assert "too busy 1 times" in busy
    early = [point._replace(steps=int(n > 3)) for n, point in enumerate(grown)]
    assert judge(early).faults == [quiet]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_leaky_build_is_found_out(model_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--minutes", "7", "--leaky"],
        cwd=ROOT, capture_output=True, text=True, timeout=580,
    )  # fmt: skip
    assert done.returncode == 1
    assert "memory grows by" in done.stderr, done.stdout + done.stderr
