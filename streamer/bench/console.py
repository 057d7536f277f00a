"""`streamer bench`: how many cameras this machine carries, and what stands against one more."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from streamer import __version__
from streamer.bench.point import measure_apart
from streamer.capacity import (
    OTHERS,
    Capacity,
    Point,
    judge,
    memory_for,
    next_count,
    shortcomings,
)
from streamer.config import Config, load_config, parse_config
from streamer.cores import memory
from streamer.errors import ConfigError, DetectionFailed
from streamer.inference.measure import machine

SCHEMA: Final = 1
"""Version of what ``--json`` prints; a reader refuses others."""

MOST_CAMERAS: Final = 64
"""Cameras that are tried at most, unless somebody asks for more."""

LONGEST_MS: Final = 5000.0
"""Largest limit: a latency beyond it is not told from any other (the last bucket's bound)."""

_MIB: Final = 1 << 20
_COLUMNS: Final = (
    "cameras", "p50 ms", "p95 ms", "detected/s", "dropped", "late", "decode", "inference",
    "publish", "idle", "MiB", "",
)  # fmt: skip


def search(
    measure: Callable[[int], Point], *, limit_ms: float, most: int, memory_free: Callable[[], int]
) -> list[Point]:
    """Measure numbers of cameras until it is known how many fit, and return all points, in order.

    ``measure`` gives the point of so many cameras, 1 to ``most``; ``memory_free`` the bytes free
    now. A number that would not find the memory is a point with a problem and is not run: what the
    machine does besides must not be killed for it. Raises what ``measure`` raises.
    """
    points: list[Point] = []
    while True:
        tried = {point.cameras: not shortcomings(point, limit_ms) for point in points}
        count = next_count(tried, most)
        if count is None:
            return points
        needed = memory_for(points, count)
        free = memory_free()
        if needed is not None and needed > free:
            words = f"{count} cameras would need {needed // _MIB} MiB, and {free // _MIB} are free"
            points.append(Point(count, problem=words, short_of_memory=True))
        else:
            points.append(measure(count))


def document(
    points: Sequence[Point], found: Capacity, limit_ms: float, config: Config
) -> dict[str, Any]:
    """What ``--json`` prints: plain values, ``schema`` first, no source of any camera."""
    return {
        "schema": SCHEMA,
        "streamer": __version__,
        "machine": machine(),
        "limit_ms": limit_ms,
        "cameras": found.cameras,
        "more_may_fit": found.more_may_fit,
        "bottleneck": None if found.bottleneck is None else asdict(found.bottleneck),
        "settings": config.model_dump(mode="json", include={"model", "device", "inference"}),
        "sources": sources(config),
        "warnings": warnings(points),
        "points": [
            {
                **asdict(point),
                "dropped_share": point.dropped_share,
                "late_share": point.late_share,
                "idle_share": point.idle_share,
                "passed": not shortcomings(point, limit_ms),
                "shortcomings": shortcomings(point, limit_ms),
            }
            for point in points
        ],
    }


def sources(config: Config) -> str:
    """What stood for the cameras, as a sentence."""
    kinds = {camera.url.scheme == "synthetic" for camera in config.cameras.values()}
    names = [
        words
        for there, words in (
            (False in kinds, "the demo clip (1280x720, 25 fps, H.264)"),
            (True in kinds, "the synthetic cameras as configured"),
        )
        if there
    ]
    return f"recorded cameras: {' and '.join(names)}; none of yours was dialled"


def warnings(points: Sequence[Point]) -> list[str]:
    """What makes the result doubtful, as sentences that end in what to do."""
    said = {point.device_warning for point in points if point.device_warning}
    found = sorted(said)
    loudest = max((point for point in points), key=lambda p: p.others / p.cores, default=None)
    if loudest is not None and loudest.others > OTHERS * loudest.cores:
        found.append(
            f"other programs took up to {loudest.others:.1f} of {loudest.cores:g} cores meanwhile; "
            "run this again when they are quiet"
        )
    return found


def table(points: Sequence[Point], limit_ms: float) -> Table:
    """The points by number of cameras; decode, inference and publish in cores, the rest as named.

    The last column says whether they fit.
    """
    grid = Table(box=box.SIMPLE_HEAD)
    for name in _COLUMNS:
        grid.add_column(name, justify="right" if name else "left", no_wrap=True)
    for point in sorted(points, key=lambda point: point.cameras):
        bad = bool(shortcomings(point, limit_ms))
        fits = Text("too many", style="red") if bad else Text("fits", style="green")
        if point.problem:
            grid.add_row(str(point.cameras), *["-"] * (len(_COLUMNS) - 2), fits)
            continue
        grid.add_row(
            str(point.cameras),
            _number(point.p50_ms),
            _number(point.p95_ms),
            _number(point.detected / point.seconds if point.seconds else None),
            f"{point.dropped_share:.1%}",
            f"{point.late_share:.1%}",
            *(f"{point.used.get(name, 0.0):.2f}" for name in ("decode", "inference", "publish")),
            f"{point.idle_share:.0%}",
            f"{point.memory / _MIB:.0f}",
            fits,
        )
    return grid


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def verdict(found: Capacity, limit_ms: float) -> list[str]:
    """The result in sentences: how many cameras, and what stands in the way of one more."""
    if found.failed is None or found.bottleneck is None:
        count = _cameras(found.cameras)
        return [f"{count} at p95 under {limit_ms:g} ms; more may fit, raise --most to see"]
    why = "; ".join(shortcomings(found.failed, limit_ms))
    tried = _cameras(found.failed.cameras)
    return [
        f"{_cameras(found.cameras)} at p95 under {limit_ms:g} ms"
        if found.cameras
        else f"not even one camera at p95 under {limit_ms:g} ms; try a smaller model.input_size, "
        "a larger --latency, or another device",
        f"with {tried}: {why}",
        f"bottleneck: {found.bottleneck.name}; {found.bottleneck.reason}",
    ]


def _cameras(count: int) -> str:
    return f"{count} camera{'' if count == 1 else 's'}"


def bench(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    limit_ms: float = 100.0,
    most: int = MOST_CAMERAS,
    seconds: float = 5.0,
    as_json: bool = False,
    print_line: Callable[[str], None] = print,
    measure: Callable[..., Point] = measure_apart,
) -> bool:
    """Find how many cameras run at a p95 latency under ``limit_ms``, and print it.

    ``path`` is a configuration, None for the defaults (any model, device and settings may then be
    given in ``environ``). ``limit_ms`` is above 0 and at most 5000; up to ``most`` cameras are
    tried, each number for ``seconds`` after a warm-up. With ``as_json`` a JSON document is printed
    by ``print_line`` in place of the table. Progress goes to standard error, and only to a
    terminal. True when at least one camera fits. Raises ConfigError, and what opening the model
    and the device raises; DetectionFailed when not even the process of one camera lived.
    """
    if not 0 < limit_ms <= LONGEST_MS or most < 1 or not seconds > 0:
        raise ConfigError(
            [f"the latency is above 0 and at most {LONGEST_MS:g} ms, and there is at least one "
             "camera and some time; give others"]
        )  # fmt: skip
    if path is None:
        config = parse_config({"cameras": {"camera": {"source": "demo:"}}}, environ)
        folder = Path.cwd()
    else:
        config, folder = load_config(path, environ), path.absolute().parent
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def one(count: int) -> Point:
            bar.update(task, description=f"running {_cameras(count)}")
            point = measure(config, count, base_folder=folder, seconds=seconds)
            if count == 1 and point.problem:
                raise DetectionFailed(f"one camera could not be run: {point.problem}")
            return point

        points = search(one, limit_ms=limit_ms, most=most, memory_free=lambda: memory().free)
    found = judge(points, limit_ms)
    if as_json:
        print_line(json.dumps(document(points, found, limit_ms, config), indent=2))
    else:
        _print(points, found, limit_ms, config)
    return found.cameras > 0


def _print(points: Sequence[Point], found: Capacity, limit_ms: float, config: Config) -> None:
    console = Console(highlight=False)
    about = machine()
    ran = points[0]
    lines = [
        f"{about['processor']}, {about['cores']} cores; {ran.model} on {ran.provider}",
        sources(config),
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    (console if console.is_terminal else Console(width=120)).print(table(points, limit_ms))
    for line in [*warnings(points), *verdict(found, limit_ms)]:
        console.print(line, markup=False, soft_wrap=True)
