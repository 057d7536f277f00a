"""Cameras on a machine in simulated time: which frame is looked at, and when that is told.

A minute of many cameras takes a second or two, so settings can be tried that nobody has run. What
decides is the real thing: :class:`streamer.inference.pacing.Pacer`, the lanes of
:class:`streamer.flow.fan.FanIn` and :class:`streamer.inference.scheduling.FairShare`. What is
simulated is time: runs take as long as runs that were measured, and the processor is shared
evenly among the threads that want it. Steps of overload, memory and other programs are not
simulated. Pure: no thread, no clock, and the same numbers always give the same run.
"""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streamer.flow.fan import Batch, FanIn, Lane
from streamer.flow.ledger import Ledger
from streamer.flow.order import FREE, Label, Terms
from streamer.inference.pacing import Pacer
from streamer.inference.scheduling import FairShare

_SETTLE_S: Final = 1e-9
"""Two instants closer than this are one: sums of seconds are not exact."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What work costs here, in seconds, and who does it.

    ``service_s``: how long runs took, by input size and size of batch, one or more of each; with
    ``on_cpu`` on ``threads`` threads, each run for one of ``workers`` that all were at work, else
    on a GPU, which the processor does not slow down. ``decode_s`` is of one picture,
    ``track_s`` of the faces found in one frame, ``predict_s`` of those expected in one that is not
    looked at, and ``publish_s`` of one event.
    ``cores`` may be a fraction (a container's share). ``max_batch`` and ``delay_s`` as in
    :class:`streamer.engine.Engine`. Raises ``ValueError`` when a number is out of range.
    """

    service_s: Mapping[int, Mapping[int, Sequence[float]]]
    cores: float = 1.0
    workers: int = 1
    threads: int = 1
    max_batch: int = 1
    delay_s: float = 0.0
    on_cpu: bool = True
    decode_s: float = 0.0
    track_s: float = 0.0
    predict_s: float = 0.0
    publish_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        times = [s for sizes in self.service_s.values() for runs in sizes.values() for s in runs]
        beside = (self.decode_s, self.track_s, self.predict_s, self.publish_s, self.delay_s)
        least = min(*beside, *times, 0.0)
        if least < 0 or not self.cores > 0 or min(self.workers, self.threads, self.max_batch) < 1:
            raise ValueError("times are at least 0, cores above 0, and the rest at least 1")
        if not all(runs for sizes in self.service_s.values() for runs in sizes.values()):
            raise ValueError("each size and batch that is named has at least one measured run")

    def runs(self, size: int, batch: int) -> tuple[Sequence[float], int]:
        """Runs measured of the next larger batch, and how many of them ``batch`` pictures take."""
        known = self.service_s[size]
        enough = min((n for n in known if n >= batch), default=max(known))
        return known[enough], -(-batch // enough)


@dataclass(frozen=True, slots=True)
class SimulatedCamera:
    """A live camera: ``fps`` frames a second, the first at ``phase_s``, and its settings.

    The settings are those of :class:`streamer.config_sections.Camera`; ``max_age_s`` is None
    without a promise (``pacing: all``).
    """

    fps: float
    size: int
    phase_s: float = 0.0
    every: int = 1
    max_fps: float | None = None
    fill: bool = True
    max_age_s: float | None = 1.0
    priority: float = 1.0


class Look(NamedTuple):
    """An outcome: of which ``frame`` (from 0), captured and published when, found or predicted."""

    frame: int
    captured_at: float
    published_at: float
    detected: bool


@dataclass(frozen=True, slots=True)
class Simulated:
    """What became of one camera: when each frame was captured, what was told, and the ledger."""

    captured_at: Sequence[float]
    looks: Sequence[Look]
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class SimulatedRun:
    """All cameras in the order given, and the core-seconds of all work that was ended."""

    cameras: Sequence[Simulated]
    work_s: float


def simulate(
    cameras: Sequence[SimulatedCamera], machine: Machine, *, seconds: float, seed: int = 0
) -> SimulatedRun:
    """Run ``cameras`` from nothing for so many ``seconds``.

    ``seed`` chooses which of the measured runs comes when. Raises ``ValueError`` for a camera
    whose size was not measured or whose numbers are out of range, and for no cameras.
    """
    unknown = {camera.size for camera in cameras} - machine.service_s.keys()
    if unknown or not cameras:
        raise ValueError(f"cameras need sizes that were measured, and these were not: {unknown}")
    return _Simulation(cameras, machine, seed).run(seconds)


class _Item(NamedTuple):
    camera: int
    frame: int
    captured_at: float
    looks: bool


class _WouldWait(Exception):
    """A worker has nothing to do for so many seconds, or (None) until something happens."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout


class _NeverWaits(threading.Condition):
    """In the place of a fan's condition: there is one thread, and nobody to wait for."""

    def wait(self, timeout: float | None = None) -> bool:
        raise _WouldWait(timeout)

    def notify(self, n: int = 1) -> None:
        pass

    def notify_all(self) -> None:
        pass


class _Fan(FanIn[_Item]):
    """The real fan, asked instead of waited for."""

    def __init__(self, order: FairShare, clock: Callable[[], float]) -> None:
        def label(item: _Item) -> Label:
            return Label(item.captured_at, sizes[item.camera] if item.looks else FREE)

        self.sizes = sizes = list[int]()
        super().__init__("simulated", order=order, label=label, clock=clock)
        self._ready_or_over = _NeverWaits(self._lock)

    def ask(self, most: int) -> Batch[_Item] | float | None:
        """A batch; or the seconds after which to ask again; or None, when something happened."""
        try:
            return self._take(most)
        except _WouldWait as wait:
            return wait.timeout


class _Processor:
    """Cores shared evenly by the threads that want one (egalitarian processor sharing).

    Every thread advances at the same rate, so one virtual clock is enough: it runs at that rate,
    and a piece of work is done when the clock has gone on by its seconds.
    """

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._work: list[tuple[float, int, float, int, Callable[[], None]]] = []
        self._threads = 0
        self._virtual = 0.0
        self._now = 0.0
        self._number = 0
        self.done_s = 0.0

    def begin(self, now: float, seconds: float, threads: int, then: Callable[[], None]) -> None:
        self._go_to(now)
        self._number += 1
        done_at = self._virtual + seconds
        heapq.heappush(self._work, (done_at, self._number, seconds, threads, then))
        self._threads += threads

    def _rate(self) -> float:
        return min(1.0, self._cores / self._threads)

    def _go_to(self, now: float) -> None:
        if self._threads:
            self._virtual += (now - self._now) * self._rate()
        self._now = now

    def next_at(self) -> float | None:
        """When the next piece of work is done, if nothing else begins."""
        if not self._work:
            return None
        return self._now + max(0.0, self._work[0][0] - self._virtual) / self._rate()

    def finish(self, now: float) -> list[Callable[[], None]]:
        """Go on to ``now``; what follows the pieces of work that are done by then."""
        self._go_to(now)
        after = []
        while self._work and self._work[0][0] <= self._virtual + _SETTLE_S:
            _, _, seconds, threads, then = heapq.heappop(self._work)
            self._threads -= threads
            self.done_s += seconds * threads
            after.append(then)
        return after


@dataclass(slots=True)
class _Camera:
    """One camera while it runs. ``base_s`` moves when its thread falls behind, as Pace does."""

    plan: SimulatedCamera
    lane: Lane[_Item]
    pacer: Pacer
    base_s: float
    captured_at: list[float] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)


class _Simulation:
    def __init__(self, cameras: Sequence[SimulatedCamera], machine: Machine, seed: int) -> None:
        self._machine = machine
        self._random = random.Random(seed)  # noqa: S311 - nothing to be kept secret
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._idle = machine.workers
        self._processor = _Processor(machine.cores)
        self._fan = _Fan(FairShare(delay_s=machine.delay_s), lambda: self._now)
        self._cameras = []
        for number, plan in enumerate(cameras):
            if not plan.fps > 0 or plan.phase_s < 0:
                raise ValueError("fps is above 0, and the first frame not before the beginning")
            terms = Terms(plan.priority, plan.max_age_s)
            lane = self._fan.add_lane(str(number), capacity=1, overflow="drop_oldest", terms=terms)
            self._fan.sizes.append(plan.size)
            pacer = Pacer(every=plan.every, max_fps=plan.max_fps)
            self._cameras.append(_Camera(plan, lane, pacer, plan.phase_s))
            self._at(plan.phase_s, self._decode(number))

    def run(self, seconds: float) -> SimulatedRun:
        while True:
            event_at = self._events[0][0] if self._events else None
            done_at = self._processor.next_at()
            now = min(at for at in (event_at, done_at, seconds) if at is not None)
            if now >= seconds:
                break
            self._now = now
            for then in self._processor.finish(now):
                then()
            while self._events and self._events[0][0] <= now:
                heapq.heappop(self._events)[2]()
            self._serve()
        return SimulatedRun(
            [Simulated(c.captured_at, c.looks, c.lane.ledger()) for c in self._cameras],
            self._processor.done_s,
        )

    def _at(self, instant: float, what: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (max(instant, self._now), self._number, what))

    def _work(self, seconds: float, then: Callable[[], None], *, threads: int = 1) -> None:
        self._processor.begin(self._now, seconds, threads, then)

    def _decode(self, number: int) -> Callable[[], None]:
        """The packet of a camera's next picture is there."""
        return lambda: self._work(self._machine.decode_s, lambda: self._captured(number))

    def _captured(self, number: int) -> None:
        camera, now = self._cameras[number], self._now
        frame, step_s = len(camera.captured_at), 1.0 / camera.plan.fps
        camera.captured_at.append(now)
        looks = camera.pacer.wants(now)
        if looks or camera.plan.fill:
            camera.lane.put(_Item(number, frame, now, looks))
        else:
            camera.lane.skip()
        due_at = camera.base_s + (frame + 1) * step_s
        if now - due_at > step_s:  # too far behind to catch up: no burst, the rest comes later
            camera.base_s += now - due_at
            due_at = now
        self._at(due_at, self._decode(number))

    def _serve(self) -> None:
        """Give idle workers what is ready."""
        while self._idle:
            batch = self._fan.ask(self._machine.max_batch)
            if isinstance(batch, float):
                self._at(self._now + batch, lambda: None)  # to be asked again then
            if not isinstance(batch, Batch):
                return
            self._idle -= 1
            self._begin(batch)

    def _begin(self, batch: Batch[_Item]) -> None:
        machine, items = self._machine, batch.items
        looks = items[0].looks  # as all of them: a batch is of one kind
        track_s = len(items) * (machine.track_s if looks else machine.predict_s)

        def end() -> None:
            with batch:
                for position, item in enumerate(items):
                    batch.settle(position, "detected" if item.looks else "tracked")
                    self._publish(item)
            self._idle += 1

        def track() -> None:
            self._work(track_s, end)

        if not looks:
            track()
            return
        runs, count = machine.runs(self._cameras[items[0].camera].plan.size, len(items))
        seconds = sum(self._random.choice(runs) for _ in range(count))
        if machine.on_cpu:
            self._work(seconds, track, threads=machine.threads)
        else:
            self._at(self._now + seconds, track)

    def _publish(self, item: _Item) -> None:
        def told() -> None:
            camera = self._cameras[item.camera]
            camera.looks.append(Look(item.frame, item.captured_at, self._now, item.looks))

        self._work(self._machine.publish_s, told)
