"""What a GPU does, by size of batch and way of running, against one thread of the CPU.

``python benchmarks/bench_gpu.py`` where there is an NVIDIA GPU, with the GPU build of onnxruntime
in the environment. It has not been run on one yet. Written to ``build/bench/bench_gpu.json``, one
row for each way and batch: milliseconds of one run (upload, network, download), least, median and
largest of the medians of the rounds; pictures a second by the median; milliseconds of the first
run, which chooses algorithms; and the largest difference of any output to the CPU's.

``end_to_end`` is the whole detector: 16 pictures of 1280x720 to faces, pictures a second, folded
where that is quicker; the log says so, with the times of one picture both ways.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from streamer.errors import StreamerError
from streamer.inference.cuda import GpuOptions, batch_sizes
from streamer.inference.detector import RetinaFace
from streamer.inference.diagnosis import read_driver
from streamer.inference.gpu_memory import gpu_memory
from streamer.inference.registry import load_model
from streamer.inference.session import Session, open_session
from streamer.log import configure
from streamer.types import Floats
from streamer.vision.letterbox import Letterbox
from streamer.vision.picture import ArrayPicture

WAYS = ("cuda", "cuda graphs", "tensorrt")
RUNS = 50


def noise(batch: int, fit: Letterbox) -> Floats:
    shape = (batch, 3, fit.input_height, fit.input_width)
    return np.random.default_rng(0).uniform(-120, 140, shape).astype(np.float32)


def median_ms(session: Session, batch: Floats, runs: int) -> float:
    walls = []
    for _ in range(runs):
        began = time.perf_counter()
        session.run(batch)
        walls.append(time.perf_counter() - began)
    return statistics.median(walls) * 1e3


def opened(model: bytes, way: str, number: int, options: argparse.Namespace) -> Session:
    """One session of the way called so; the device is ``number``, or the CPU."""
    device = way if way == "cpu" else f"{way.partition(' ')[0]}:{number}"
    gpu = GpuOptions(
        cuda_graphs="graphs" in way,
        engines=options.output.parent / "engines",
        largest_input=options.input_size,
        max_batch=options.max_batch,
    )
    return open_session(model, device=device, threads=1, spin=False, gpu=gpu)


def differs(ours: tuple[Floats, ...], theirs: tuple[Floats, ...]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def measure(model: bytes, way: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each size of batch; raises StreamerError when the way cannot be used."""
    fit = Letterbox.fit(1280, 720, options.input_size)
    cpu = opened(model, "cpu", 0, options)
    began = time.perf_counter()
    before = gpu_memory(options.number)
    session = opened(model, way, options.number, options)
    loaded_s = time.perf_counter() - began
    rows = []
    for size in batch_sizes(options.max_batch) if way != "cpu" else (1,):
        batch = noise(size, fit)
        began = time.perf_counter()
        found = session.run(batch)
        first_ms = (time.perf_counter() - began) * 1e3
        session.warm_up(batch)
        medians = [median_ms(session, batch, RUNS) for _ in range(options.rounds)]
        median = statistics.median(medians)
        rows.append({
            "way": way, "batch": size, "load_s": loaded_s, "first_ms": first_ms,
            "min_ms": min(medians), "median_ms": median, "max_ms": max(medians),
            "per_second": size / median * 1e3,
            "differs": differs(tuple(a[:1] for a in found), cpu.run(batch[:1])),
        })  # fmt: skip
    detector = RetinaFace(session, input_size=options.input_size)
    count = rows[-1]["batch"]
    rng = np.random.default_rng(0)
    pictures = [ArrayPicture(rng.integers(0, 256, (720, 1280, 3), np.uint8)) for _ in range(count)]
    detector.warm_up(1280, 720, count)  # tries the folded network, too; the log tells
    detector.detect(pictures)
    began = time.perf_counter()
    for _ in range(10):
        detector.detect(pictures)
    rows[-1]["end_to_end"] = 10 * count / (time.perf_counter() - began)
    after = gpu_memory(options.number)
    if before is not None and after is not None:
        rows[-1]["memory_mib"] = (before.free - after.free) / 2**20
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--number", type=int, default=0, help="which GPU, as in cuda:N")
    parser.add_argument("--model", default="retinaface_mnet025")
    parser.add_argument("--input-size", type=int, default=640)
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--output", type=Path, default=Path("build/bench/bench_gpu.json"))
    options = parser.parse_args()
    configure()
    driver = read_driver()
    model = load_model(options.model, environ=os.environ).content
    rows: list[dict[str, Any]] = []
    for way in ("cpu", *WAYS):
        try:
            rows += measure(model, way, options)
        except StreamerError as error:
            print(f"{way}: {error}", file=sys.stderr)
    machine = {"gpus": driver.gpus if driver else (), "cuda": driver.cuda if driver else None}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    result = {"model": options.model, "machine": machine, "rows": rows}
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    table = Table(title=f"{options.model}, input {options.input_size}; also in {options.output}")
    hidden = {"way", "end_to_end", "memory_mib"}
    columns = [name for name in rows[0] if name not in hidden] if rows else []
    for column in ("way", *columns, "end_to_end", "memory_mib"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for row in rows:
        cells = [f"{row[name]:.4g}" if name in row else ""
                 for name in (*columns, "end_to_end", "memory_mib")]  # fmt: skip
        table.add_row(str(row["way"]), *cells)
    Console(width=120).print(table)
    if not any(row["way"] != "cpu" for row in rows):
        sys.exit("nothing was measured on a GPU; `streamer doctor` says what is missing")


if __name__ == "__main__":
    main()
