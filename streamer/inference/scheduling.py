"""What inference looks at next: fair shares of its time, and nothing that would come too late.

A rule over what is true and nothing that is declared: what waits, how old it is and how long runs
took. It is an :class:`streamer.flow.order.Order`: pure, told the instant, guarded by its fan.

* Fairness is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) over the service
  received: a lane is charged the time it took of a worker, divided by its weight, and whoever has
  been charged least is next. A lane that has nothing waiting saves nothing up meanwhile. Time is
  counted as if the load were the same at all times: who was served while there was little else to
  do is not held to be cheaper than who came later.
* The deadline counts from capture: what cannot be done in time is dropped before the work
  (Nexus, SOSP 2019), and its lane is charged nothing.
* What costs nothing (the kind ``FREE``) goes first and is charged nothing.
* Where batches pay, a batch may wait a little for company, and never longer than lets the
  earliest deadline be kept (Symphony, arXiv 2308.07470).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Final

from streamer.flow.order import FREE, Choice, W
from streamer.inference.service import ServiceTimes

PUBLISH_MARGIN_S: Final = 0.02
"""Kept for tracking and publishing, which take a millisecond or two and now and then ten."""

BELIEVED_S: Final = 1.0
"""How long a service time is believed that refuses items while no run measures it anew."""

HALF_LIFE_S: Final = 0.25
"""And how long it takes to halve after that: a time of a minute lets an item be tried in 2.5 s."""

_TURNS: Final = 31  # of a lane: the median of these is what it is charged
_FIRST_COST_S: Final = 0.02
_PRESUMED: Final = 5  # turns that count at least: those that a new lane lacks were as usual


class _Account:
    """What a lane was charged, and what it will be."""

    __slots__ = ("charged_s", "cost_s", "costs", "kind")

    def __init__(self, charged_s: float, cost_s: float) -> None:
        self.charged_s = charged_s  # seconds of service, divided by the weight
        self.cost_s = cost_s
        self.costs: deque[float] = deque(maxlen=_TURNS)
        self.kind: Hashable = None  # of what a worker holds


class FairShare:
    """Gives each lane its share of the workers' time and keeps its promise of age.

    While lanes have items, their shares are as their weights, whatever their rates: between two
    turns of a lane that waits, another with the same cost gets at most their weights' ratio and
    one more. A lane whose ``max_age_s`` is None never loses anything here.
    """

    def __init__(self, *, delay_s: float = 0.0, margin_s: float = PUBLISH_MARGIN_S) -> None:
        """``delay_s``: longest wait for company in a batch; 0 on a CPU, where it gains nothing.

        ``margin_s`` is kept free between the end of the service and the deadline. Raises
        ``ValueError`` when one of them is negative.
        """
        if delay_s < 0 or margin_s < 0:
            raise ValueError(f"delay_s and margin_s are at least 0, not {delay_s} and {margin_s}")
        self._delay_s = delay_s
        self._margin_s = margin_s
        self.times = ServiceTimes()
        self._turn = 0.0  # what the lane served last had been charged before
        self._delayed_since: float | None = None
        self._refused_since: dict[Hashable, float] = {}

    def expected(self, kind: Hashable, size: int, now: float) -> float:
        """Seconds held for ``size`` items of a kind; 0 before any was measured.

        A time by which items were refused, with no run since to measure it anew, is believed for
        a second and then halves in every quarter of one, until an item is tried. Else it would be
        held for ever, right or wrong.
        """
        return self.times.expected(kind, size) * self._faith(kind, now)

    def _faith(self, kind: Hashable, now: float) -> float:
        since = self._refused_since.get(kind)
        if since is None or now - since <= BELIEVED_S:
            return 1.0
        return math.exp2(-(now - since - BELIEVED_S) / HALF_LIFE_S)

    def choose(self, ready: Collection[W], most: int, now: float, lanes: int) -> Choice[W]:
        """Serve the lanes charged least, all of one kind; drop what can not be in time."""
        drop: list[tuple[W, str]] = []
        free: list[W] = []
        queue: list[tuple[float, int, W]] = []
        soonest = now + self._margin_s
        in_time: dict[Hashable, float] = {}  # by kind, when the service of one would be over
        turn = self._turn
        for position, lane in enumerate(ready):
            terms = lane.terms
            account = lane.notes
            if account is None:
                cost_s = self.times.usual(lane.label.kind) or self._usual_cost(ready)
                account = lane.notes = _Account(turn, cost_s)
            if terms.max_age_s is not None:
                born_at, kind = lane.label
                over_at = soonest if kind is FREE else in_time.get(kind)
                if over_at is None:
                    over_at = soonest + self.times.one(kind) * self._faith(kind, now)
                    in_time[kind] = over_at
                if over_at > born_at + terms.max_age_s:
                    if kind is not FREE:
                        self._refused_since.setdefault(kind, now)
                    drop.append((lane, "fill_full" if kind is FREE else "deadline"))
                    continue
            if lane.label.kind is FREE:
                free.append(lane)
                continue
            # Nothing is saved up while nothing waits, and what is owed is never forgiven.
            queue.append((max(account.charged_s, turn), position, lane))
        if free:  # first, since they cost nothing and what comes behind them waits for them
            for lane in free[:most]:
                lane.notes.kind = FREE
            return Choice(free[:most], drop)
        if not queue:
            return Choice(drop=drop)
        if most == 1:
            return self._serve([min(queue)], drop)
        queue.sort()
        kind = queue[0][2].label.kind
        queue = [entry for entry in queue if entry[2].label.kind == kind][:most]
        until = self._wait_for_more(queue, most, now, lanes)
        if until is not None:
            return Choice(drop=drop, until=until)
        return self._serve(queue[: self._fitting(queue, now)], drop)

    def _serve(
        self, chosen: Sequence[tuple[float, int, W]], drop: Sequence[tuple[W, str]]
    ) -> Choice[W]:
        self._delayed_since = None
        self._turn = max(self._turn, chosen[0][0])
        for start, _, lane in chosen:
            account = lane.notes
            account.charged_s = start + account.cost_s / lane.terms.weight
            account.kind = lane.label.kind
        return Choice([lane for _, _, lane in chosen], drop)

    def _fitting(self, queue: Sequence[tuple[float, int, W]], now: float) -> int:
        """How many of the first can be served together with none of them late; at least 1."""
        kind = queue[0][2].label.kind
        deadline, fitting = math.inf, 1
        for size, (_, _, lane) in enumerate(queue, 1):
            deadline = min(deadline, _deadline(lane))
            if now + self.expected(kind, size, now) + self._margin_s <= deadline:
                fitting = size
        return fitting

    def _wait_for_more(
        self, queue: Sequence[tuple[float, int, W]], most: int, now: float, lanes: int
    ) -> float | None:
        """Until when to wait for more of this kind; None to begin at once."""
        kind, size = queue[0][2].label.kind, len(queue)
        if not self._delay_s or size >= min(most, lanes) or not self.times.pays(kind):
            return None
        if self._delayed_since is None:
            self._delayed_since = now
        deadline = min(_deadline(lane) for _, _, lane in queue)
        last = deadline - self._margin_s - self.expected(kind, size + 1, now)
        until = min(self._delayed_since + self._delay_s, last)
        return until if until > now else None

    def ended(self, served: Sequence[W], seconds: float, now: float) -> None:  # noqa: ARG002
        """Learn from what a worker has done, and what to charge these lanes from now on."""
        kind = served[0].notes.kind
        if kind is FREE:
            return
        if self._refused_since.pop(kind, None) is not None and seconds < self.times.one(kind) / 2:
            self.times.forget(kind)  # it was wrong, or the load that made it so is gone
        self.times.measured(kind, len(served), seconds)
        cost_s = seconds / len(served) / self.times.load
        for lane in served:
            account = lane.notes
            account.costs.append(cost_s)
            # One bad turn at the start is not held against it.
            usual_s = self.times.usual(kind) or account.cost_s
            costs = sorted([*account.costs, *[usual_s] * (_PRESUMED - len(account.costs))])
            account.cost_s = costs[len(costs) // 2]

    @staticmethod
    def _usual_cost(ready: Iterable[W]) -> float:
        """What a lane of a kind that was never served is charged: as the dearest of the others."""
        costs = (lane.notes.cost_s for lane in ready if lane.notes is not None)
        return max(costs, default=_FIRST_COST_S)


def _deadline(lane: W) -> float:
    """When the oldest item of a lane has to be done, in seconds of its label's clock."""
    limit = lane.terms.max_age_s
    return math.inf if limit is None else lane.label.born_at + limit
