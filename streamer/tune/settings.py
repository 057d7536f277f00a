"""Which settings are best for so many cameras on this machine, by streaming accuracy. Pure.

Every setting that could be tried is run in simulated time, on service times that were measured
here, and what a subscriber would then have had is compared with the truth of the demo clip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from streamer.bench.point import DEMO_FPS
from streamer.capacity import MOST_DROPPED
from streamer.inference.overload import FLOOR
from streamer.inference.retelling import from_rows, retell
from streamer.inference.simulation import (
    Machine,
    Simulated,
    SimulatedCamera,
    SimulatedRun,
    simulate,
)
from streamer.tune.measure import (
    CLIP_FRAMES,
    CLIP_SIZE,
    SizeMeasured,
    clip_pictures,
    clip_truth,
)
from streamer.types import Faces
from streamer.vision.streaming_score import StreamingScore, Truth, score_stream

INPUT_SIZES: Final = (320, 480, 640, 960, 1280)
"""Long sides that are tried; the one configured is tried as well."""

PARTS: Final = (1, 2, 3, 4, 6, 8, 12)
"""One frame in so many is looked at, as long as that leaves two a second (overload.FLOOR)."""

MOST_BUSY: Final = 0.85
"""Share of the processor that a setting may take by the simulation: real cameras jitter, and
what is not simulated (threads that wake, other programs) takes some too."""

ALIKE: Final = 0.005
"""Scores that differ by less are one: of those, the setting that looks at most pixels a second is
chosen, since the clip is kinder than life."""

WARM_S: Final = 2.0
"""Seconds that are simulated before anything counts."""

_HOPELESS: Final = 1.3  # times what the machine has
_SCORED: Final = 3  # cameras whose results are compared with the truth; all are simulated
_AGES_EVERY_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Setting:
    """What every camera is to be given: input size (pixels), and looks a second at most.

    ``max_fps`` is None for every frame.
    """

    input_size: int
    max_fps: float | None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the simulation says of a setting, over all cameras.

    ``detections_per_s`` is of the camera that gets least; ``latency_ms`` the 95th percentile from
    capture to publishing of frames that were looked at; ``age_ms`` how old the newest such frame
    is at 95 of 100 instants (None: none came); ``dropped_share`` of the frames to look at (0..1),
    ``busy_share`` of the processor (0..1), and ``late_share`` like the first, of those alone that
    could not be looked at within ``max_age_s``. ``score`` is streaming accuracy (F1 at IoU 0.5),
    with its ``recall`` and ``precision``.
    """

    setting: Setting
    detections_per_s: float
    latency_ms: float | None
    age_ms: float | None
    dropped_share: float
    busy_share: float
    score: float
    recall: float
    precision: float
    late_share: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether it leaves the machine some room and loses no frames to speak of."""
        return self.dropped_share <= MOST_DROPPED and self.busy_share <= MOST_BUSY


def machine_of(measured: Sequence[SizeMeasured]) -> Machine:
    """The machine that the measurements of all sizes (one at least) describe together."""
    one = measured[0]
    middle = len(measured) // 2
    beside = ((m.decode_s, m.track_s, m.predict_s, m.publish_s) for m in measured)
    decode_s, track_s, predict_s, publish_s = (
        sorted(values)[middle] for values in zip(*beside, strict=True)
    )
    return Machine(
        {each.input_size: each.service_s for each in measured},
        cores=one.cores,
        workers=one.workers,
        threads=one.threads,
        max_batch=one.max_batch,
        delay_s=one.delay_s,
        on_cpu=one.on_cpu,
        decode_s=decode_s,
        track_s=track_s,
        predict_s=predict_s,
        publish_s=publish_s,
    )


def settings_to_try(
    cameras: Sequence[SimulatedCamera], machine: Machine, *, fps: float
) -> list[Setting]:
    """Every measured size with every rate, smallest first, but for what is far too much.

    The lowest rate of each size is always there.
    """
    found = []
    for size in sorted(machine.service_s):
        rates = [None if n == 1 else round(fps / n, 3) for n in PARTS if n == 1 or fps / n >= FLOOR]
        for place, max_fps in enumerate(rates):
            setting = Setting(size, max_fps)
            if place == len(rates) - 1 or demand(cameras, machine, setting) <= _HOPELESS:
                found.append(setting)
    return found


def demand(cameras: Sequence[SimulatedCamera], machine: Machine, setting: Setting) -> float:
    """What the cameras would take, as a share of what there is: above 1 is too much."""
    runs, _ = machine.runs(setting.input_size, machine.max_batch)
    each_s = sorted(runs)[len(runs) // 2]
    frames = sum(camera.fps for camera in cameras)
    looks = sum(min(camera.fps, setting.max_fps or camera.fps) for camera in cameras)
    filled = sum(camera.fps for camera in cameras if camera.fill) if setting.max_fps else 0.0
    processor_s = frames * machine.decode_s + looks * (machine.track_s + machine.publish_s)
    processor_s += max(0.0, filled - looks) * (machine.predict_s + machine.publish_s)
    if machine.on_cpu:
        return (processor_s + looks * each_s * machine.threads) / machine.cores
    batch = min(machine.max_batch, max(machine.service_s[setting.input_size]))
    return max(processor_s / machine.cores, looks * each_s / batch)


def with_setting(camera: SimulatedCamera, setting: Setting) -> SimulatedCamera:
    """The camera with ``setting`` in place of its own."""
    return replace(camera, size=setting.input_size, every=1, max_fps=setting.max_fps)


class Clip:
    """The demo clip as cameras of ``fps`` frames a second see it, with what each size finds.

    A size that has not all the pictures is not in :attr:`sizes`.
    """

    def __init__(
        self,
        measured: Sequence[SizeMeasured],
        *,
        fps: float,
        truth: Sequence[Sequence[Sequence[float]]] | None = None,
    ) -> None:
        """Take what :func:`streamer.tune.measure.measure_size` gave.

        ``truth`` are the boxes (N, 4) of each picture of the clip, where not its own are to count.
        """
        self._pictures = clip_pictures(fps)
        boxes = clip_truth() if truth is None else truth
        self._truth = [Truth.of(0.0, each) for each in boxes]
        needed = set(self._pictures)
        self._found: Mapping[int, Mapping[int, Faces]] = {
            each.input_size: {n: from_rows(rows) for n, rows in each.found.items()}
            for each in measured
            if needed <= each.found.keys()
        }
        self.sizes = sorted(self._found)
        self.round_s = CLIP_FRAMES / DEMO_FPS

    def truth(self, captured_at: Sequence[float], *, since: float) -> list[Truth]:
        """The truth of each frame from the instant ``since`` on, by when each was captured."""
        pictures = self._pictures
        return [
            self._truth[pictures[frame % len(pictures)]]._replace(at=at)
            for frame, at in enumerate(captured_at)
            if at >= since
        ]

    def faces(self, input_size: int) -> Callable[[int], Faces]:
        """What is found in a frame of a camera at one of :attr:`sizes`, by the frame's number."""
        found, pictures = self._found[input_size], self._pictures
        return lambda frame: found[pictures[frame % len(pictures)]]

    def score(self, camera: SimulatedCamera, run: Simulated, *, since: float) -> StreamingScore:
        """Streaming accuracy of one camera from the instant ``since`` on."""
        told = retell(run.looks, self.faces(camera.size), within=CLIP_SIZE, fill=camera.fill)
        return score_stream(told, self.truth(run.captured_at, since=since))


def expect(
    cameras: Sequence[SimulatedCamera], machine: Machine, clip: Clip, setting: Setting
) -> Expected:
    """Simulate ``cameras`` as they are and compare with the truth; ``setting`` is what to call it.

    One round of the clip is simulated after :data:`WARM_S`.
    """
    seconds = clip.round_s
    run = simulate(cameras, machine, seconds=WARM_S + seconds)
    chosen = range(0, len(cameras), -(-len(cameras) // _SCORED))
    score = StreamingScore()
    for n in chosen:
        score += clip.score(cameras[n], run.cameras[n], since=WARM_S)
    return Expected(
        setting,
        detections_per_s=least_rate(run, seconds),
        latency_ms=latency_ms(run),
        age_ms=age_ms(run, until=WARM_S + seconds),
        dropped_share=dropped_share(run),
        busy_share=min(1.0, run.work_s / (machine.cores * (WARM_S + seconds))),
        score=score.f1,
        recall=score.recall,
        precision=score.precision,
        late_share=dropped_share(run, of="deadline"),
    )


def least_rate(run: SimulatedRun, seconds: float) -> float:
    """Detections a second, after the warm-up, of the camera that got least."""
    return min(
        sum(look.detected and look.published_at >= WARM_S for look in one.looks) / seconds
        for one in run.cameras
    )


def latency_ms(run: SimulatedRun) -> float | None:
    """95th percentile from capture to publishing of frames looked at, after the warm-up."""
    return _p95_ms(
        look.published_at - look.captured_at
        for one in run.cameras
        for look in one.looks
        if look.detected and look.published_at >= WARM_S
    )


def age_ms(run: SimulatedRun, *, until: float) -> float | None:
    """At 95 of 100 instants the newest frame that was looked at is younger than this."""
    ages: list[float] = []
    for one in run.cameras:
        news = [look for look in one.looks if look.detected]
        position, at = -1, WARM_S
        while at < until:
            while position + 1 < len(news) and news[position + 1].published_at <= at:
                position += 1
            ages.append(at - news[position].captured_at if position >= 0 else math.inf)
            at += _AGES_EVERY_S
    return _p95_ms(ages)


def dropped_share(run: SimulatedRun, *, of: str | None = None) -> float:
    """Share of the frames to look at that were dropped, 0..1; those for the reason ``of`` alone."""
    dropped = counted = looked = 0
    for one in run.cameras:
        for (_, why), n in one.ledger.dropped.items():
            dropped += n if why != "fill_full" else 0
            counted += n if why == of or (of is None and why != "fill_full") else 0
        looked += one.ledger.settled.get("detected", 0)
    return counted / (dropped + looked) if counted else 0.0


def _p95_ms(seconds: Iterable[float]) -> float | None:
    values = sorted(seconds)
    if not values:
        return None
    found = values[math.ceil(0.95 * len(values)) - 1]
    return found * 1e3 if math.isfinite(found) else None


def choose(tried: Sequence[Expected]) -> Expected:
    """The setting to recommend, of one or more that were tried.

    The best score among those that hold; of scores within :data:`ALIKE` of it, the one that looks
    at most pixels a second. Where none holds, the best score of those that drop least.
    """
    holding = [each for each in tried if each.holds]
    if not holding:
        return max(tried, key=lambda each: (-round(each.dropped_share, 1), each.score))
    best = max(each.score for each in holding)
    alike = [each for each in holding if each.score >= best - ALIKE]
    return max(alike, key=lambda each: each.setting.input_size**2 * each.detections_per_s)
