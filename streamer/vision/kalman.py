"""Where faces are and how they move: a constant-velocity Kalman filter for many faces at once.

A face is 14 numbers: its centre (x, y), its sides (width, height), and its five points measured
from the centre (10). Each has a velocity. Errors are the same in x and y and scale with the face,
so all covariances are three numbers for each of three groups (centre, sides, points), and every
step is a few operations on whole arrays, whatever the number of faces.

Velocities decay: nobody keeps his pace for long, and a face lost for a second should not be
looked for at the other end of the picture (the mean-reverting model of Singer, 1970, with
velocity in place of acceleration).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamer.types import Faces, Floats

Array: TypeAlias = NDArray[np.float64]

# All chosen with benchmarks/tracking.py, on its clips and on other seeds than it reports.
NOISE: Final = np.array([0.02, 0.04, 0.025]) ** 2
"""Variance of what the detector says of centre, sides and points, in face sizes squared: measured
on the demo clip with the default model."""

_AGILITY: Final = np.array([2.5, 0.1, 0.2]) ** 2
"""How quickly velocities change: variance per second, in (face sizes a second) squared."""

_FIRST_SPEED: Final = np.array([3.0, 0.2, 0.1]) ** 2
"""Variance of the velocity of a face seen once: a walker who passes near is quick."""

_PACE_S: Final = 2.0
"""A velocity is down to 1/e after this long without news."""

_SIZE_WEIGHT: Final = 0.3
"""Weight of the newest size in the size that errors scale with."""

_GROUP: Final = np.array([0, 0, 1, 1, *[2] * 10])
"""Which of the three groups each of the 14 numbers is of."""

_FROM_CORNERS: Final = np.array(
    [[0.5, 0, -1, 0], [0, 0.5, 0, -1], [0.5, 0, 1, 0], [0, 0.5, 0, 1]], np.float64
)
_TO_CORNERS: Final = np.array(
    [[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float64
)
"""Factors from x1, y1, x2, y2 to centre and sides, and back: one product costs less than sums."""

_LEAST_SIDE: Final = 1.0  # pixels; no face is predicted to turn inside out


def measured(faces: Faces) -> Array:
    """The 14 numbers of each face: (N, 14) float64, pixels."""
    found = np.empty((len(faces), 14))
    found[:, :4] = faces.boxes @ _FROM_CORNERS
    found[:, 4:] = (faces.landmarks - found[:, None, :2]).reshape(-1, 10)
    return found


def sizes(numbers: Array) -> Array:
    """Square root of the area of each face of ``numbers`` (N, 14): (N,), pixels, at least 1."""
    return np.asarray(np.sqrt(np.maximum(numbers[:, 2] * numbers[:, 3], 1.0)))


def pictured(numbers: Array) -> tuple[Floats, Floats]:
    """Boxes (N, 4) and landmarks (N, 5, 2), float32 pixels, of ``numbers`` (N, 14)."""
    boxes: Floats = (numbers[:, :4] @ _TO_CORNERS).astype(np.float32)
    points = numbers[:, 4:].reshape(-1, 5, 2) + numbers[:, None, :2]
    return boxes, points.astype(np.float32)


def box_speeds(speed: Array, passed_s: float = 0.0) -> Floats:
    """How the sides of boxes move: (N, 4) float32, pixels a second.

    ``speed`` (N, 14) is that of faces ``passed_s`` seconds ago.
    """
    keeps = math.exp(-max(passed_s, 0.0) / _PACE_S)
    return np.asarray(speed[:, :4] @ (_TO_CORNERS * keeps), np.float32)


@dataclass(slots=True, eq=False)
class Motion:
    """The state of N faces, all at one instant.

    ``state`` (2, N, 14) is where they are and how they move: pixels, and pixels a second.
    ``spread`` (3, N, 3) is for each group the variance of place, the covariance, and the variance
    of speed, pixels squared. ``size`` (N,) pixels is what errors scale with.

    Few operations on large arrays, because each costs a microsecond however small its arrays are.
    """

    state: Array
    spread: Array
    size: Array

    @staticmethod
    def of(numbers: Array) -> Motion:
        """Faces seen for the first time at ``numbers`` (N, 14): standing, as far as is known."""
        size = sizes(numbers)
        area = (size * size)[:, None]
        state = np.zeros((2, *numbers.shape))
        state[0] = numbers
        spread = np.zeros((3, len(numbers), 3))
        spread[0], spread[2] = NOISE * area, _FIRST_SPEED * area
        return Motion(state, spread, size)

    def __len__(self) -> int:
        """How many faces."""
        return len(self.size)

    @property
    def place(self) -> Array:
        """Where they are: (N, 14), pixels."""
        return np.asarray(self.state[0])

    @property
    def speed(self) -> Array:
        """How they move: (N, 14), pixels a second."""
        return np.asarray(self.state[1])

    def copy(self) -> Motion:
        """The same faces, to be changed by themselves."""
        return Motion(self.state.copy(), self.spread.copy(), self.size.copy())

    def where(self, chosen: NDArray[np.bool_]) -> Motion:
        """Only the faces of ``chosen`` (N,)."""
        return Motion(self.state[:, chosen], self.spread[:, chosen], self.size[chosen])

    def and_also(self, more: Motion) -> Motion:
        """These faces and then those of ``more``, which are of the same instant."""
        return Motion(
            np.concatenate([self.state, more.state], axis=1),
            np.concatenate([self.spread, more.spread], axis=1),
            np.concatenate([self.size, more.size]),
        )

    def after(self, passed_s: float, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Array:
        """Where the faces of ``chosen`` are ``passed_s`` (0 or more) later: (M, 14).

        ``chosen`` says of each face whether it is meant (N,), or gives their positions (M,).
        """
        reach_s = _PACE_S * -math.expm1(-passed_s / _PACE_S)
        place, speed = self.state[:, chosen]
        place += reach_s * speed
        np.maximum(place[:, 2:4], _LEAST_SIDE, out=place[:, 2:4])
        return np.asarray(place)

    def advance(self, passed_s: float) -> None:
        """Move all faces on by ``passed_s`` (s); nothing happens when that is not positive."""
        if passed_s <= 0 or not len(self):
            return
        keeps = math.exp(-passed_s / _PACE_S)
        reach_s = _PACE_S * (1 - keeps)
        place, speed = self.state
        place += reach_s * speed
        np.maximum(place[:, 2:4], _LEAST_SIDE, out=place[:, 2:4])
        speed *= keeps
        # What a step makes of a variance of place, a covariance and a variance of speed.
        step = np.array(
            [
                [1.0, 2 * reach_s, reach_s**2],
                [0.0, keeps, keeps * reach_s],
                [0.0, 0.0, keeps**2],
            ]
        )
        grown = np.array([passed_s**3 / 3, passed_s**2 / 2, passed_s])[:, None, None] * _AGILITY
        self.spread = (step @ self.spread.reshape(3, -1)).reshape(self.spread.shape)
        self.spread += grown * (self.size * self.size)[:, None]

    def correct(self, rows: NDArray[np.intp], numbers: Array, unrest: float) -> Array:
        """Take in what was seen: ``numbers`` (M, 14) of the faces at ``rows`` (M,).

        ``unrest`` (1 or more) is by how much the variance of centres is larger than usual.
        Returns (M,) by how much each centre was off its prediction: squared distance as a share
        of the expected one, about 1 when all is as it should be.
        """
        size = sizes(numbers)
        noise = NOISE * (size * size)[:, None]
        noise[:, 0] *= unrest
        state, spread = self.state.take(rows, axis=1), self.spread.take(rows, axis=1)
        total = spread[0] + noise
        gains = spread[:2] / total  # of place and of speed
        off = numbers - state[0]
        state += gains.take(_GROUP, axis=2) * off
        spread[2] -= gains[1] * spread[1]
        spread[:2] *= 1 - gains[0]
        self.state[:, rows], self.spread[:, rows] = state, spread
        known_size = self.size[rows]
        self.size[rows] = known_size + _SIZE_WEIGHT * (size - known_size)
        centre = off[:, :2]
        return np.asarray(np.einsum("ij,ij->i", centre, centre) / (2 * total[:, 0]))
