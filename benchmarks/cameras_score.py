"""When a number of cameras counts as held, and how the largest is sought. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from tests.faults.slope import Slope, theil_sen

MOST_AGE_MS: Final = 300.0
"""95 of 100 results are at most so old when they are heard."""

LEAST_PER_S: Final = 2.0
"""Detections a second that each camera gets at least."""

LEAST_JAIN: Final = 0.95
"""Fairness between the cameras, 1 when all get the same."""

MOST_GROWTH_MS: Final = 0.05 * MOST_AGE_MS
"""Growth of the age over a whole run beyond which it counts, if it is no chance: 3 ms a minute in
a run of five."""

LONG_S: Final = 60.0
MOST_SHORT_GROWTH_MS: Final = 0.5 * MOST_AGE_MS
"""In shorter runs one disturbance at the end looks like growth; they stop only what runs away."""

LEAST_WINDOWS, MOST_WINDOWS = 8, 30
WINDOW_S: Final = 10.0
"""The p95 of each window is one point of the slope: 30 in five minutes, 8 in a short run."""


class Heard(NamedTuple):
    """One frame that was looked at.

    Its camera (from 0), when its result was heard (seconds since the measuring began) and how old
    it was then (seconds since it was due at the camera).
    """

    camera: int
    at_s: float
    age_s: float


@dataclass(frozen=True)
class OfCamera:
    """What one camera got. Without a result its ages are None."""

    detections_per_s: float
    p50_age_ms: float | None
    p95_age_ms: float | None
    longest_gap_ms: float


@dataclass(frozen=True)
class Score:
    """One run of ``cameras`` cameras for ``seconds``.

    Ages are milliseconds, of all results together. ``slope_ms_per_min``: growth of the p95, a
    95 % interval; None where too few windows had a result. ``faults`` says in words why the
    cameras were not held.
    """

    cameras: int
    seconds: float
    detections: int
    p50_age_ms: float | None
    p95_age_ms: float | None
    worst_camera_p95_age_ms: float | None
    max_age_ms: float | None
    min_detections_per_s: float
    max_detections_per_s: float
    jain: float
    slope_ms_per_min: Slope | None
    per_camera: tuple[OfCamera, ...]
    faults: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness, from 1/n (one has all) to 1 (all have the same); 0 of nothing.

    ``shares`` are at least 0. The square of the sum over n times the sum of squares: Jain, Chiu
    and Hawe, DEC Research Report TR-301 (1984).
    """
    most = max(shares, default=0.0)
    if not most > 0:
        return 0.0
    scaled = [share / most for share in shares]  # squares of tiny numbers would be nothing
    return sum(scaled) ** 2 / (len(scaled) * sum(share * share for share in scaled))


def windows_of(seconds: float) -> int:
    """Into how many windows a run is divided for its slope."""
    return min(MOST_WINDOWS, max(LEAST_WINDOWS, int(seconds / WINDOW_S)))


def growth(heard: Sequence[Heard], seconds: float) -> Slope | None:
    """How fast the p95 of the age grows, ms a minute; None when too few windows have a result."""
    count = windows_of(seconds)
    windows: list[list[float]] = [[] for _ in range(count)]
    for _, at_s, age_s in heard:
        windows[min(count - 1, int(at_s / seconds * count))].append(age_s)
    points = [
        ((number + 0.5) * seconds / count / 60, float(np.quantile(ages, 0.95)) * 1e3)
        for number, ages in enumerate(windows)
        if ages
    ]
    if len(points) < LEAST_WINDOWS:
        return None
    return theil_sen(*zip(*points, strict=True))


def score(heard: Iterable[Heard], *, cameras: int, seconds: float) -> Score:
    """Judge what was heard within ``seconds``; what came before or after does not count.

    Raises ``ValueError`` when there is no camera or no time.
    """
    if cameras < 1 or not seconds > 0:
        raise ValueError(f"nothing is to be said of {cameras} cameras in {seconds} s")
    kept = sorted((one for one in heard if 0 <= one.at_s < seconds), key=lambda one: one.at_s)
    ages: list[list[float]] = [[] for _ in range(cameras)]
    times: list[list[float]] = [[0.0] for _ in range(cameras)]
    for camera, at_s, age_s in kept:
        ages[camera].append(age_s)
        times[camera].append(at_s)
    per_camera = tuple(
        OfCamera(
            len(mine) / seconds,
            _ms(mine, 0.5),
            _ms(mine, 0.95),
            max(np.diff([*at, seconds])) * 1e3,
        )
        for mine, at in zip(ages, times, strict=True)
    )
    rates = [one.detections_per_s for one in per_camera]
    everything = [one.age_s for one in kept]
    p95, fair, slope = _ms(everything, 0.95), jain(rates), growth(kept, seconds)
    worst = [one.p95_age_ms for one in per_camera if one.p95_age_ms is not None]
    faults = []
    if p95 is None:
        faults.append("no result came")
    elif p95 > MOST_AGE_MS:
        faults.append(f"p95 of the age {p95:.0f} ms")
    if min(rates) < LEAST_PER_S:
        faults.append(f"a camera got {min(rates):.2f} detections a second")
    if fair < LEAST_JAIN:
        faults.append(f"Jain {fair:.3f}")
    if slope is None and p95 is not None:
        faults.append("long silences")
    most_ms = MOST_GROWTH_MS if seconds >= LONG_S else MOST_SHORT_GROWTH_MS
    if slope is not None and slope.low > 0 and slope.middle * seconds / 60 > most_ms:
        faults.append(f"age grows by {slope.middle:.0f} ms a minute")
    return Score(
        cameras=cameras,
        seconds=seconds,
        detections=len(kept),
        p50_age_ms=_ms(everything, 0.5),
        p95_age_ms=p95,
        worst_camera_p95_age_ms=max(worst, default=None),
        max_age_ms=_ms(everything, 1.0),
        min_detections_per_s=min(rates),
        max_detections_per_s=max(rates),
        jain=fair,
        slope_ms_per_min=slope,
        per_camera=per_camera,
        faults=tuple(faults),
    )


def hopeless(heard: Sequence[Heard], *, cameras: int, seconds: float) -> bool:
    """Whether a run so far, of ``seconds``, is so far off that its end is known.

    Far off is half as much again as the age allowed, or two thirds of the rate or fairness.
    """
    now = score(heard, cameras=cameras, seconds=seconds)
    return (
        now.p95_age_ms is None
        or now.p95_age_ms > 1.5 * MOST_AGE_MS
        or now.min_detections_per_s < LEAST_PER_S * 2 / 3
        or now.jain < LEAST_JAIN * 2 / 3
    )


def _ms(ages_s: Sequence[float], q: float) -> float | None:
    """A quantile in milliseconds; None of nothing."""
    return float(np.quantile(ages_s, q)) * 1e3 if ages_s else None


class Search:
    """Seeks the largest number that holds, first upwards in leaps and then in between.

    Ask :attr:`next`, try it, tell :meth:`learn`. It is exact up to 31 and to one in sixteen
    beyond; a run of a few seconds is no better than that.
    """

    def __init__(self, first: int, most: int) -> None:
        """Begin with ``first``, and try no more than ``most``. Raises ``ValueError`` below 1."""
        if not 1 <= first <= most:
            raise ValueError(f"the first number to try is from 1 to {most}, not {first}")
        self._first = first
        self._most = most
        self._fails: int | None = None
        self.holds = 0
        """The largest that held so far, 0 when none did."""

    @property
    def next(self) -> int | None:
        """What to try now; None when it is found."""
        if self._fails is None:
            if not self.holds:
                return self._first
            leap = 2 * self.holds if self.holds < 16 else self.holds * 3 // 2
            return min(self._most, leap) if self.holds < self._most else None
        if self._fails - self.holds <= max(1, self.holds // 16):
            return None
        return (self._fails + self.holds) // 2

    def learn(self, number: int, held: bool) -> None:
        """Hear whether ``number``, the one asked for, held."""
        if held:
            self.holds = number
        else:
            self._fails = number


def to_prove(number: int) -> int:
    """What to prove for minutes when ``number`` held for seconds: a sixteenth less, from 16 on.

    The largest of several short runs that held had luck.
    """
    return number - number // 16


def step_down(number: int) -> int:
    """What to prove when ``number`` did not hold for minutes: a twelfth less."""
    return number - max(1, math.ceil(number / 12))
