"""Runs what `streamer tune` recommends, to see whether the simulation told the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streamer.apart import Crashed, run_apart
from streamer.bench.point import WARM_S, measure, recorded
from streamer.capacity import MOST_DROPPED, Point
from streamer.config import Camera, Config
from streamer.tune.settings import Expected, Setting

CHECK_S: Final = 5.0
"""Seconds that are measured, after all cameras have begun and run for two."""

LEAST_RATE: Final = 0.9
"""Share of the detections expected that have to come."""

MOST_LATE: Final = 1.5
"""Times the latency expected that is still as expected, and :data:`LATE_MS` besides: buckets of
the histogram that latencies are read from are up to twice as wide as what is below them."""

LATE_MS: Final = 30.0

_START_S: Final = 930.0  # TensorRT may build an engine first


@dataclass(frozen=True, slots=True)
class Checked:
    """What a real run gave: ``detections_per_s`` of a camera on average, p95 of the latency.

    ``problems`` are phrases that say where it fell short of what was expected; none where it
    did not.
    """

    point: Point
    detections_per_s: float
    latency_ms: float | None
    problems: Sequence[str]


def check_apart(
    config: Config,
    cameras: Sequence[Camera],
    expected: Expected,
    *,
    fps: float,
    base_folder: Path,
    seconds: float = CHECK_S,
) -> Checked:
    """Run recorded cameras of ``fps`` frames a second with the setting that ``expected`` is of.

    In a process of its own, as `streamer bench` does; no camera is dialled. A process that breaks
    down is a problem. Raises DeviceError, ModelError, MissingDependency or DetectionFailed.
    """
    values, _ = recorded(with_settings(config, cameras, expected.setting), len(cameras))
    for camera in values["cameras"].values():
        camera["source"] = camera["source"].replace("demo:?", f"demo:?fps={fps:g}&")
    try:
        found = run_apart(
            measure,
            timeout_s=_START_S + WARM_S + seconds,
            values=values,
            base_folder=str(base_folder.absolute()),
            fps=fps * len(cameras),
            warm_s=WARM_S,
            seconds=seconds,
        )
    except Crashed as error:
        return Checked(Point(len(cameras), problem=str(error)), 0.0, None, [str(error)])
    return judge(Point(**found), expected)


def with_settings(config: Config, cameras: Sequence[Camera], setting: Setting) -> Config:
    """``config`` with these cameras instead, all of them with ``setting``."""
    new = {"every": 1, "max_fps": setting.max_fps, "input_size": None}
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"input_size": setting.input_size}),
            "cameras": {f"cam{n}": each.model_copy(update=new) for n, each in enumerate(cameras)},
        }
    )


def judge(point: Point, expected: Expected) -> Checked:
    """Compare what was measured with what was expected."""
    rate = point.detected / point.seconds / point.cameras if point.seconds else 0.0
    problems = [point.problem] if point.problem else []
    if rate < LEAST_RATE * expected.detections_per_s:
        problems.append(
            f"{rate:.1f} detections a second came and {expected.detections_per_s:.1f} were expected"
        )
    most_ms = MOST_LATE * (expected.latency_ms or 0.0) + LATE_MS
    if point.p95_ms is not None and point.p95_ms > most_ms:
        problems.append(
            f"they took {point.p95_ms:.0f} ms and {expected.latency_ms or 0.0:.0f} were expected"
        )
    if point.dropped_share > max(MOST_DROPPED, 2 * expected.dropped_share):
        problems.append(f"{point.dropped_share:.0%} of the frames to look at were dropped")
    return Checked(point, rate, point.p95_ms, problems)


CheckedBy = Callable[..., Checked]
"""What has the signature of :func:`check_apart`."""
