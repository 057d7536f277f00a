"""From measured points to "so many cameras", and to what stands in the way of one more. Pure.

A point is so many cameras run for some seconds. It passes when 95 of 100 events were there within
the limit and no frame was lost that should have been looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

MOST_DROPPED: Final = 0.01
"""Share of the frames to look at that may be lost: one in a hundred is a hiccup of the machine."""

MOST_LATE: Final = 0.03
"""Share of the frames due that may be missing at the cameras: the seam of a looped clip costs one
or two of 250."""

IDLE: Final = 0.1
"""With less of the processor idle than this share there is none left: threads wait for a core."""

MAINLY: Final = 0.6
"""A station that takes this share of our processor time is what the processor is spent on."""

OTHERS: Final = 0.25
"""Other programs that take more than this share of the processor decide the result."""

Name: TypeAlias = Literal["decode", "inference", "publish", "memory", "processor"]

_MEMORY_FAULTS: Final = ("batch_split", "input_shrunk", "out_of_memory")
_DOING: Final[Mapping[str, Name]] = {
    "decode": "decode", "inference": "inference", "publish": "publish",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured with so many cameras for ``seconds``.

    Frames: ``due`` at the cameras' own rate, ``captured``, ``wanted`` (captured and not skipped by
    ``every`` or ``max_fps``), ``detected``, and ``dropped`` by "stage/reason"; ``events_lost``
    found no room on the way to the publisher. ``p50_ms``, ``p95_ms`` and ``p99_ms`` are from
    capture to the event's end, over all cameras; ``wait_ms``, ``infer_ms`` and ``publish_ms`` are
    means by station (None: there was no event). ``used`` is processor time by station (decode,
    inference, publish, other), ``others`` that of other programs, ``cores`` what there is, all in
    cores. ``memory`` is the most the process had and ``memory_free`` what was left, bytes.
    ``faults`` counts what went wrong in runs of the model, by kind. ``problem`` says why nothing
    could be measured; ``short_of_memory`` that it was for want of memory.
    """

    cameras: int
    seconds: float = 0.0
    due: int = 0
    captured: int = 0
    wanted: int = 0
    detected: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    events_lost: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    wait_ms: float | None = None
    infer_ms: float | None = None
    publish_ms: float | None = None
    used: Mapping[str, float] = field(default_factory=dict)
    others: float = 0.0
    cores: float = 1.0
    memory: int = 0
    memory_free: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    model: str = ""
    provider: str = ""
    device_warning: str = ""
    problem: str = ""
    short_of_memory: bool = False

    @property
    def dropped_share(self) -> float:
        """Share of the frames to look at that were dropped, 0 to 1; 0 when there were none."""
        return min(1.0, sum(self.dropped.values()) / self.wanted) if self.wanted else 0.0

    @property
    def late_share(self) -> float:
        """Share of the frames due that the cameras did not give, 0 to 1.

        One frame of each camera is forgiven, since a reading falls between two frames.
        """
        missing = self.due - self.captured - self.cameras
        return max(0.0, missing / self.due) if self.due else 0.0

    @property
    def lost_share(self) -> float:
        """Share of the events that found no room on the way to the publisher, 0 to 1."""
        return min(1.0, self.events_lost / self.detected) if self.detected else 0.0

    @property
    def idle_share(self) -> float:
        """Share of the processor that nobody used, 0 to 1."""
        busy = sum(self.used.values()) + self.others
        return max(0.0, 1.0 - busy / self.cores)


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What stands in the way of one more camera, and the figures that say so, as a sentence."""

    name: Name
    reason: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """``cameras`` fit (0: not even one). ``passed`` is their point, ``failed`` the least too many.

    Without ``failed`` the search ended at the most cameras it was to try, and more may fit.
    """

    cameras: int
    passed: Point | None
    failed: Point | None
    bottleneck: Bottleneck | None

    @property
    def more_may_fit(self) -> bool:
        """Whether nothing was found that is too much."""
        return self.failed is None


def shortcomings(point: Point, limit_ms: float) -> list[str]:
    """Why a point does not pass, as phrases; empty when it does. ``limit_ms`` is for the p95."""
    if point.problem:
        return [point.problem]
    found = []
    if point.p95_ms is None:
        found.append("no event came")
    elif point.p95_ms >= limit_ms:
        found.append(f"p95 of {point.p95_ms:.0f} ms is not under {limit_ms:g} ms")
    for share, most, what in (
        (point.dropped_share, MOST_DROPPED, "of the frames to look at were dropped"),
        (point.late_share, MOST_LATE, "of the frames due did not come in time"),
        (point.lost_share, MOST_DROPPED, "of the events were lost before they were published"),
    ):
        if share > most:
            found.append(f"{share:.0%} {what}")
    return found


def judge(points: Sequence[Point], limit_ms: float) -> Capacity:
    """How many cameras fit, by all that was measured; ``limit_ms`` is for the p95, milliseconds.

    A larger number that passed although a smaller one failed was luck and does not count.
    """
    failing = [point for point in points if shortcomings(point, limit_ms)]
    failed = min(failing, key=lambda point: point.cameras, default=None)
    passing = [
        point
        for point in points
        if point not in failing and (failed is None or point.cameras < failed.cameras)
    ]
    passed = max(passing, key=lambda point: point.cameras, default=None)
    return Capacity(
        cameras=passed.cameras if passed else 0,
        passed=passed,
        failed=failed,
        bottleneck=None if failed is None else bottleneck(failed),
    )


def bottleneck(point: Point) -> Bottleneck:
    """What a point that does not pass is short of.

    Memory and lost events speak for themselves. Where the processor is used up it is what most of
    it goes to, or the processor itself when that is other programs or no station alone. Where
    some is idle: decoding when the cameras fall behind, inference when frames are dropped before
    it, else the station that takes the most time.
    """
    if point.short_of_memory:
        return Bottleneck("memory", point.problem or "memory ran out")
    short = [f"{kind} {point.faults[kind]}" for kind in _MEMORY_FAULTS if point.faults.get(kind)]
    if short:
        return Bottleneck("memory", f"the device had no room for the model ({', '.join(short)})")
    if point.problem:
        return Bottleneck("processor", point.problem)
    if point.lost_share > MOST_DROPPED:
        return Bottleneck("publish", f"{point.lost_share:.0%} of the events found no room")
    if point.idle_share < IDLE:
        return _spent(point)
    idle = f"{point.idle_share:.0%} of the processor was idle"
    if point.late_share > MOST_LATE:
        return Bottleneck("decode", f"a camera's thread did not keep up, and {idle}")
    if point.dropped_share > MOST_DROPPED or point.publish_ms is None:
        return Bottleneck("inference", f"frames came faster than {point.provider} ran, and {idle}")
    before = (point.wait_ms or 0.0) + (point.infer_ms or 0.0)
    if point.publish_ms > before:
        return Bottleneck("publish", f"{point.publish_ms:.0f} ms on average, and {idle}")
    return Bottleneck("inference", f"{before:.0f} ms on average with the wait for it, and {idle}")


def _spent(point: Point) -> Bottleneck:
    """Of a point that left no processor idle: what it was spent on."""
    if point.others > OTHERS * point.cores:
        return Bottleneck(
            "processor", f"other programs took {point.others:.1f} of {point.cores:g} cores"
        )
    ours = sum(point.used.values())
    station, used = max(point.used.items(), key=lambda item: item[1], default=("other", 0.0))
    if station in _DOING and used >= MAINLY * ours:
        return Bottleneck(
            _DOING[station], f"it took {used:.1f} of {point.cores:g} cores, and none was idle"
        )
    shares = ", ".join(f"{name} {cores:.1f}" for name, cores in sorted(point.used.items()))
    return Bottleneck("processor", f"all {point.cores:g} cores were busy ({shares})")


def next_count(tried: Mapping[int, bool], most: int) -> int | None:
    """How many cameras to try next, 1 to ``most``; None when the answer is known.

    ``tried`` says of each number whether it passed. Doubling from 1 until one fails, then halving
    what lies between. Raises ``ValueError`` when ``most`` is below 1.
    """
    if most < 1:
        raise ValueError(f"at least one camera has to be tried, not {most}")
    too_many = min((count for count, passed in tried.items() if not passed), default=None)
    fits = max(
        (n for n, passed in tried.items() if passed and (too_many is None or n < too_many)),
        default=0,
    )
    if too_many is None:
        return None if fits >= most else min(most, max(1, 2 * fits))
    return None if too_many - fits == 1 else (fits + too_many) // 2


def memory_for(points: Sequence[Point], cameras: int) -> int | None:
    """Bytes that ``cameras`` would need, along the line through the two largest points measured.

    None when fewer than two were. Never less than what the largest took.
    """
    known = sorted((point for point in points if not point.problem), key=lambda p: p.cameras)[-2:]
    if len(known) < 2 or known[0].cameras == known[1].cameras:
        return None
    each = (known[1].memory - known[0].memory) / (known[1].cameras - known[0].cameras)
    return known[1].memory + max(0, round(each * (cameras - known[1].cameras)))


def quantile(bounds: Sequence[float], counts: Sequence[int], q: float) -> float | None:
    """The ``q`` quantile (0 to 1) of a histogram, in the unit of ``bounds``; None when empty.

    ``bounds`` are ascending upper bounds, ``counts`` per bucket with one more beyond the last.
    Straight line within a bucket, as Prometheus's histogram_quantile does, so it is exact at
    the bounds and elsewhere off by a bucket's width at most. What lies beyond the last bound
    counts as the last bound, as it does there. Raises ``ValueError`` when ``q`` is outside
    0 to 1 or the lengths do not match.
    """
    if not 0.0 <= q <= 1.0 or len(counts) != len(bounds) + 1:
        raise ValueError("a quantile is from 0 to 1, and there is one count more than bounds")
    total = sum(counts)
    if not total:
        return None
    rank = q * total
    below, lower = 0, 0.0
    for bound, count in zip(bounds, counts[:-1], strict=True):
        if count and below + count >= rank:
            return lower + (bound - lower) * max(0.0, rank - below) / count
        below, lower = below + count, bound
    return lower
