"""Cameras and workers in simulated time, around a real fan with a real order.

No thread runs: where a worker would wait, the fan raises instead, and the worker is asked again
when something happened or the time it named has come.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from streamer.flow.fan import FanIn, Lane
from streamer.flow.order import Label, Order, Terms
from streamer.inference.scheduling import FairShare


class Item(NamedTuple):
    camera: str
    born_at: float
    kind: Hashable = None


@dataclass(frozen=True)
class Served:
    """One item that a worker looked at, with ``size`` items together.

    It was expected to take ``expected_s``; without ``believed`` it was tried in order to learn.
    """

    camera: str
    born_at: float
    began_at: float
    ended_at: float
    expected_s: float
    believed: bool
    size: int


class WouldWait(Exception):
    """A worker has nothing to do for so many seconds, or (None) until something happens."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout


class _NoWait:
    """In the place of the fan's condition."""

    def wait(self, timeout: float | None = None) -> None:
        raise WouldWait(timeout)

    def notify(self, n: int = 1) -> None:
        pass

    notify_all = notify


@dataclass
class Simulation:
    """``workers`` that serve up to ``most`` at once; ``service(items, now)`` says how long."""

    service: Callable[[list[Item], float], float]
    order: Order
    workers: int = 1
    most: int = 1
    now: float = 0.0
    served: list[Served] = field(default_factory=list)
    lanes: dict[str, Lane[Item]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.fan: FanIn[Item] = FanIn(
            "simulated",
            order=self.order,
            label=lambda item: Label(item.born_at, item.kind),
            clock=lambda: self.now,
        )
        self.fan._ready_or_over = _NoWait()  # type: ignore[assignment]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = self._happened = 0
        self._idle = self.workers

    def at(self, instant: float, what: Callable[[], None]) -> None:
        """Have something happen."""
        self._number += 1
        heapq.heappush(self._events, (instant, self._number, what))

    def camera(
        self,
        name: str,
        instants: Iterable[float],
        *,
        weight: float = 1.0,
        max_age_s: float | None = 1.0,
        kind: Hashable = None,
        delay_s: float = 0.0,
    ) -> None:
        """A live camera that has a frame at each of these instants, offered ``delay_s`` later."""
        lane = self.fan.add_lane(
            name, capacity=1, overflow="drop_oldest", terms=Terms(weight, max_age_s)
        )
        self.lanes[name] = lane
        for instant in instants:
            item = Item(name, instant, kind)
            self.at(instant + delay_s, lambda item=item: lane.put(item))

    def run(self, until: float) -> None:
        """Let everything happen up to an instant."""
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
            if not self._events or self._events[0][0] > self.now:
                self._work()
            self._happened += 1
            if self._happened % 50 == 0:
                self.check()
        self.now = until
        self.check()

    def check(self) -> None:
        """Every ledger closes, and no camera is with two workers."""
        for lane in self.lanes.values():
            ledger = lane.ledger()
            assert ledger.closes
            assert ledger.held <= 1

    def _work(self) -> None:
        while self._idle:
            try:
                batch = self.fan._take(self.most)
            except WouldWait as wait:
                if wait.timeout is not None:
                    assert wait.timeout > 0, "it asks again at once, for ever"
                    self.at(self.now + wait.timeout, lambda: None)
                return
            assert batch is not None
            self._idle -= 1
            items = list(batch.items)
            began_at = self.now
            expected_s, believed = 0.0, True
            if isinstance(self.order, FairShare):
                expected_s = self.order.expected(items[0].kind, len(items), began_at)
                believed = self.order._faith(items[0].kind, began_at) == 1.0

            def end(
                batch=batch,
                items=items,
                began_at=began_at,
                expected_s=expected_s,
                believed=believed,
            ):
                with batch:
                    for position, item in enumerate(items):
                        batch.settle(position, "detected")
                        times = (item.born_at, began_at, self.now, expected_s, believed)
                        self.served.append(Served(item.camera, *times, len(items)))
                self._idle += 1

            self.at(self.now + self.service(items, self.now), end)

    def counts(self, since: float = 0.0, until: float = float("inf")) -> Counter[str]:
        """How many results each camera had in a span of time; all cameras are there."""
        counts = Counter(dict.fromkeys(self.lanes, 0))
        counts.update(s.camera for s in self.served if since <= s.ended_at < until)
        return counts

    def worst_age(self, camera: str, since: float, until: float) -> float:
        """The greatest age that the newest result of a camera had in a span of time, seconds."""
        results = [s for s in self.served if s.camera == camera and s.ended_at <= until]
        worst, newest = 0.0, None
        for result in results:
            if newest is not None and result.ended_at >= since:
                worst = max(worst, result.ended_at - newest)
            newest = result.born_at if newest is None else max(newest, result.born_at)
        return max(worst, until - newest) if newest is not None else float("inf")


def every(period_s: float, until: float, phase_s: float = 0.0) -> list[float]:
    """Instants on a grid."""
    return [phase_s + n * period_s for n in range(int((until - phase_s) / period_s) + 1)]


def jain(values: Iterable[float]) -> float:
    """Jain's index of fairness, 1 when all are equal (Jain, Chiu and Hawe, 1984)."""
    values = list(values)
    return sum(values) ** 2 / (len(values) * sum(v * v for v in values))
