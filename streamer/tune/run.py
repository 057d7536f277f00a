"""`streamer tune` from its first measurement to its recommendation."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from streamer.capture.urls import scheme_of, synthetic_options
from streamer.config import Camera, Config
from streamer.errors import DetectionFailed
from streamer.inference.simulation import SimulatedCamera
from streamer.tune.check import Checked, CheckedBy
from streamer.tune.measure import Measure, SizeMeasured, clip_pictures, look_size
from streamer.tune.settings import (
    INPUT_SIZES,
    Clip,
    Expected,
    Setting,
    choose,
    expect,
    machine_of,
    settings_to_try,
    with_setting,
)

STEPS: Final = 2
"""Things that are told of besides one for each input size."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Everything that was found.

    ``now`` is of the configuration as it is, None where one of its sizes was left out; with
    ``mixed`` its cameras have several settings, and it names that of the first. ``best`` is of
    what to set, and one of ``tried``. ``left_out`` says in sentences which input sizes were
    not tried, and ``load_before`` how busy the machine was before the start, in cores.
    """

    cameras: int
    fps: float
    face_px: float
    measured: Sequence[SizeMeasured]
    left_out: Sequence[str]
    tried: Sequence[Expected]
    now: Expected | None
    mixed: bool
    best: Expected
    checked: Checked | None
    seconds: float
    load_before: float


def live_cameras(config: Config) -> dict[str, Camera]:
    """The cameras that are live, by name: files are read whole, however long that takes."""

    def live(source: str) -> bool:
        scheme = scheme_of(source)
        return scheme != "file" and (scheme != "synthetic" or synthetic_options(source).live)

    return {name: camera for name, camera in config.cameras.items() if live(camera.source)}


def simulated(config: Config, cameras: Sequence[Camera], fps: float) -> list[SimulatedCamera]:
    """The cameras as they are configured, each at another place of its second."""
    return [
        SimulatedCamera(
            fps,
            camera.input_size or config.model.input_size,
            # As recorded cameras are; multiples of the golden ratio's fraction never meet.
            phase_s=n * 0.618034 % 1.0,
            every=camera.every,
            max_fps=camera.max_fps,
            fill=camera.fill,
            max_age_s=camera.max_age_s if camera.pacing == "adaptive" else None,
            priority=camera.priority,
        )
        for n, camera in enumerate(cameras)
    ]


def look_time_s(measured: SizeMeasured, size: int, fps: float, face_px: float) -> float:
    """Seconds to look at the clip at an input size, by the pixels of one that was measured."""
    ratio = look_size(size, face_px) / measured.input_size
    each_s = median(measured.service_s[1]) * ratio**2
    # Workers share one GPU; and one camera has one, with all cores.
    at_once = measured.workers if measured.on_cpu and measured.threads == 1 else 1
    return each_s * len(set(clip_pictures(fps))) / at_once


def find(
    config: Config,
    cameras: Sequence[Camera],
    folder: Path,
    *,
    fps: float,
    face_px: float,
    look_s: float,
    measure: Measure,
    checked_by: CheckedBy | None,
    say: Callable[[str, int, int], None],
) -> Tuned:
    """Measure, simulate, choose and check; ``say`` hears what is done, and which step of how many.

    Looking at the clip takes about ``look_s`` seconds at most, all sizes together. Relative files
    of ``config`` are sought in ``folder``. Raises DetectionFailed when not even the smallest size
    was quick enough, and what ``measure`` and ``checked_by`` raise.
    """
    began, load = time.monotonic(), os.getloadavg()[0]
    as_it_is = simulated(config, cameras, fps)
    sizes = sorted({*INPUT_SIZES, *(camera.size for camera in as_it_is)})
    steps = len(sizes) + STEPS
    measured: list[SizeMeasured] = []
    left_out: list[str] = []
    left_s = look_s
    for step, size in enumerate(sizes):
        say(f"measuring input size {size}", step, steps)
        needed_s = look_time_s(measured[-1], size, fps, face_px) if measured else 0.0
        if needed_s <= left_s:
            one = measure(
                config, size, cameras=len(cameras), base_folder=folder, face_px=face_px,
                pictures=clip_pictures(fps), look_s=2 * left_s,
            )  # fmt: skip
            measured.append(one)
            needed_s = look_time_s(one, size, fps, face_px)
            left_s -= needed_s
        if not measured or measured[-1].input_size != size or not _complete(measured[-1], fps):
            left_out.append(
                f"input size {size} was not tried: to look at the clip takes {needed_s:.0f} s; "
                f"give --seconds {look_s - left_s + 2 * needed_s:.0f} to try it"
            )
    say("simulating", len(sizes), steps)
    clip = Clip(measured, fps=fps)
    machine = machine_of(measured)
    tried = [
        expect([with_setting(camera, setting) for camera in as_it_is], machine, clip, setting)
        for setting in settings_to_try(as_it_is, machine, fps=fps)
        if setting.input_size in clip.sizes
    ]
    if not tried:
        raise DetectionFailed(f"the model is too slow here; {left_out[0]}, or use a smaller model")
    now, own = None, [_own_setting(camera) for camera in as_it_is]
    if {setting.input_size for setting in own} <= set(clip.sizes):
        now = expect(as_it_is, machine, clip, own[0])
    best = choose(tried)
    checked = None
    if checked_by is not None:
        say("running what was found", steps - 1, steps)
        checked = checked_by(config, cameras, best, fps=fps, base_folder=folder)
    mixed, seconds = len(set(own)) > 1, time.monotonic() - began
    return Tuned(
        len(cameras), fps, face_px, measured, left_out, tried, now, mixed, best, checked, seconds,
        load,
    )  # fmt: skip


def _own_setting(camera: SimulatedCamera) -> Setting:
    """What a camera is configured to, in the words of a setting: every frame, or so many."""
    rate = min(camera.fps / camera.every, camera.max_fps or camera.fps)
    return Setting(camera.size, None if rate >= camera.fps else round(rate, 3))


def _complete(measured: SizeMeasured, fps: float) -> bool:
    return set(clip_pictures(fps)) <= measured.found.keys()
