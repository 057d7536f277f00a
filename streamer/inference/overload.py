"""What to give up while there is too much to do for long, in what order, and when to take it back.

Pure: it is fed readings and answers the step to be on. The order is stated and never changes:

1. The rate of detection falls by itself, fairly, since cameras share what there is. Nothing to
   decide, as long as each camera gets ``floor`` detections a second and keeps its promise of age.
2. The input size: 1, 0.75, 0.5 of what was asked for, of cameras that need not cover faces: a
   smaller input misses faces, and a face that is missed is bare.
3. Cameras are paused, the least ``priority`` first and one of them never.

Steps are taken back in the reverse order. Whether the step above fits is predicted from what is
measured now and the number of pixels, never from a time held since the overload: that would keep
the step for ever once it was held too long. A prediction may be too dark all the same, so a step
is also tried now and then when all is well, and ever more seldom while that fails.
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
it is the network that brings frames in heaps, or a model that fails on them."""

_UNSERVED: Final = (("infer", "queue_full"), ("infer", "deadline"), ("capture", "overload"))


@dataclass(frozen=True, slots=True)
class CameraReading:
    """One camera over the last seconds.

    ``offered``: frames a second that pacing and the gate want looked at, also of a camera that is
    paused here; ``served``: those that a worker took, whatever came of it; ``age_s``: age of its
    newest result, None before the first; ``max_age_s``: its promise, None without one;
    ``priority``: its weight, above 0; ``scales``: whether its input may be made smaller.
    """

    offered: float
    served: float
    age_s: float | None = None
    max_age_s: float | None = None
    priority: float = 1.0
    scales: bool = True

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
        return CameraReading(
            offered / seconds, served / seconds, age_s, max_age_s, priority, scales
        )  # fmt: skip

    def suffers(self, floor: float) -> bool:
        """Whether it loses frames, and by that its floor or its promise of age."""
        if self.served >= KEPT * self.offered:
            return False
        if self.age_s is not None and self.max_age_s is not None and self.age_s > self.max_age_s:
            return True
        return self.served < KEPT * min(self.offered, floor)


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

    ``busy``: share of the last seconds that the workers were busy, 0 to 1; ``capacity``:
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
    needs none that suffers for ``calm_s`` and room by prediction, or ``probe_s`` of calm without
    (twice as long after each that failed, at most an hour). ``floor``: detections a second of each
    camera that are defended. Raises ``ValueError`` when a number is not above 0.
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
        self._first_probe_s = self._probe_s = probe_s
        self._step = Step()
        self._changed_at: float | None = None
        self._suffers_since: dict[str, float] = {}
        self._calm_since: float | None = None
        self._probing = False

    @property
    def step(self) -> Step:
        """The step now."""
        return self._step

    def update(self, reading: Reading) -> Step:
        """Hear how it goes, and answer the step from now on."""
        at = reading.at
        gone = self._step.paused - reading.cameras.keys()
        if gone:
            self._step = Step(self._step.scale, self._step.paused - gone, self._step.reason)
        active = {n: c for n, c in reading.cameras.items() if n not in self._step.paused}
        busy = reading.busy >= BUSY
        suffering = sorted(n for n, c in active.items() if busy and c.suffers(self._floor))
        self._suffers_since = {name: self._suffers_since.get(name, at) for name in suffering}
        if suffering:
            self._calm_since = None
        else:
            self._calm_since = at if self._calm_since is None else self._calm_since
        if self._calm_since is not None and at - self._calm_since >= self._calm_s:
            self._probing = False  # what was tried, if it was, holds
        if self._changed_at is not None and at - self._changed_at < self._every_s:
            return self._step
        lasting = [n for n, since in self._suffers_since.items() if at - since >= self._patience_s]
        if lasting:
            self._down(reading, active, lasting)
        elif self._calm_since is not None and self._step.level:
            self._up(reading, at - self._calm_since)
        return self._step

    def _change(self, at: float, step: Step) -> None:
        self._step = step
        self._changed_at = at
        self._suffers_since, self._calm_since = {}, None  # judge the new step by itself

    def _down(
        self, reading: Reading, active: Mapping[str, CameraReading], suffering: list[str]
    ) -> None:
        if self._probing:  # what was tried did not hold
            self._probe_s = min(2 * self._probe_s, 3600.0)
            self._probing = False
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
        if fits and calm_s >= self._calm_s:
            self._probe_s = self._first_probe_s
            self._change(reading.at, Step(scale, paused, "there is room again"))
        elif not fits and calm_s >= self._probe_s:
            self._probing = True
            self._change(reading.at, Step(scale, paused, f"tried after {calm_s:.0f} s of calm"))

    def _fits(self, cameras: Mapping[str, CameraReading], capacity: float, *, room: float) -> bool:
        """Whether each camera gets ``room`` times its floor, or all it offers, by weight."""
        got = shares(capacity * KEPT, {n: (c.offered, c.priority) for n, c in cameras.items()})
        return all(
            got[name] >= min(camera.offered, room * self._floor) * (1 - 1e-9)
            for name, camera in cameras.items()
        )


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
