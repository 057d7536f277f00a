"""Which new face belongs to which known one: what pairs are worth, and the best pairing of all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.vision.kalman import NOISE, Array, Motion, sizes

# All chosen with benchmarks/tracking.py, on its clips and on other seeds than it reports.
GATE: Final = 16.0
"""A face may be this far from where a track is expected, in deviations squared (4 of them)."""

WEAK_GATE: Final = 9.0
"""The same for a weak face: 3 deviations."""

_NEAR: Final = 0.8
"""Nearer than this (in face sizes) a face may always be the track's, whatever the filter says."""

_FAR: Final = 4.0
"""Farther than this (in face sizes) it may never be."""

_GROWN: Final = 0.7
"""The most that the logarithms of the sizes may differ: a factor of two."""

_WORST: Final = 28.0
"""What it costs to take a face for a new one instead: pairs that cost more are not made."""

_SIDES_WEIGHT: Final = 0.7
_SHAPE_WEIGHT: Final = 0.3
_SHAPE: Final = 0.05**2
"""Weights of differences in sides and in where the points lie in the face, and the variance of
the latter in face sizes squared. Points tell faces that cross apart by the way they look."""

_MISS_WEIGHT: Final = 0.1
_MISS_MOST: Final = 30
"""What each look that did not find the track adds, and how many are counted: the face may be gone
for good, and another may come where it was."""

_CENTRE_NOISE, _SIDES_NOISE = NOISE[:2].tolist()

_MOST: Final = 20.0
"""Neither may count more than this, for faces half hidden have odd sides and points."""

LARGEST_GROUP: Final = 32
"""Up to so many known faces that compete with each other are paired at the least cost; in larger
groups the best pair goes first, so that time stays bounded in a crowd."""


class Pairs(NamedTuple):
    """Known faces (positions, (K,)), new faces, and what each pair is worth, above 0."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    worth: Array

    def where(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Those ``chosen`` (K,)."""
        return Pairs(self.rows[chosen], self.columns[chosen], self.worth[chosen])


def gains(
    motion: Motion, missed: NDArray[np.int64], numbers: Array, unrest: float, gates: Array
) -> Pairs:
    """The pairs of a known and a new face that may be made, by rows, and what each is worth.

    ``motion`` of M faces is of the instant of ``numbers`` (N, 14; see
    :func:`streamer.vision.kalman.measured`). It is the logarithm of how likely the face would be
    there if it were the track's (a normal distribution, widened by all that is not known of the
    motion: the longer nobody looked, the wider), less what it would cost to call it a new one.
    ``missed`` (M,) is how many looks in a row did not find it; ``unrest`` is as for
    :meth:`streamer.vision.kalman.Motion.correct`; ``gates`` (N,) are in deviations squared.
    """
    size, known_size, place = sizes(numbers), motion.size, motion.place
    # Who is near enough at all; most pairs are not, and the rest costs more.
    area = np.multiply.outer(known_size, size)
    away = np.subtract.outer(place[:, 0], numbers[:, 0]) ** 2
    away += np.subtract.outer(place[:, 1], numbers[:, 1]) ** 2
    expected = area * (_CENTRE_NOISE * unrest)
    expected += motion.spread[0, :, :1]
    within = np.minimum(expected * gates, area * _FAR**2)
    np.maximum(within, area * _NEAR**2, out=within)
    close = np.flatnonzero(away < within)
    rows, columns = np.divmod(close, max(len(size), 1))
    area, away, expected = area.take(close), away.take(close), expected.take(close)
    size, known_size = size[columns], known_size[rows]
    place, numbers = place.take(rows, axis=0), numbers.take(columns, axis=0)
    apart = place[:, 2:4] - numbers[:, 2:4]
    sides = np.einsum("ij,ij->i", apart, apart)
    sides /= motion.spread[0, :, 1][rows] + area * _SIDES_NOISE
    points = place[:, 4:] / known_size[:, None] - numbers[:, 4:] / size[:, None]
    shape = np.einsum("ij,ij->i", points, points) / _SHAPE
    worth = (_WORST + 2 * math.log(_CENTRE_NOISE)) - 2 * np.log(expected / area)
    worth -= away / expected
    worth -= _SIDES_WEIGHT * np.minimum(sides, _MOST)
    worth -= _SHAPE_WEIGHT * np.minimum(shape, _MOST)
    worth -= _MISS_WEIGHT * np.minimum(missed[rows], _MISS_MOST)
    worth = np.maximum(worth, away < area * _NEAR**2)  # a pair so near is worth 1 at least
    good = worth > 0
    good &= np.abs(np.log(known_size / size)) < _GROWN
    return Pairs(rows, columns, worth).where(good)


def assign(pairs: Pairs) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Those of ``pairs`` that have the greatest sum of worth, no row or column in two of them.

    Returns rows and columns, in the order of the rows. Ties may go either way.

    Most faces have no rival. Nor is there a choice where a pair is worth more than the second
    best of its row and of its column together: it is in every best pairing, since no exchange
    could make up for it. Of the rest, those that compete with each other are found and solved
    group by group.
    """
    rows, columns = pairs.rows.tolist(), pairs.columns.tolist()
    in_row, in_column = Counter(rows), Counter(columns)
    if len(in_row) == len(rows) == len(in_column):
        return pairs.rows, pairs.columns
    chosen: dict[int, int] = {}
    rivals: dict[tuple[int, int], float] = {}
    for row, column, gain in zip(rows, columns, pairs.worth.tolist(), strict=True):
        if in_row[row] == 1 and in_column[column] == 1:
            chosen[row] = column
        else:
            rivals[row, column] = gain
    row_second = _seconds((row, gain) for (row, _), gain in rivals.items())
    column_second = _seconds((column, gain) for (_, column), gain in rivals.items())
    sure = [
        (row, column)
        for (row, column), gain in rivals.items()
        if gain > row_second[row] + column_second[column]
    ]
    chosen.update(sure)
    taken = {column for _, column in sure}
    left = [pair for pair in rivals if pair[0] not in chosen and pair[1] not in taken]
    for group_rows, group_columns in _groups(left):
        values = [[rivals.get((row, c), 0.0) for c in group_columns] for row in group_rows]
        solve = _best if len(group_rows) <= LARGEST_GROUP else _greedy
        for row, column in solve(values):
            chosen[group_rows[row]] = group_columns[column]
    ordered = sorted(chosen)
    return np.array(ordered, np.intp), np.array([chosen[row] for row in ordered], np.intp)


def _seconds(gains: Iterable[tuple[int, float]]) -> dict[int, float]:
    """The second largest gain by row (or column), 0 where there is one only."""
    of: dict[int, list[float]] = {}
    for place, gain in gains:
        of.setdefault(place, [0.0]).append(gain)
    return {place: sorted(found)[-2] for place, found in of.items()}


def _groups(pairs: Iterable[tuple[int, int]]) -> list[tuple[list[int], list[int]]]:
    """Rows and columns that hang together by candidate ``pairs`` of the two."""
    of_row: dict[int, list[int]] = {}
    of_column: dict[int, list[int]] = {}
    for row, column in pairs:
        of_row.setdefault(row, []).append(column)
        of_column.setdefault(column, []).append(row)
    groups = []
    left = dict.fromkeys(of_row)
    while left:
        first = next(iter(left))
        del left[first]
        group, reached, waiting = [first], set[int](), [first]
        while waiting:
            for column in of_row[waiting.pop()]:
                if column not in reached:
                    reached.add(column)
                    for row in of_column[column]:
                        if row in left:
                            del left[row]
                            group.append(row)
                            waiting.append(row)
        groups.append((sorted(group), sorted(reached)))
    return groups


def _greedy(worth: list[list[float]]) -> list[tuple[int, int]]:
    """Pairs by falling gain, each row and column once."""
    ranked = sorted(
        ((gain, row, column) for row, line in enumerate(worth) for column, gain in enumerate(line)),
        key=lambda pair: -pair[0],
    )
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    pairs = []
    for gain, row, column in ranked:
        if gain > 0 and row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            pairs.append((row, column))
    return pairs


def _best(worth: list[list[float]]) -> list[tuple[int, int]]:
    """Pairs of the greatest sum, by shortest augmenting paths (Kuhn, 1955; Jonker, 1987).

    Each row also has a column of its own that is worth nothing: to stay alone. One row after the
    other is added by the cheapest chain of changes, told by the prices of rows and columns.
    """
    count, width = len(worth), len(worth[0])
    total = width + count
    costs = [
        [-gain for gain in line] + [0.0 if own == row else float("inf") for own in range(count)]
        for row, line in enumerate(worth)
    ]
    row_price, column_price = [0.0] * count, [0.0] * total
    owner = [-1] * total
    for start in range(count):
        reach = [float("inf")] * total
        came_from = [-1] * total
        done: list[int] = []
        is_done = [False] * total
        row, column, at = start, -1, 0.0
        while row >= 0:
            line, price = costs[row], row_price[row]
            nearest, following = float("inf"), -1
            for other in range(total):
                if is_done[other]:
                    continue
                length = at + line[other] - price - column_price[other]
                if length < reach[other]:
                    reach[other], came_from[other] = length, column
                if reach[other] < nearest:
                    nearest, following = reach[other], other
            column, at = following, nearest
            is_done[column] = True
            done.append(column)
            row = owner[column]
        row_price[start] += at
        for other in done[:-1]:
            column_price[other] -= at - reach[other]
            row_price[owner[other]] += at - reach[other]
        while column >= 0:
            before = came_from[column]
            owner[column] = owner[before] if before >= 0 else start
            column = before
    return [
        (owner[column], column)
        for column in range(width)
        if owner[column] >= 0 and worth[owner[column]][column] > 0
    ]
