import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from streamer.types import Faces
from streamer.vision import association
from streamer.vision.association import GATE, Pairs, assign, gains
from streamer.vision.kalman import Motion, measured

tables = st.tuples(st.integers(0, 5), st.integers(0, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-5, 10).map(lambda v: round(v, 3)))
)


def pairs_of(worth) -> Pairs:
    rows, columns = np.nonzero(worth > 0)
    return Pairs(rows, columns, worth[rows, columns])


def best_sum(worth) -> float:
    """By trying everything."""
    count, width = worth.shape
    places = [*range(width), *[None] * count]
    return max(
        (
            sum(max(worth[row, c], 0) for row, c in enumerate(chosen) if c is not None)
            for chosen in set(itertools.permutations(places, count))
        ),
        default=0.0,
    )


@given(tables.filter(lambda table: table.shape[0] <= 4 and table.shape[1] <= 4))
def test_no_pairing_is_worth_more(worth) -> None:
    rows, columns = assign(pairs_of(worth))
    assert worth[rows, columns].sum() == pytest.approx(best_sum(worth))


@given(tables)
def test_pairs_are_worth_something_and_nobody_is_in_two(worth) -> None:
    rows, columns = assign(pairs_of(worth))
    assert (worth[rows, columns] > 0).all()
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(columns.tolist())) == len(columns)


def test_rivals_are_settled_for_the_good_of_all() -> None:
    # The best pair first would give 9 + 1.
    rows, columns = assign(pairs_of(np.array([[9.0, 8.0], [8.0, 1.0]])))
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 1, 1: 0}


def test_a_large_crowd_of_rivals_takes_the_best_pairs_first(monkeypatch) -> None:
    monkeypatch.setattr(association, "LARGEST_GROUP", 1)
    rows, columns = assign(pairs_of(np.array([[9.0, 8.0], [8.0, 1.0]])))
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == {0: 0, 1: 1}


def numbers(*centres: tuple[float, float], side: float = 100.0, slant: float = 0.0):
    middle = np.array(centres, np.float32).reshape(-1, 2)
    boxes = np.concatenate([middle - side / 2, middle + side / 2], axis=1)
    points = np.array([[-0.2, -0.1], [0.2, -0.1], [slant, 0.1], [-0.2, 0.3], [0.2, 0.3]])
    landmarks = (middle[:, None] + points * side).astype(np.float32)
    return measured(Faces(boxes, np.full(len(middle), 0.9, np.float32), landmarks))


def worth(motion, found, *, missed=0, unrest=1.0, gate=GATE):
    gates = np.full(len(found), gate)
    pairs = gains(motion, np.full(len(motion), missed), found, unrest, gates)
    assert (pairs.worth > 0).all()
    values = np.zeros((len(motion), len(found)))
    values[pairs.rows, pairs.columns] = pairs.worth
    return values


def test_nearer_is_worth_more_and_far_away_nothing() -> None:
    motion = Motion.of(numbers((300, 300)))
    motion.advance(0.2)
    (values,) = worth(motion, numbers((300, 300), (340, 300), (420, 300), (900, 300)))
    assert values[0] > values[1] > values[2] > 0 == values[3]


def test_the_longer_nobody_looked_the_farther_a_face_may_be() -> None:
    found = numbers((480, 300))
    soon, late = Motion.of(numbers((300, 300))), Motion.of(numbers((300, 300)))
    soon.advance(0.04)
    late.advance(0.3)
    assert worth(soon, found)[0, 0] == 0 < worth(late, found)[0, 0]


def test_another_size_or_another_look_is_worth_less() -> None:
    motion = Motion.of(numbers((300, 300)))
    same = worth(motion, numbers((300, 300)))[0, 0]
    assert same > worth(motion, numbers((300, 300), side=115))[0, 0] > 0
    assert same > worth(motion, numbers((300, 300), slant=0.1))[0, 0] > 0
    assert worth(motion, numbers((300, 300), side=210))[0, 0] == 0


def test_one_missed_for_long_is_worth_less() -> None:
    motion = Motion.of(numbers((300, 300)))
    found = numbers((300, 300))
    values = [worth(motion, found, missed=n)[0, 0] for n in (0, 1, 10, 30, 99)]
    assert values[0] > values[1] > values[2] > values[3] == values[4] > 0
