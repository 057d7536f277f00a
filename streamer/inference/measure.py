"""Measures one model on this machine: milliseconds, pictures a second, memory.

Each measurement is for a process of its own (:func:`measure_apart`): memory that another model
took before is never given back whole, and a driver that crashes takes only the child with it.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamer.apart import run_apart
from streamer.cores import usable_cores
from streamer.errors import DetectionFailed
from streamer.inference.gpu_memory import gpu_memory
from streamer.inference.session import Session, open_session
from streamer.types import Floats
from streamer.vision.letterbox import Letterbox

SCHEMA: Final = 1
"""Version of the JSON that holds measurements; a reader refuses others."""

MEASURED: Final = "measured.json"
"""File beside the models that keeps what was measured, for ``model: auto``."""

GPU_BATCH: Final = 8
"""Pictures in one run when a GPU's throughput is measured."""

_WARM_UP: Final = 2
_LEAST_RUNS: Final = 3
_MOST_BYTES: Final = 1 << 20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one model costs at one input size.

    ``input_size`` is the longer side in pixels and ``width`` x ``height`` the whole input for a
    16:9 picture. ``device`` is what it really ran on ("cpu", "cuda", ...), and ``warning`` what
    the session said of it. ``ms_*`` are milliseconds of one picture on ``threads`` threads, warm;
    ``first_ms`` those of the first run; ``per_second`` pictures a second when the whole machine
    does nothing else (a worker for each core, or batches on a GPU), None where it was not
    measured. ``memory`` is what the session added to the process, ``peak`` the most the process
    ever had, and ``gpu_memory`` what it took of the GPU (None on a CPU), bytes.
    """

    model: str
    input_size: int
    width: int
    height: int
    device: str
    warning: str | None
    threads: int
    load_ms: float
    first_ms: float
    ms_min: float
    ms_median: float
    ms_max: float
    runs: int
    per_second: float | None
    memory: int
    peak: int
    gpu_memory: int | None


def machine() -> dict[str, str | int]:
    """What measurements depend on: the processor, the cores, the build of onnxruntime."""
    builds = metadata.packages_distributions().get("onnxruntime", [])
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "onnxruntime": ", ".join(f"{name} {metadata.version(name)}" for name in sorted(builds)),
    }


def measure_apart(
    content: bytes,
    *,
    model: str,
    input_size: int,
    device: str = "auto",
    seconds: float = 1.5,
    throughput: bool = True,
    timeout_s: float = 180.0,
) -> Measurement:
    """Measure in a process of its own, within ``timeout_s`` seconds; see :func:`measure`.

    Raises what :func:`measure` raises, and :class:`streamer.apart.Crashed`.
    """
    found = run_apart(
        _measure_in_child,
        content,
        timeout_s=timeout_s,
        model=model,
        input_size=input_size,
        device=device,
        seconds=seconds,
        throughput=throughput,
    )
    return Measurement(**found)


def measure(
    content: bytes,
    *,
    model: str,
    input_size: int,
    device: str,
    seconds: float,
    throughput: bool,
) -> Measurement:
    """Measure the RetinaFace in ``content`` (ONNX) in this process.

    ``input_size`` is a multiple of 32, pixels; ``seconds`` is how long each of the two parts
    (latency, throughput) runs at least, and three runs are made at least. Raises ModelError,
    DeviceError, MissingDependency and DetectionFailed as
    :func:`streamer.inference.session.open_session` and its session do.
    """
    fit = Letterbox.fit(1280, 720, input_size)
    batch = _noise(1, fit)
    threads = usable_cores()
    number = re.search(r":(\d+)", device)
    index = int(number[1]) if number else 0
    gpu_before = None if device in ("cpu", "openvino") else gpu_memory(index)
    before = _resident()
    began = time.perf_counter()
    session = open_session(content, device=device, threads=threads, spin=threads > 1)
    loaded = time.perf_counter()
    session.run(batch)
    first = time.perf_counter()
    for _ in range(_WARM_UP):
        session.run(batch)
    walls = _walls(session, batch, seconds)
    memory, taken = _resident() - before, None
    on_gpu = session.provider.startswith(("cuda", "tensorrt"))
    if on_gpu and gpu_before is not None:
        after = gpu_memory(index)
        taken = after and max(0, gpu_before.free - after.free)
    peak = _peak()
    per_second = None
    if throughput and on_gpu:
        per_second = _in_batches(session, fit, seconds)
    elif throughput:
        per_second = _on_all_cores(content, device, session, threads, batch, seconds)
    return Measurement(
        model=model,
        input_size=input_size,
        width=fit.input_width,
        height=fit.input_height,
        device=session.provider,
        warning=session.warning,
        threads=1 if on_gpu else threads,
        load_ms=(loaded - began) * 1e3,
        first_ms=(first - loaded) * 1e3,
        ms_min=min(walls),
        ms_median=statistics.median(walls),
        ms_max=max(walls),
        runs=len(walls),
        per_second=per_second,
        memory=max(0, memory),
        peak=peak,
        gpu_memory=taken,
    )


def save(path: Path, found: Iterable[Measurement]) -> None:
    """Write measurements of this machine to ``path``, whole or not at all. Raises OSError."""
    document = {
        "schema": SCHEMA,
        "machine": machine(),
        "measurements": [asdict(measurement) for measurement in found],
    }
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(document, indent=2) + "\n")
    beside.replace(path)


def load(path: Path) -> list[Measurement]:
    """Measurements of this machine that ``path`` holds; none when they are of another.

    A file that is missing, of another schema, or damaged holds none: measuring is never needed.
    """
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_MOST_BYTES))
        if document["schema"] != SCHEMA or document["machine"] != machine():
            return []
        return [Measurement(**entry) for entry in document["measurements"]]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def sustained(found: Iterable[Measurement], *, input_size: int, device: str) -> Mapping[str, float]:
    """Pictures a second of each model at ``input_size`` on ``device`` ("cpu", "cuda").

    Where that size was not measured, the next larger one stands for it, which is slower; models
    without either are left out.
    """
    nearest: dict[str, tuple[int, float]] = {}
    for one in found:
        if one.device != device or one.per_second is None or one.input_size < input_size:
            continue
        known = nearest.get(one.model)
        if known is None or one.input_size < known[0]:
            nearest[one.model] = (one.input_size, one.per_second)
    return {model: rate for model, (_, rate) in nearest.items()}


def _measure_in_child(content: bytes, **settings: Any) -> dict[str, Any]:
    return asdict(measure(content, **settings))


def _noise(count: int, fit: Letterbox) -> Floats:
    """Network inputs full of detail, since flat ones can be quicker: a seeded (N, 3, H, W)."""
    shape = (count, 3, fit.input_height, fit.input_width)
    return np.random.default_rng(0).uniform(-120, 140, shape).astype(np.float32)


def _walls(session: Session, batch: Floats, seconds: float) -> list[float]:
    """Milliseconds of each run."""
    walls: list[float] = []
    until = time.perf_counter() + seconds
    while len(walls) < _LEAST_RUNS or time.perf_counter() < until:
        began = time.perf_counter()
        session.run(batch)
        walls.append((time.perf_counter() - began) * 1e3)
    return walls


def _on_all_cores(
    content: bytes, device: str, session: Session, threads: int, batch: Floats, seconds: float
) -> float:
    """Runs a second of a worker for each core, each run on one thread, on one shared session."""
    if threads > 1:
        session = open_session(content, device=device, threads=1, spin=False)
        session.run(batch)
    counts = [0] * threads
    began = time.perf_counter()
    until = began + seconds

    def work(number: int) -> None:
        with suppress(DetectionFailed):  # it would have failed before
            while not counts[number] or time.perf_counter() < until:
                session.run(batch)
                counts[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - began)


def _in_batches(session: Session, fit: Letterbox, seconds: float) -> float:
    """Pictures a second in batches; one by one where the batch does not fit the GPU."""
    for count in (GPU_BATCH, 1):
        batch = _noise(count, fit)
        try:
            for _ in range(_WARM_UP):
                session.run(batch)
            return count * 1e3 / statistics.median(_walls(session, batch, seconds))
        except DetectionFailed:
            if count == 1:
                raise
    raise AssertionError  # the last round returns or raises


def _resident() -> int:
    """Memory this process holds now, bytes (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * _PAGE


def _peak() -> int:
    """The most memory this process ever held, bytes (proc(5), VmHWM)."""
    match = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else _resident()


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.machine()
