"""Which model is chosen: the table of needs, what was measured, and what is here."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.inference.choose import (
    ASSUMED_FPS,
    GIB,
    LADDER,
    LOAD,
    SMALLEST,
    Choice,
    auto_model,
    choose_model,
    demand,
)
from streamer.inference.entries import load_registry
from streamer.inference.measure import MEASURED, save
from tests.inference.test_measure import ONE

R50, M100, M025 = "retinaface_resnet50", "retinaface_mnet100", "retinaface_mnet025"


def test_the_ladder_is_the_registry() -> None:
    assert set(LADDER) == set(load_registry())


@pytest.mark.parametrize(
    ("free", "model"),
    [(80 * GIB, R50), (2 * GIB + 1, R50), (2 * GIB, M100), (GIB + 1, M100), (GIB, M025), (0, M025)],
)
def test_free_gpu_memory_decides(free: int, model: str) -> None:
    choice = choose_model(gpu_free=free, wanted=100)
    assert choice.model == model
    assert f"{free / GIB:.1f} GiB free" in choice.reason


def test_a_cpu_gets_the_smallest_until_it_was_measured() -> None:
    choice = choose_model(gpu_free=None, wanted=0)
    assert choice.model == M025
    assert "streamer models bench" in choice.reason


def test_a_cpu_gets_the_largest_that_was_measured_to_keep_up() -> None:
    rates = {M025: 120.0, M100: 50 / LOAD, R50: 49.9 / LOAD}
    assert choose_model(gpu_free=None, wanted=50, rates=rates).model == M100
    assert choose_model(gpu_free=None, wanted=51, rates=rates).model == M025
    assert choose_model(gpu_free=None, wanted=49, rates=rates).model == R50
    busy = choose_model(gpu_free=None, wanted=5000, rates=rates)
    assert busy.model == M025
    assert "5000" in busy.reason


def test_a_gpu_that_was_measured_too_slow_gets_a_smaller_one() -> None:
    rates = {R50: 100.0, "retinaface_resnet34": 100.0, M100: 5000.0}
    choice = choose_model(gpu_free=80 * GIB, wanted=200, rates=rates)
    assert choice.model == "retinaface_resnet18"  # nobody measured that it is too slow
    everything = dict.fromkeys(LADDER, 1.0)
    assert choose_model(gpu_free=80 * GIB, wanted=200, rates=everything).model == SMALLEST


def test_what_is_not_here_is_not_chosen_and_the_command_is_named() -> None:
    choice = choose_model(gpu_free=80 * GIB, wanted=1, here=[M025, M100])
    assert choice.model == M100
    assert "streamer models pull retinaface_resnet50" in choice.reason
    assert choose_model(gpu_free=None, wanted=1, here=[R50]).model == R50
    assert choose_model(gpu_free=None, wanted=1, here=["mine"]).model == M025


def test_demand_counts_what_is_looked_at() -> None:
    assert demand([]) == 0
    assert demand([(1, None)]) == ASSUMED_FPS
    assert demand([(5, None), (1, 10.0), (1, 1000.0)]) == 5 + 10 + ASSUMED_FPS
    assert demand([(25, 10.0)]) == 1


def test_auto_looks_at_what_is_here_and_was_measured(tmp_path: Path) -> None:
    cameras = [(1, 10.0)]
    nothing = auto_model(gpu_free=None, input_size=640, cameras=cameras, cache=tmp_path)
    assert nothing.model == M025
    for name in (M025, M100):
        (tmp_path / f"{name}.onnx").touch()
    found = [dataclasses.replace(ONE, model=name, per_second=20.0) for name in (M025, M100, R50)]
    save(tmp_path / MEASURED, found)
    measured = auto_model(gpu_free=None, input_size=640, cameras=cameras, cache=tmp_path)
    assert measured.model == M100
    assert "streamer models pull retinaface_resnet50" in measured.reason
    busy = auto_model(gpu_free=None, input_size=640, cameras=cameras * 2, cache=tmp_path)
    assert busy.model == M025
    # What the CPU was measured to do says nothing of the GPU.
    gpu = auto_model(gpu_free=2 * GIB, input_size=640, cameras=cameras * 9, cache=tmp_path)
    assert gpu.model == M100


models = st.sampled_from(LADDER)


@given(
    gpu=st.none() | st.integers(0, 100 * GIB),
    wanted=st.floats(0, 1e5),
    rates=st.dictionaries(models, st.floats(0, 1e6)),
    here=st.lists(models),
)
def test_there_is_always_a_choice_and_a_reason(
    gpu: int | None, wanted: float, rates: dict[str, float], here: list[str]
) -> None:
    choice = choose_model(gpu_free=gpu, wanted=wanted, rates=rates, here=here)
    assert isinstance(choice, Choice)
    assert choice.model in (here or LADDER)
    assert choice.model in choice.reason
    assert "\n" not in choice.reason
    free = choose_model(gpu_free=gpu, wanted=wanted, rates=rates)
    more = choose_model(gpu_free=gpu, wanted=wanted + 1, rates=rates)
    if gpu is None:  # more work is never a reason for a larger model
        assert LADDER.index(more.model) <= LADDER.index(free.model)
