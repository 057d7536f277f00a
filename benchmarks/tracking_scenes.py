"""Made-up scenes for the tracking benchmark: people who walk, meet and hide, with their truth.

Everything comes from a seed. What the pretended detector does wrong is modelled on the default
model over the demo clip: centres and points off by 2 % of the face, sides by 4 %, partly as an
error that lasts (0.4 s) and partly anew in each frame. People move by velocities that change at
random about twice a second, so that no motion model of a tracker is quite right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamer.types import Faces

Array: TypeAlias = NDArray[np.float64]

WIDTH: Final = 1280
HEIGHT: Final = 720
FPS: Final = 25.0
LISTED_FROM: Final = 0.6
"""A face is in the truth when at least this share of it can be seen, as in the demo clip."""
DOUBTFUL_FROM: Final = 0.1

_STEP_S: Final = 0.01
_TALL: Final = 1.25  # faces are this much higher than wide
_POINTS: Final = np.array([[0.32, 0.4], [0.68, 0.4], [0.5, 0.6], [0.36, 0.78], [0.64, 0.78]])
_NEAR: Final = np.array([0.5, 0.5, 1.0, 0.6, 0.6])  # how much each point moves when a head turns


class Seen(NamedTuple):
    """One frame: its instant (s), the truth (who, boxes) and what the detector gives.

    ``doubtful`` are true boxes that are hidden too much to be in the truth; finding one is
    neither right nor wrong.
    """

    at: float
    people: NDArray[np.int64]
    boxes: Array
    doubtful: Array
    faces: Faces


@dataclass(frozen=True, slots=True)
class Setting:
    """What happens in a scene. Speeds are in face widths a second, sizes are widths in pixels."""

    name: str
    people: int
    width_px: tuple[float, float]
    speed: tuple[float, float] = (0.0, 0.0)
    wander: float = 0.5
    lanes: tuple[float, float] = (0.2, 0.8)
    growth: float = 0.1
    gait: float = 0.0
    pillars: int = 0
    uneven: float = 0.0
    shake: float = 0.0
    seconds: float = 16.0


SETTINGS: Final = (
    Setting("meeting", 5, (90, 180), wander=0.7, growth=0.2),
    Setting("walkers", 6, (40, 90), speed=(1.5, 8.0), wander=0.7, gait=0.05),
    Setting("crossing", 6, (60, 80), speed=(2.0, 5.0), lanes=(0.45, 0.55), gait=0.05),
    Setting("pillars", 5, (50, 70), speed=(2.0, 4.0), lanes=(0.1, 0.9), gait=0.04, pillars=5),
    Setting("crowd", 20, (28, 60), speed=(0.3, 2.5), wander=0.6, gait=0.05),
    Setting("uneven", 6, (50, 100), speed=(1.0, 4.0), gait=0.05, uneven=0.8),
    Setting("shaky", 6, (50, 110), speed=(0.5, 3.0), gait=0.05, shake=6.0),
)


class _Person:
    """One way through the scene from the instant ``starts_at``: centre, width and yaw by time."""

    def __init__(
        self, setting: Setting, random: np.random.Generator, starts_at: float, *, enters: bool
    ) -> None:
        self.starts_at = starts_at
        times = np.arange(0.0, setting.seconds - starts_at + 0.5, _STEP_S)
        self.times = times + starts_at
        size = random.uniform(*setting.width_px)
        side = random.choice((-1.0, 1.0))
        speed = side * random.uniform(*setting.speed)
        y = HEIGHT * random.uniform(*setting.lanes)
        x = random.uniform(0.05, 0.95) * WIDTH
        if enters:
            x = -size if side > 0 else WIDTH + size
        growth = _wobble(random, times, setting.growth)
        self.width = np.clip(size * np.exp(np.cumsum(growth) * _STEP_S), 16, 320)
        vx = speed + _wobble(random, times, setting.wander)
        vy = _wobble(random, times, 0.4 * setting.wander)
        self.x = x + np.cumsum(vx * self.width) * _STEP_S
        bob = setting.gait * np.sin(2 * np.pi * (2 * times + random.uniform()))
        self.y = y + np.cumsum(vy * self.width) * _STEP_S + bob * self.width
        if not speed:  # who stays drifts about his place
            self.x -= np.linspace(0, 1, len(times)) * (self.x[-1] - x)
            self.y -= np.linspace(0, 1, len(times)) * (self.y[-1] - y)
        self.yaw = random.uniform(-0.4, 0.4) + np.cumsum(_wobble(random, times, 0.5)) * _STEP_S
        self.points = _POINTS + random.normal(0, 0.015, _POINTS.shape)
        self.lasting = np.zeros(14)  # the detector's error that lasts, shares of the width
        self.lasting_at = -10.0

    def state(self, at: float) -> tuple[Array, float]:
        x, y, width, yaw = (
            float(np.interp(at, self.times, v)) for v in (self.x, self.y, self.width, self.yaw)
        )
        half = np.array([width, width * _TALL]) / 2
        centre = np.array([x, y])
        return np.concatenate([centre - half, centre + half]), yaw

    def gone(self, at: float) -> bool:
        box, _ = self.state(at)
        return bool(box[2] < -40 or box[0] > WIDTH + 40 or box[3] < -40 or box[1] > HEIGHT + 40)


def _wobble(random: np.random.Generator, times: Array, deviation: float) -> Array:
    """A smooth random function of time with this standard deviation, new about every 0.5 s."""
    knots = np.arange(times[0], times[-1] + 1.5, 0.5)
    return np.asarray(np.interp(times, knots, random.normal(0, deviation * 1.2, len(knots))))


def scene(setting: Setting, seed: int) -> list[Seen]:
    """All frames of one scene. The same setting and seed give the same frames."""
    random = np.random.default_rng([seed, *setting.name.encode()])
    alive = {n + 1: _Person(setting, random, 0.0, enters=False) for n in range(setting.people)}
    newest = setting.people
    ghosts: list[Array] = []  # places of false alarms that may come again
    pillars = [(WIDTH * (n + 0.5) / max(setting.pillars, 1)) for n in range(setting.pillars)]
    frames: list[Seen] = []
    at, jolt = 0.0, np.zeros(2)
    while at < setting.seconds:
        for number in [n for n, person in alive.items() if person.gone(at)]:
            del alive[number]
            newest += 1
            alive[newest] = _Person(setting, random, at, enters=True)
        jolt = 0.7 * jolt + random.normal(0, setting.shake, 2)
        frames.append(_look(setting, random, at, alive, pillars, ghosts, jolt))
        at += random.uniform(1 - setting.uneven, 1 + setting.uneven) / FPS
    return frames


def _look(
    setting: Setting,
    random: np.random.Generator,
    at: float,
    alive: dict[int, _Person],
    pillars: list[float],
    ghosts: list[Array],
    jolt: Array,
) -> Seen:
    """The truth of one instant, and a detector's view of it."""
    numbers = sorted(alive, key=lambda n: alive[n].state(at)[0][3])  # the nearest stands lowest
    states = [alive[n].state(at) for n in numbers]
    boxes = np.array([box for box, _ in states]) + np.tile(jolt, 2)
    people, listed, doubtful, found = [], [], [], []
    for row, number in enumerate(numbers):
        share = _visible(boxes[row], boxes[row + 1 :], pillars, setting)
        inside = np.clip(boxes[row], 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        if share >= LISTED_FROM:
            people.append(number)
            listed.append(inside)
        elif share >= DOUBTFUL_FROM:
            doubtful.append(inside)
        face = _found(random, alive[number], boxes[row], states[row][1], share, at)
        if face is not None:
            found.append(face)
    found += _false_alarms(random, len(found), ghosts)
    found.sort(key=lambda face: -face[4])
    rows = np.array(found, np.float32).reshape(-1, 15)
    faces = Faces(
        np.ascontiguousarray(rows[:, :4]),
        np.ascontiguousarray(rows[:, 4]),
        np.ascontiguousarray(rows[:, 5:].reshape(-1, 5, 2)),
    )
    true, hidden = (np.array(rows).reshape(-1, 4) for rows in (listed, doubtful))
    return Seen(at, np.array(people, np.int64), true, hidden, faces)


def _visible(box: Array, nearer: Array, pillars: list[float], setting: Setting) -> float:
    """Share of a face that is in the picture and behind nobody, on a grid of 16 x 16."""
    steps = (np.arange(16) + 0.5) / 16
    x = (box[0] + (box[2] - box[0]) * steps)[None, :]
    y = (box[1] + (box[3] - box[1]) * steps)[:, None]
    seen = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
    for x1, y1, x2, y2 in nearer:
        seen &= ~((x >= x1) & (x < x2) & (y >= y1) & (y < y2))
    half = 0.35 * 3.0 * float(np.mean(setting.width_px))  # hides a walker for about half a second
    for middle in pillars:
        seen &= ~(np.abs(x - middle) < half)
    return float(seen.mean())


def _found(
    random: np.random.Generator, person: _Person, box: Array, yaw: float, share: float, at: float
) -> list[float] | None:
    """What the detector says of one face: box, score, points; None when it says nothing."""
    keeps = np.exp(-(at - person.lasting_at) / 0.4)
    person.lasting = keeps * person.lasting + np.sqrt(1 - keeps**2) * random.normal(0, 1, 14)
    person.lasting_at = at
    if share < 0.25 or random.uniform() < 0.05:
        return None
    width = box[2] - box[0]
    sigmas = np.array([0.018, 0.018, 0.04, 0.04, *[0.02] * 10]) * (1 + 2 * (1 - share))
    error = (person.lasting + random.normal(0, 1, 14)) / np.sqrt(2) * sigmas * width
    points = box[:2] + person.points * (box[2:] - box[:2])
    points[:, 0] += 0.2 * np.clip(yaw, -1, 1) * width * _NEAR
    centre = (box[:2] + box[2:]) / 2 + error[:2]
    sides = np.maximum(box[2:] - box[:2] + error[2:4], 4)
    points += error[:2] + error[4:].reshape(5, 2)
    score = 0.97 - abs(random.normal(0, 0.12)) - 0.9 * (1 - share) - 4.0 / width
    if random.uniform() < 0.05:
        score -= 0.4  # a blink, a blur
    score = min(max(score, 0.12), 0.99)
    return [*(centre - sides / 2), *(centre + sides / 2), score, *points.ravel()]


def _false_alarms(
    random: np.random.Generator, count: int, ghosts: list[Array]
) -> list[list[float]]:
    """Faces where there are none, 5 % of all found; half of them come again at once."""
    ghosts[:] = [box for box in ghosts if random.uniform() < 0.5]
    for _ in range(random.poisson(0.025 * count)):
        size = random.uniform(25, 120) * np.array([1, _TALL])
        corner = random.uniform(0, 1, 2) * (np.array([WIDTH, HEIGHT]) - size)
        ghosts.append(np.concatenate([corner, corner + size]))
    found = []
    for box in ghosts:
        shaken = box + random.normal(0, 0.04, 4) * (box[2] - box[0])
        points = shaken[:2] + (_POINTS + random.normal(0, 0.08, (5, 2))) * (shaken[2:] - shaken[:2])
        found.append([*shaken, random.uniform(0.15, 0.85), *points.ravel()])
    return found
