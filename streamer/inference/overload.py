"""What to give up while there is too much to do for long, in what order, and when to take it back.

Pure: it is fed readings and answers the step to be on. The order is stated and never changes:

1. The rate of detection falls by itself, fairly, since cameras share what there is. Nothing to
   decide, as long as each camera gets ``floor`` detections a second (of a camera whose
   ``priority`` is below 1, that share of it), or all it offers.
2. The input size: 1, 0.75, 0.5 of what was asked for, of cameras that need not cover faces: a
   smaller input misses faces, and a face that is missed is bare.
3. Cameras are paused, the least ``priority`` first and one of them never.

Steps are taken back in the reverse order. Whether the step above fits is predicted from what is
measured now and the number of pixels, never from a time held since the overload: that would keep
the step for ever once it was held too long. A prediction may be too dark or too bright all the
same: a step is also tried now and then when all is well, and both ever more seldom while that
fails. For a camera that the last step did not help no other is taken: what slows it is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from streamer.flow.ledger import Ledger

SCALES: Final = (1.0, 0.75, 0.5)
"""Input size on each step, as a factor: 640, 480, 320. Smaller finds too few faces to be of use."""

FLOOR: Final = 2.0
"""Detections a second below which a tracker loses people between two of them."""

ROOM: Final = 1.25
"""A step is taken back only when each camera is to get so many times its floor."""

KEPT: Final = 0.9
"""A camera that gets this share of the frames it offers loses none to speak of."""


BUSY: Final = 0.75
"""While workers are busy for less than this share of the time, no camera suffers for want of them:
it is the network that brings frames in heaps, or a model that fails on them. But where what it
loses is refused as too late, one run takes too long, and workers wait for what is in time."""

HELPED: Final = 1.1
"""A step has helped a camera that gets so many times what it got before."""

FORGIVEN_S: Final = 600.0
"""After so long it is tried again whether a step helps a camera that the last one did not."""

MOST_BACKOFF: Final = 60.0
"""Steps up that fail wait so many times longer at most: tried ones an hour, others ten minutes."""

ROOMY: Final = 3.0
"""With so many times the capacity that all together ask for, nothing that failed before counts."""

_LATE: Final = ("infer", "deadline")
_UNSERVED: Final = (("infer", "queue_full"), _LATE, ("capture", "overload"))


@dataclass(frozen=True, slots=True)
class CameraReading:
    """One camera over the last seconds.

    ``offered``: frames a second that pacing and the gate want looked at, also of a camera that is
    paused here; ``served``: those that a worker took, whatever came of it; ``age_s``: age of its
    newest result, None before the first; ``max_age_s``: its promise, None without one;
    ``priority``: its weight, above 0; ``scales``: whether its input may be made smaller; ``late``:
    frames a second that were not looked at since they could not have been in time.
    """

    offered: float
    served: float
    age_s: float | None = None
    max_age_s: float | None = None
    priority: float = 1.0
    scales: bool = True
    late: float = 0.0

    @staticmethod
    def between(
        before: Ledger,
        now: Ledger,
        seconds: float,
        *,
        age_s: float | None,
        max_age_s: float | None,
        priority: float,
        scales: bool = True,
    ) -> CameraReading:
        """What two ledgers of a camera, so many seconds apart, say; the rest as it is given."""
        offered = _wanted(now) - _wanted(before)
        unserved = sum(now.dropped.get(w, 0) - before.dropped.get(w, 0) for w in _UNSERVED)
        served = max(0, offered - unserved)
        late = now.dropped.get(_LATE, 0) - before.dropped.get(_LATE, 0)
        return CameraReading(
            offered / seconds, served / seconds, age_s, max_age_s, priority, scales, late / seconds
        )  # fmt: skip

    def least(self, floor: float) -> float:
        """Detections a second that it is to get of a floor, by its priority and what it offers."""
        return min(self.offered, floor * min(1.0, self.priority))

    @property
    def is_late(self) -> bool:
        """Whether much of what it loses is refused since it could not be in time.

        Not most: while one of its frames is looked at, however late, others wait in vain.
        """
        return self.late > 0 and self.late >= 0.25 * (self.offered - self.served)

    def suffers(self, floor: float, *, busy: bool) -> bool:
        """Whether it loses frames for want of workers, and by that its floor or its freshness.

        It is not fresh when its newest result is older than it promises and than two looks at the
        rate of ``floor`` are apart: between two looks the newest one ages, however young it came.
        ``busy``: so are the workers.
        """
        if self.served >= KEPT * self.offered or not (busy or self.is_late):
            return False
        if self.age_s is not None and self.max_age_s is not None:
            apart_s = 2 / (floor * min(1.0, self.priority))
            if self.age_s > max(self.max_age_s, apart_s):
                return True
        return self.served < KEPT * self.least(floor)


def _wanted(ledger: Ledger) -> int:
    """Frames so far that were to be looked at.

    Those whose faces were to be predicted are not, nor are those that never came here.
    """
    filled = ledger.settled.get("tracked", 0) + ledger.dropped.get(("infer", "fill_full"), 0)
    never = sum(ledger.dropped.get(("capture", why), 0) for why in ("not_decoded", "ring_full"))
    return ledger.captured - ledger.skipped - filled - never


@dataclass(frozen=True, slots=True)
class Reading:
    """All cameras at the instant ``at`` (monotonic seconds).

    ``busy``: share of the last seconds that the workers were busy, as many of them as there are
    cameras at most, 0 to 1; ``capacity``:
    detections a second that all of them together do at the input size of now while they are
    busy, from measured service times; None while nothing was measured.
    """

    at: float
    cameras: Mapping[str, CameraReading]
    busy: float
    capacity: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now. ``scale``: factor of the input size; ``paused``: cameras not looked at.

    ``level`` is 0 when nothing is given up and grows by one with every step; ``reason`` says in
    words why this step was taken last, empty at the start.
    """

    scale: float = 1.0
    paused: frozenset[str] = frozenset()
    reason: str = field(default="", compare=False)

    @property
    def level(self) -> int:
        """How many steps are taken."""
        return SCALES.index(self.scale) + len(self.paused)


class Overload:
    """Answers the step to be on; feed it about once a second.

    Two changes are never closer than ``every_s``. A step down needs one camera that suffers in
    every reading for ``patience_s``: of many, one or the other has bad luck at any time. A step up
    needs none that suffers for ``calm_s`` and room by prediction, or ``probe_s`` of calm without;
    both times double with each that failed, up to a bound, until one holds for ``probe_s``.
    ``floor``: detections a second of each camera that are defended. Raises ``ValueError`` when a
    number is not above 0.
    """

    def __init__(
        self,
        *,
        floor: float = FLOOR,
        patience_s: float = 5.0,
        calm_s: float = 10.0,
        every_s: float = 10.0,
        probe_s: float = 60.0,
    ) -> None:
        """Nothing is given up at first."""
        if min(floor, patience_s, calm_s, every_s, probe_s) <= 0:
            raise ValueError("the floor and the times of Overload are above 0")
        self._floor = floor
        self._patience_s = patience_s
        self._calm_s = calm_s
        self._every_s = every_s
        self._probe_s = probe_s
        self._backoff: dict[int, float] = {}  # by the level of a step up that has failed
        self._step = Step()
        self._changed_at: float | None = None
        self._suffers_since: dict[str, float] = {}
        self._calm_since: float | None = None
        self._tried_at: float | None = None  # when the last step up was, until it has held
        # What those got, and all together, for whom the last step down was.
        self._stepped_for: dict[str, tuple[float, float]] = {}
        self._helpless: dict[str, float] = {}  # since when

    @property
    def step(self) -> Step:
        """The step now."""
        return self._step

    def update(self, reading: Reading) -> Step:
        """Hear how it goes, and answer the step from now on."""
        at = reading.at
        gone = self._step.paused - reading.cameras.keys()
        if gone:
            why = f"{', '.join(sorted(gone))} is not there any more"
            self._step = Step(self._step.scale, self._step.paused - gone, why)
        active = {n: c for n, c in reading.cameras.items() if n not in self._step.paused}
        busy = reading.busy >= BUSY
        suffering = {n for n, c in active.items() if c.suffers(self._floor, busy=busy)}
        self._helpless = {
            name: since for name, since in self._helpless.items()
            if name in suffering and at - since < FORGIVEN_S
        }  # fmt: skip
        suffering -= self._helpless.keys()
        self._suffers_since = {n: self._suffers_since.get(n, at) for n in sorted(suffering)}
        if suffering:
            self._calm_since = None
        else:
            self._calm_since = at if self._calm_since is None else self._calm_since
        if not busy and not self._step.level:
            self._backoff.clear()
        if self._tried_at is not None and at - self._tried_at >= self._probe_s:
            self._tried_at = None  # it has held
            self._backoff.pop(self._step.level, None)
        if self._changed_at is not None and at - self._changed_at < self._every_s:
            return self._step
        lasting = [n for n, since in self._suffers_since.items() if at - since >= self._patience_s]
        in_vain = [n for n in lasting if self._was_in_vain(n, reading)]
        self._helpless |= dict.fromkeys(in_vain, at)
        if lasting := [name for name in lasting if name not in in_vain]:
            self._down(reading, active, lasting)
        elif self._calm_since is not None and self._step.level:
            self._up(reading, at - self._calm_since)
        return self._step

    def _was_in_vain(self, name: str, reading: Reading) -> bool:
        """Whether the last step down was taken for a camera, and helped others or nobody.

        Where all get less than before there is still more to do, and nothing is said of the step.
        """
        camera, (before, total) = reading.cameras[name], self._stepped_for.get(name, (-1.0, 0.0))
        helped = camera.served >= HELPED * before + 0.1
        return before >= 0 and not helped and (camera.is_late or _served(reading) > HELPED * total)

    def _change(self, at: float, step: Step) -> None:
        self._step = step
        self._changed_at = at
        self._suffers_since, self._calm_since = {}, None  # judge the new step by itself

    def _down(
        self, reading: Reading, active: Mapping[str, CameraReading], suffering: list[str]
    ) -> None:
        if self._tried_at is not None:  # what was tried did not hold
            level = self._step.level
            self._backoff[level] = min(2 * self._backoff.get(level, 1.0), MOST_BACKOFF)
            self._tried_at = None
        total = _served(reading)
        self._stepped_for = {name: (active[name].served, total) for name in suffering}
        worst = active[suffering[0]]
        why = (
            f"{suffering[0]} gets {worst.served:.1f} of {worst.offered:.1f} detections a second"
            + (f" and {len(suffering) - 1} more suffer" if len(suffering) > 1 else "")
        )
        step = self._step
        if step.scale > SCALES[-1] and _any_scales(active):
            scale = SCALES[SCALES.index(step.scale) + 1]
            self._change(reading.at, Step(scale, step.paused, why))
            return
        # The least first; of equals, the last by name. As many as it takes, one at least.
        order = sorted(sorted(active, reverse=True), key=lambda name: active[name].priority)
        left = dict(active)
        for name in order[:-1]:
            del left[name]
            if reading.capacity is None or self._fits(left, reading.capacity, room=1.0):
                break
        paused = reading.cameras.keys() - left.keys()
        if paused != step.paused:
            self._change(reading.at, Step(step.scale, frozenset(paused), why))

    def _up(self, reading: Reading, calm_s: float) -> None:
        step, paused = self._step, self._step.paused
        scale = step.scale
        if paused:
            cameras = reading.cameras
            first = max(sorted(paused), key=lambda name: cameras[name].priority)
            paused = paused - {first}
        else:
            scale = SCALES[SCALES.index(step.scale) - 1]
        active = {n: c for n, c in reading.cameras.items() if n not in paused}
        capacity = reading.capacity
        if capacity is not None and _any_scales(active):
            capacity *= (step.scale / scale) ** 2  # time grows with the pixels at most
        fits = capacity is not None and self._fits(active, capacity, room=ROOM)
        asked = sum(camera.offered for camera in active.values())
        if capacity is not None and capacity * KEPT >= ROOMY * asked:
            self._backoff.clear()
        longer = self._backoff.get(Step(scale, paused).level, 1.0)
        if calm_s >= longer * (self._calm_s if fits else self._probe_s):
            why = "there is room again" if fits else f"tried after {calm_s:.0f} s of calm"
            self._stepped_for = {}
            self._tried_at = reading.at
            self._change(reading.at, Step(scale, paused, why))

    def _fits(self, cameras: Mapping[str, CameraReading], capacity: float, *, room: float) -> bool:
        """Whether each camera gets ``room`` times its floor, or all it offers, by weight."""
        got = shares(capacity * KEPT, {n: (c.offered, c.priority) for n, c in cameras.items()})
        return all(
            got[name] >= camera.least(room * self._floor) * (1 - 1e-9)
            for name, camera in cameras.items()
        )


def _served(reading: Reading) -> float:
    return sum(camera.served for camera in reading.cameras.values())


def _any_scales(cameras: Mapping[str, CameraReading]) -> bool:
    """Whether a smaller input would make anything quicker."""
    return any(camera.scales for camera in cameras.values())


def shares(capacity: float, wanted: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """What each gets of ``capacity`` by weight, nobody more than wanted (weighted max-min).

    ``wanted`` is (most, weight) by name; weights are above 0. This is what
    :class:`streamer.inference.scheduling.FairShare` does in the long run.
    """
    got: dict[str, float] = {}
    left, weights = max(0.0, capacity), sum(weight for _, weight in wanted.values())
    for name, (most, weight) in sorted(wanted.items(), key=lambda w: w[1][0] / w[1][1]):
        got[name] = min(most, left * weight / weights) if weights > 0 else 0.0
        left -= got[name]
        weights -= weight
    return got
