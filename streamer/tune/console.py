"""`streamer tune`: the input size and the rate that suit these cameras on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streamer import __version__
from streamer.bench.console import warnings as doubts_of
from streamer.config import Camera, Config, load_config
from streamer.errors import ConfigError
from streamer.inference.measure import machine
from streamer.tune.check import Checked, CheckedBy, check_apart
from streamer.tune.measure import FACE_PX, Measure, SizeMeasured, measure_size
from streamer.tune.run import Tuned, find, live_cameras
from streamer.tune.settings import Expected, Setting

SCHEMA: Final = 1
"""Version of what ``--json`` prints; a reader refuses others."""

LOOK_S: Final = 20.0
"""Seconds that looking at the clip may take, unless somebody asks for more."""

_LOUD: Final = 0.5  # load of the machine before the start, in cores
_FAR: Final = 0.15  # scores so much below the best are not in the table
_COLUMNS: Final = (
    "", "input", "max_fps", "detections/s", "latency ms", "age ms", "dropped", "processor",
    "recall", "precision", "score",
)  # fmt: skip
_PLAIN_KEY: Final = re.compile(r"(?!(?:on|off|yes|no|true|false|null|y|n)\Z)[a-z][a-z0-9_-]*")


def tune(
    path: Path,
    *,
    environ: Mapping[str, str],
    fps: float = 15.0,
    face_px: float = FACE_PX,
    cameras: int | None = None,
    look_s: float = LOOK_S,
    check: bool = True,
    as_json: bool = False,
    print_line: Callable[[str], None] = print,
    measure: Measure = measure_size,
    checked_by: CheckedBy = check_apart,
) -> bool:
    """Find settings for the live cameras of a configuration, and print them.

    Each camera gives ``fps`` frames a second (at most 100), with faces ``face_px`` wide in a
    picture 1280 wide (10 to 100). ``cameras`` counts so many instead of those configured, which
    take turns with their settings. The demo clip is looked at for about ``look_s`` seconds. With
    ``check``, what is recommended is run on recorded cameras. Progress goes to standard error,
    and only to a terminal. True when a setting was found that holds, and held where it was run.
    Raises ConfigError, and what opening the model and the device raises.
    """
    if not (0 < fps <= 100 and 10 <= face_px <= FACE_PX and look_s > 0 and cameras != 0):
        raise ConfigError(
            [f"cameras give up to 100 frames a second, faces are 10 to {FACE_PX} pixels wide, and "
             "there is one camera and some time at least; give others"]
        )  # fmt: skip
    config, folder = load_config(path, environ), path.absolute().parent
    live = live_cameras(config)
    if not live:
        raise ConfigError(["cameras: none is live, and files are read whole; tune a live camera"])
    taken = list(live.values())
    asked = [taken[n % len(taken)] for n in range(cameras or len(taken))]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("")

        def say(words: str, step: int, steps: int) -> None:
            bar.update(task, description=words, completed=step, total=steps)

        found = find(
            config, asked, folder, fps=fps, face_px=face_px, look_s=look_s, measure=measure,
            checked_by=checked_by if check else None, say=say,
        )  # fmt: skip
    lines = yaml_lines(config, live, found.best.setting)
    if as_json:
        print_line(json.dumps(document(found, lines), indent=2))
    else:
        _print(found, lines)
    return found.best.holds and not (found.checked and found.checked.problems)


def yaml_lines(config: Config, cameras: Mapping[str, Camera], setting: Setting) -> list[str]:
    """The lines of YAML to set; only keys that differ, none when nothing does."""
    lines = []
    if config.model.input_size != setting.input_size:
        lines += ["model:", f"  input_size: {setting.input_size}"]
    changes: list[str] = []
    for name, camera in cameras.items():
        new: list[str] = []
        if camera.input_size not in (None, setting.input_size):
            new.append(f"input_size: {setting.input_size}")
        if camera.every != 1:
            new.append("every: 1")
        if camera.max_fps != setting.max_fps:
            new.append(f"max_fps: {_rate(setting.max_fps, 'null')}")
        if new:
            key = name if _PLAIN_KEY.fullmatch(name) else json.dumps(name)
            changes += [f"  {key}:", *(f"    {line}" for line in new)]
    return lines + (["cameras:", *changes] if changes else [])


def _rate(max_fps: float | None, otherwise: str) -> str:
    return otherwise if max_fps is None else f"{max_fps:g}"


def assumptions(found: Tuned) -> list[str]:
    """What was taken for granted, as sentences."""
    return [
        f"each of {found.cameras} cameras gives {found.fps:g} frames a second of 1280x720, H.264, "
        "decoded by the processor; give --fps if yours do not, and tune larger ones with room",
        f"faces are about {found.face_px:g} pixels wide in a picture 1280 wide, and move as in the "
        "demo clip; give --face if yours are smaller",
        "score is streaming accuracy: at the instant of each frame, the newest published result "
        "against the truth of that instant (F1 at IoU 0.5); it compares settings, not scenes",
        "not simulated: other programs, the network, the steps taken under lasting overload, and "
        "`motion`: it is counted on that something moves all the time",
    ]


def doubts(found: Tuned) -> list[str]:
    """What makes the result doubtful, as sentences that end in what to do."""
    said = sorted({one.warning for one in found.measured if one.warning}) + list(found.left_out)
    if found.load_before > _LOUD:
        said.append(
            f"the load of the machine was {found.load_before:.1f} before; run this again when "
            "other programs are quiet"
        )
    for small, large in pairwise(found.measured):
        if median(small.service_s[1]) > median(large.service_s[1]):
            said.append(
                f"input size {small.input_size} seemed slower than {large.input_size}: something "
                "disturbed the measurement; run this again"
            )
    if found.checked:
        said += [words for words in doubts_of([found.checked.point]) if words not in said]
    return said


def document(found: Tuned, lines: Sequence[str]) -> dict[str, Any]:
    """What ``--json`` prints: plain values, ``schema`` first, no source of any camera."""
    best = found.best
    return {
        "schema": SCHEMA,
        "streamer": __version__,
        "machine": machine(),
        "model": found.measured[0].model,
        "provider": found.measured[0].provider,
        "cameras": found.cameras,
        "fps": found.fps,
        "face_px": found.face_px,
        "recommended": {**_plain(best), "yaml": list(lines)},
        "configured": found.now and {**_plain(found.now), "mixed": found.mixed},
        "checked": found.checked and _checked(found.checked),
        "tried": [_plain(each) for each in found.tried],
        "measured": [_costs(one) for one in found.measured],
        "assumptions": assumptions(found),
        "warnings": doubts(found),
        "seconds": round(found.seconds, 1),
    }


def _plain(expected: Expected) -> dict[str, Any]:
    values = asdict(expected)
    return {**values.pop("setting"), **values, "holds": expected.holds}


def _checked(checked: Checked) -> dict[str, Any]:
    values = asdict(checked)
    return {**values, "point": {k: v for k, v in values["point"].items() if k != "memory_free"}}


def _costs(one: SizeMeasured) -> dict[str, Any]:
    """What a size costs, in milliseconds by pictures in a batch; not what it finds."""
    return {
        "input_size": one.input_size,
        "workers": one.workers,
        "threads": one.threads,
        "cores": one.cores,
        "service_ms": {
            str(batch): {
                "runs": len(runs),
                "min": min(runs) * 1e3,
                "median": median(runs) * 1e3,
                "max": max(runs) * 1e3,
            }
            for batch, runs in one.service_s.items()
        },
        "decode_ms": one.decode_s * 1e3,
        "track_ms": one.track_s * 1e3,
        "predict_ms": one.predict_s * 1e3,
        "publish_ms": one.publish_s * 1e3,
    }


def table(found: Tuned) -> Table:
    """What was tried, but for what is far from the best; the configuration as it is comes first."""
    grid = Table(box=box.SIMPLE_HEAD)
    for name in _COLUMNS:
        grid.add_column(name, justify="right" if name else "left", no_wrap=True)
    rows = [("now", found.now)] if found.now else []
    rows += [("best" if each is found.best else "", each) for each in found.tried
             if each is found.best or each.score >= found.best.score - _FAR]  # fmt: skip
    for mark, each in rows:
        style = "bold" if mark == "best" else None if each.holds else "dim"
        mixed = mark == "now" and found.mixed
        grid.add_row(
            mark,
            "mixed" if mixed else str(each.setting.input_size),
            "mixed" if mixed else _rate(each.setting.max_fps, "-"),
            f"{each.detections_per_s:.1f}",
            _whole(each.latency_ms),
            _whole(each.age_ms),
            f"{each.dropped_share:.0%}",
            f"{each.busy_share:.0%}",
            f"{each.recall:.3f}",
            f"{each.precision:.3f}",
            f"{each.score:.3f}",
            style=style,
            end_section=mark == "now",
        )
    return grid


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def verdict(found: Tuned, lines: Sequence[str]) -> list[str]:
    """The recommendation in sentences, and the lines to set."""
    best = found.best
    max_fps = best.setting.max_fps
    rate = "every frame" if max_fps is None else f"{max_fps:g} looks a second"
    each = f"each of {found.cameras} cameras" if found.cameras > 1 else "the camera"
    said = [
        f"input size {best.setting.input_size}, {rate} for {each}: "
        f"{best.detections_per_s:.1f} detections a second, score {best.score:.3f}"
    ]
    if best.late_share > best.dropped_share / 2 and not best.holds:
        said.append(
            f"no setting can keep max_age_s here: {best.late_share:.0%} of the frames to look at "
            "would be older than that by the end of the look; set a larger max_age_s, use a "
            "smaller model, or give each look more of the machine"
        )
    elif not best.holds:
        said.append(
            f"no setting leaves this machine room (this takes {best.busy_share:.0%} of the "
            f"processor and drops {best.dropped_share:.0%}); watch fewer cameras, and see "
            "`streamer bench`"
        )
    if found.checked is None:
        said.append("it was not run")
    elif found.checked.problems:
        said.append(
            f"but it fell short when it was run: {'; '.join(found.checked.problems)}; leave more "
            "room than this"
        )
    else:
        said.append(
            f"it was run: {found.checked.detections_per_s:.1f} detections a second, p95 latency "
            f"{_whole(found.checked.latency_ms)} ms ({_whole(best.latency_ms)} expected)"
        )
    if lines:
        return [*said, "set this in the configuration:", "", *lines, ""]
    return [*said, "the configuration says so already"]


def _print(found: Tuned, lines: Sequence[str]) -> None:
    console = Console(highlight=False)
    about, one = machine(), found.measured[0]
    console.print(
        f"{about['processor']}, {about['cores']} cores; {one.model} on {one.provider}",
        markup=False,
        soft_wrap=True,
    )
    (console if console.is_terminal else Console(width=120)).print(table(found))
    more = ["taken for granted:", *(f"- {words}" for words in assumptions(found))]
    for line in [*verdict(found, lines), *doubts(found), *more]:
        console.print(line, markup=False, soft_wrap=True)
