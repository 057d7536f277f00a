"""How long a face is waited for, by how far apart looks are."""

from __future__ import annotations

import pytest

from streamer.vision.patience import LOOKS_FOLLOWED, LOST_S, Patience


@pytest.mark.parametrize(
    ("every", "apart_s", "fps", "seconds"),
    [
        (1, 0.0, 15, LOST_S), (5, 0.0, 15, LOST_S), (50, 0.0, 15, 50 / 15 * LOOKS_FOLLOWED),
        (1, 2.0, 15, 2.0 * LOOKS_FOLLOWED), (1, 0.0, 0.3, LOOKS_FOLLOWED / 0.3),
        (10, 2.0, 2, 5.0 * LOOKS_FOLLOWED),
    ],
)  # fmt: skip
def test_it_is_of_so_many_looks_as_they_come(
    every: int, apart_s: float, fps: float, seconds: float
) -> None:
    patience = Patience(every=every, apart_s=apart_s)
    for n in range(100):
        patience.came(n / fps)
    before = patience.lost_s
    assert before == patience.lost_s  # until the next look
    patience.looked()
    assert patience.lost_s == pytest.approx(seconds)


def test_a_gap_and_a_clock_that_goes_back_are_soon_forgotten() -> None:
    patience = Patience(every=10)
    at = 0.0
    for step in [1 / 15] * 30 + [20.0] + [1 / 15] * 60 + [-5.0, 0.0] + [1 / 15] * 30:
        at += step
        patience.came(at)
    patience.looked()
    assert patience.lost_s == pytest.approx(LOST_S)
