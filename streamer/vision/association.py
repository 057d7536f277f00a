"""Which new face belongs to which known one: what pairs are worth, and the best pairing of all."""

from __future__ import annotations

from typing import Final

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

_SIDES_NOISE: Final = NOISE[1] / NOISE[0]

_MOST: Final = 20.0
"""Neither may count more than this, for faces half hidden have odd sides and points."""

LARGEST_GROUP: Final = 32
"""Up to so many known faces that compete with each other are paired at the least cost; in larger
groups the best pair goes first, so that time stays bounded in a crowd."""


def gains(
    motion: Motion, missed: NDArray[np.int64], numbers: Array, unrest: float, gates: Array
) -> Array:
    """What each pair of a known and a new face is worth: (M, N), above 0 where it may be made.

    ``motion`` of M faces is of the instant of ``numbers`` (N, 14; see
    :func:`streamer.vision.kalman.measured`). It is the logarithm of how likely the face would be
    there if it were the track's (a normal distribution, widened by all that is not known of the
    motion: the longer nobody looked, the wider), less what it would cost to call it a new one.
    ``missed`` (M,) is how many looks in a row did not find it; ``unrest`` is as for
    :meth:`streamer.vision.kalman.Motion.correct`; ``gates`` (N,) are in deviations squared.
    """
    size, known_size = sizes(numbers), motion.size
    area = known_size[:, None] * size
    noise = area * NOISE[0]
    expected = motion.spread[0, :, :1] + noise * unrest
    off = motion.place.T[:4, :, None] - numbers.T[:4, None, :]
    off *= off
    away = off[0] + off[1]
    deviation = away / expected
    sides = (off[2] + off[3]) / (motion.spread[0, :, 1:2] + noise * _SIDES_NOISE)
    mine = motion.place[:, 4:] / known_size[:, None]
    theirs = numbers[:, 4:] / size[:, None]
    # Squared distances of points, by the square of a difference multiplied out.
    shape = (mine * mine).sum(axis=1)[:, None] + (theirs * theirs).sum(axis=1)
    shape -= 2 * (mine @ theirs.T)
    # In place from here on: these arrays are most of what a look costs.
    np.minimum(sides, _MOST, out=sides)
    sides *= _SIDES_WEIGHT
    shape *= _SHAPE_WEIGHT / _SHAPE
    np.minimum(shape, _SHAPE_WEIGHT * _MOST, out=shape)
    expected /= noise
    cost: Array = np.log(expected, out=expected)
    cost *= 2
    cost += deviation
    cost += sides
    cost += shape
    cost += (_MISS_WEIGHT * np.minimum(missed, _MISS_MOST))[:, None]
    away /= area
    near = away < _NEAR**2
    np.minimum(cost, _WORST - 1, out=cost, where=near)
    allowed = deviation < gates
    allowed &= away < _FAR**2
    allowed |= near
    allowed &= np.abs(np.log(known_size)[:, None] - np.log(size)) < _GROWN
    np.subtract(_WORST, cost, out=cost)
    cost *= allowed
    return cost


def assign(worth: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pair rows with columns so that the sum of ``worth`` (M, N) is greatest.

    Only pairs worth more than 0 are made, and no row or column is in two. Returns the rows and
    the columns of the pairs, in the order of the rows. Ties may go either way.

    Most faces have no rival: a pair worth more than the second best of its row and of its column
    together is in every best pairing, since no exchange could make up for it. Of the rest, those
    that compete with each other are found and solved group by group.
    """
    worth = np.maximum(worth, 0.0)
    if min(worth.shape) > 1:
        across = np.partition(worth, -2, axis=1)[:, -2, None]
        down = np.partition(worth, -2, axis=0)[-2]
        rows, columns = np.nonzero(worth > across + down)
        worth[rows] = 0.0
        worth[:, columns] = 0.0
    else:
        rows = columns = np.zeros(0, np.intp)
    left_rows, left_columns = np.nonzero(worth)
    if not len(left_rows):
        return rows, columns
    pairs = dict(zip(rows.tolist(), columns.tolist(), strict=True))
    for group_rows, group_columns in _groups(left_rows.tolist(), left_columns.tolist()):
        values = worth[np.ix_(group_rows, group_columns)].tolist()
        solve = _best if len(group_rows) <= LARGEST_GROUP else _greedy
        for row, column in solve(values):
            pairs[group_rows[row]] = group_columns[column]
    ordered = sorted(pairs)
    return np.array(ordered, np.intp), np.array([pairs[row] for row in ordered], np.intp)


def _groups(rows: list[int], columns: list[int]) -> list[tuple[list[int], list[int]]]:
    """Rows and columns that hang together by candidate pairs ``rows[i]``, ``columns[i]``."""
    of_row: dict[int, list[int]] = {}
    of_column: dict[int, list[int]] = {}
    for row, column in zip(rows, columns, strict=True):
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
