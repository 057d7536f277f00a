"""How fast a noisy quantity grows, and how sure that is. Pure arithmetic."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE_Z = 1.96
"""Standard deviations to either side of a 95 % interval of the normal distribution."""


class Slope(NamedTuple):
    """The middle estimate and a 95 % interval, in units of y for each unit of x."""

    middle: float
    low: float
    high: float


def theil_sen(x: ArrayLike, y: ArrayLike) -> Slope:
    """The median of the slopes between all pairs of points: single leaps do not move it.

    ``x`` and ``y`` are (N,) of at least 8 points; equal values of x make no pair. The interval
    is Sen's: the order statistics at N' / 2 -+ 1.96 / 2 * sqrt(N (N-1) (2N+5) / 18), from the
    variance of Kendall's S (Sen, 1968, J. Am. Stat. Assoc. 63). Points must be independent, so
    give it one for each round of the test, not each reading. Raises ``ValueError`` on fewer.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n = len(xs)
    if n < 8:
        raise ValueError(f"{n} points are too few for a slope; run for longer")
    first, second = np.triu_indices(n, 1)
    run = xs[second] - xs[first]
    slopes = np.sort((ys[second] - ys[first])[run != 0] / run[run != 0])
    spread = CONFIDENCE_Z / 2 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    middle = (len(slopes) - 1) / 2
    low = slopes[max(0, int(np.floor(middle - spread)))]
    high = slopes[min(len(slopes) - 1, int(np.ceil(middle + spread)))]
    return Slope(float(np.median(slopes)), float(low), float(high))
