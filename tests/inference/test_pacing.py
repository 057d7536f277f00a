"""Pacing: which frames are looked at."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.inference.pacing import Pacer


def chosen(pacer: Pacer, instants: list[float]) -> list[int]:
    return [i for i, at in enumerate(instants) if pacer.wants(at)]


def test_every_frame_by_default() -> None:
    assert chosen(Pacer(), [0.0, 0.0, 5.0, 1.0]) == [0, 1, 2, 3]


def test_every_nth_counts_frames_and_takes_the_first() -> None:
    assert chosen(Pacer(every=3), [i / 25 for i in range(10)]) == [0, 3, 6, 9]


def test_max_fps_keeps_its_rate_although_the_camera_rate_is_no_multiple() -> None:
    # 25 fps against 10: a rule that only looks at the last frame taken gives 8.3 a second.
    taken = chosen(Pacer(max_fps=10), [i / 25 for i in range(250)])
    assert 99 <= len(taken) <= 101


def test_no_burst_after_a_pause() -> None:
    pacer = Pacer(max_fps=5)
    assert pacer.wants(0.0)
    after = [10.0 + i / 50 for i in range(10)]  # 0.2 s of frames at 50 fps after a long silence
    assert len(chosen(pacer, after)) == 1


def test_a_clock_that_jumps_back_starts_anew() -> None:
    pacer = Pacer(max_fps=10)
    assert pacer.wants(1000.0)
    assert chosen(pacer, [i / 25 for i in range(25)])[0] == 0


def test_every_and_max_fps_together() -> None:
    taken = chosen(Pacer(every=2, max_fps=5), [i / 25 for i in range(250)])
    assert all(i % 2 == 0 for i in taken)
    assert 48 <= len(taken) <= 51


@pytest.mark.parametrize("wrong", [{"every": 0}, {"max_fps": 0}, {"max_fps": -1.0}])
def test_refuses_what_makes_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Pacer(**wrong)  # type: ignore[arg-type]


@given(
    st.lists(st.floats(0.001, 0.5), min_size=20, max_size=300),
    st.floats(0.5, 60.0),
)
def test_never_faster_than_asked_and_never_silent(gaps: list[float], max_fps: float) -> None:
    instants = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    pacer = Pacer(max_fps=max_fps)
    taken = [instants[i] for i in chosen(pacer, instants)]
    span = instants[-1] - instants[0]
    # The grid lets at most one frame through early, and each may be a millisecond early.
    assert len(taken) <= span * max_fps * 1.0 + 2 + len(taken) * 1e-3 * max_fps
    # Between two frames taken there is never a gap longer than the interval and one camera gap.
    for before, after in pairwise(taken):
        assert after - before <= 2 / max_fps + max(gaps) + 1e-6
