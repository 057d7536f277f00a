"""Runs so many recorded cameras in a process of its own and measures them, for `streamer bench`.

The whole program runs as it always does: recorded cameras at their own pace, the configuration's
model and settings, events published to a free port. Nothing that the configuration names is
dialled or listened on, and its sources do not even reach the process.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from streamer.apart import Crashed, run_apart
from streamer.app import App
from streamer.capacity import Point, quantile
from streamer.capture.memory import limit_arenas
from streamer.capture.urls import synthetic_options
from streamer.config import Config
from streamer.cores import affinity, busy_s, cpu_quota, memory
from streamer.errors import DeviceError, StageFailure
from streamer.status import Status

WARM_S: Final = 2.0
"""Seconds that all cameras run before anything counts: the first runs of a model are slow."""

DEMO_FPS: Final = 25.0
"""Frames a second of the demo clip, which stands for every camera (1280x720, H.264)."""

_KEPT: Final = frozenset(
    {"every", "max_fps", "input_size", "isolate", "fill", "pacing", "max_age_s", "priority"}
)
"""Settings of a camera that do not say what it is."""

_STAGES: Final = {"capture:": "decode", "infer-": "inference", "publish:": "publish"}
_START_S: Final = 30.0
_OPEN_S: Final = 900.0  # TensorRT may build an engine first
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def recorded(config: Config, count: int) -> tuple[dict[str, Any], float]:
    """A configuration's values with ``count`` recorded live cameras, and their frames a second.

    The cameras take turns with the settings of those configured. A synthetic camera stays one,
    live and without an end; every other becomes the demo clip, each at another place of its
    second, since real cameras are not in step. The page is off, and events go to a free port.
    """
    given = list(config.cameras.values())
    cameras, fps = {}, 0.0
    for number in range(count):
        camera = given[number % len(given)]
        if camera.url.scheme == "synthetic":
            options = synthetic_options(camera.source)
            source = f"synthetic:?size={options.width}x{options.height}&fps={options.fps:g}"
            fps += options.fps
        else:
            # Multiples of the golden ratio's fraction never fall together.
            source = f"demo:?delay={number * 0.618034 % 1.0:.3f}"
            fps += DEMO_FPS
        cameras[f"cam{number}"] = {
            "source": source,
            **camera.model_dump(mode="json", include=set(_KEPT)),
        }
    values = config.model_dump(mode="json", include={"model", "device", "inference"})
    values |= {"cameras": cameras, "http": None}
    values |= {"publish": {"zeromq": {"bind": "tcp://127.0.0.1:*"}}}
    return values, fps


def measure_apart(config: Config, count: int, *, base_folder: Path, seconds: float) -> Point:
    """Measure ``count`` cameras for ``seconds`` in a process of its own.

    Relative files of ``config`` are sought in ``base_folder``. A process that breaks down gives a
    point with a ``problem``. Raises DeviceError, ModelError, MissingDependency or DetectionFailed.
    """
    values, fps = recorded(config, count)
    try:
        found = run_apart(
            _measure_in_child,
            timeout_s=_OPEN_S + _START_S + WARM_S + seconds,
            values=values,
            base_folder=str(base_folder.absolute()),
            fps=fps,
            warm_s=WARM_S,
            seconds=seconds,
        )
    except Crashed as error:
        return Point(count, problem=str(error), short_of_memory="SIGKILL" in str(error))
    return Point(**found)


def _measure_in_child(payload: bytes, **keywords: Any) -> dict[str, Any]:
    limit_arenas()  # as `streamer run` does
    return measure(payload, **keywords)


def measure(
    _payload: bytes, *, values: Mapping[str, Any], base_folder: str, fps: float, warm_s: float,
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """Run ``values`` (see :func:`recorded`) and measure for ``seconds``, after ``warm_s``.

    ``fps``: frames a second of all cameras together. Returns a :class:`Point` as plain values.
    Raises what ``App`` and its stages raise.
    """
    app = App(Config(**values), base_folder=Path(base_folder), environ=os.environ)
    with _running(app) as ended:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and not all(
            camera.latency.count for camera in app.status().cameras
        ):
            if ended.wait(0.05):
                break
        ended.wait(warm_s)
        before, used_before, busy_before = app.status(), processor_time(), busy_s()
        ended.wait(seconds)
        after, used_after, busy_after = app.status(), processor_time(), busy_s()
        took_s = after.uptime_s - before.uptime_s
        used = {name: max(0.0, t - used_before[name]) / took_s for name, t in used_after.items()}
        cores = float(affinity())
        quota = cpu_quota()
        others = 0.0
        if quota is not None and quota < cores:  # what others use is not taken from a quota
            cores = quota
        elif busy_before is not None and busy_after is not None:
            others = max(0.0, (busy_after - busy_before) / took_s - sum(used.values()))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        point = replace(
            difference(before, after),
            due=round(fps * took_s),
            used={name: round(share, 3) for name, share in used.items()},
            others=round(others, 3),
            cores=cores,
            memory=peak + sum(pages * _PAGE for _, pages in _children()),
            memory_free=memory().free,
        )
    return asdict(point)


@contextmanager
def _running(app: App) -> Iterator[threading.Event]:
    """Run ``app`` beside the block and stop it after; the event is set when it ends by itself.

    Raises what the app raised; a lost device as itself, so that it keeps its name.
    """
    ended = threading.Event()
    raised: list[Exception] = []

    def run() -> None:
        try:
            app.run()
        except Exception as error:  # noqa: BLE001 - raised again where it can be seen
            raised.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run, name="bench")
    thread.start()
    try:
        yield ended
    finally:
        app.stop()
        thread.join()
    for error in raised:
        members = error.exceptions if isinstance(error, StageFailure) else ()
        raise next((one for one in members if isinstance(one, DeviceError)), error)


def difference(before: Status, after: Status) -> Point:
    """What happened between two readings of one run, as far as a status tells it."""
    old = {camera.name: camera for camera in before.cameras}
    counts = [0] * len(after.cameras[0].latency.counts)
    dropped: Counter[str] = Counter()
    captured = passed = detected = 0
    for camera in after.cameras:
        was = old[camera.name]
        captured += camera.ledger.captured - was.ledger.captured
        passed += camera.ledger.skipped - was.ledger.skipped
        passed += camera.ledger.settled.get("tracked", 0) - was.ledger.settled.get("tracked", 0)
        detected += camera.ledger.settled.get("detected", 0) - was.ledger.settled.get("detected", 0)
        for (stage, reason), number in camera.ledger.dropped.items():
            dropped[f"{stage}/{reason}"] += number - was.ledger.dropped.get((stage, reason), 0)
        pairs = zip(camera.latency.counts, was.latency.counts, strict=True)
        counts = [sum_ + now - then for sum_, (now, then) in zip(counts, pairs, strict=True)]
    bounds = after.cameras[0].latency.bounds

    def mean_ms(station: str) -> float | None:
        now, then = after.stages[station], before.stages[station]
        number = now.count - then.count
        return (now.sum_s - then.sum_s) / number * 1e3 if number else None

    def at_ms(q: float) -> float | None:
        found = quantile(bounds, counts, q)
        return None if found is None else found * 1e3

    lost = [sum(sink.channel.dropped.values()) for sink in (after.sinks[0], before.sinks[0])]
    return Point(
        cameras=len(after.cameras),
        seconds=round(after.uptime_s - before.uptime_s, 3),
        captured=captured,
        wanted=captured - passed,
        detected=detected,
        dropped={kind: number for kind, number in dropped.items() if number},
        events_lost=lost[0] - lost[1],
        p50_ms=at_ms(0.5),
        p95_ms=at_ms(0.95),
        p99_ms=at_ms(0.99),
        wait_ms=mean_ms("wait"),
        infer_ms=mean_ms("infer"),
        publish_ms=mean_ms("publish"),
        faults={k: n - before.inference_faults[k] for k, n in after.inference_faults.items()},
        model=after.model,
        provider=after.provider,
        device_warning=after.device_warning,
    )


def processor_time() -> dict[str, float]:
    """Seconds of processor time that this process has used so far, by station.

    A thread is known by its stage's name; those of libraries run the model, or ZeroMQ's sending.
    Processes of isolated cameras decode. Source: proc(5), ``/proc/[pid]/stat``.
    """
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    spent = dict.fromkeys(("decode", "inference", "publish", "other"), 0.0)
    for task in Path("/proc/self/task").iterdir():
        name, _, ticks, _ = _stat(task / "stat")
        spent[_station(names.get(int(task.name)), name)] += ticks / _TICKS
    spent["decode"] += sum(ticks / _TICKS for ticks, _ in _children())
    return spent


def _station(thread: str | None, native: str) -> str:
    if thread is None:
        return "publish" if native.startswith("ZMQ") else "inference"
    found = (station for start, station in _STAGES.items() if thread.startswith(start))
    return next(found, "other")


def _stat(path: Path) -> tuple[str, int, int, int]:
    """Name, parent, ticks and resident pages of a thread or process; nothing when it is gone."""
    try:
        name, _, rest = path.read_text(errors="replace").partition("(")[2].rpartition(")")
    except OSError:
        return "", 0, 0, 0
    fields = rest.split()
    return name, int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[21])


def _children() -> list[tuple[int, int]]:
    """Ticks and resident pages of each process that this one has started and that still runs."""
    found = (_stat(path) for path in Path("/proc").glob("[0-9]*/stat"))
    return [(ticks, pages) for _, parent, ticks, pages in found if parent == os.getpid()]
