"""What the pipeline costs against what cannot be avoided. Run it by `make bench`.

All figures come from one run, in rounds of both sides one after the other; the median of the rounds
counts. On a machine that does other work the ratios scatter (its load is in the file): run it on a
quiet one. Written to ``build/bench/bench.json``:

* ``floor_ms``: CPU-milliseconds per frame of decoding, of one conversion to the model's size, of
  the bare ``session.run`` on the model as it was published, and of NMS, each on one thread;
* ``pipeline_ms``: CPU-milliseconds per detected frame of capture, inference, tracking and
  publishing, four recorded cameras, every frame detected and encoded; no subscriber and no viewer
  is there, who would add sending and drawing; ``cpu_over_floor`` is its ratio to the floor's sum;
* ``throughput_over_bare``: detected frames a second with four cameras, against as many workers
  that do nothing but run the bare session in a loop;
* ``ceiling``: what that ratio can be at most with the model as it was published, when the same
  cores decode and convert as well: bare over bare and decoding and converting, in CPU time;
  ``throughput_over_ceiling`` is how much of it the pipeline reaches. It can be over 1, because the
  pipeline runs the model rewritten;
* ``loop_per_s``: the ceiling built and run: as many threads as workers, each of which decodes,
  converts and runs in a loop, with no channel, tracking or event; ``throughput_over_loop``;
* ``latency_over_bare_ms``: one camera at 25 fps, capture to event at the median, minus the
  median of the bare run 25 times a second, before and after;
* ``latency_p99_over_p50``, and the same of the bare run: what the machine alone scatters. Two
  threads of a run wait for each other, so anything else that runs shows here first. With
  ``--ahead`` these two are measured with real-time priority, as on a machine that does nothing
  else; that needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from streamer.app import App
from streamer.capture.av_picture import AvPicture, ColourConverter
from streamer.config import parse_config
from streamer.cores import usable_cores as cores
from streamer.inference.registry import load_model
from streamer.inference.session import Session, open_session
from streamer.log import configure
from streamer.resources import resource
from streamer.vision.anchors import priors
from streamer.vision.boxes import decode_boxes, decode_landmarks, nms
from streamer.vision.letterbox import Letterbox
from streamer.vision.retinaface import to_input

INPUT = (1, 3, 384, 640)  # a 1280x720 picture at input size 640
CONTENT = (640, 360)
CAMERAS = 4
LETTERBOX = Letterbox.fit(1280, 720, 640)


def decode_ms(clip: Path) -> tuple[float, list[av.VideoFrame]]:
    """CPU-ms per frame of decoding the clip on one thread, and some of its frames."""
    frames: list[av.VideoFrame] = []
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        count = 0
        began = time.process_time()
        for frame in container.decode(stream):
            count += 1
            if count % 5 == 0:
                frames.append(frame)
        spent = time.process_time() - began
    return spent / count * 1e3, frames


def convert_ms(frames: list[av.VideoFrame]) -> float:
    """CPU-ms of one conversion from the decoder's YUV to BGR at the model's size."""
    reformatter = av.video.reformatter.VideoReformatter()
    began = time.process_time()
    for frame in frames:
        reformatter.reformat(
            frame, *CONTENT, "bgr24", interpolation="FAST_BILINEAR", threads=1
        ).to_ndarray()
    return (time.process_time() - began) / len(frames) * 1e3


def run_ms(session: Session, runs: int) -> float:
    """CPU-ms of one bare run on this thread."""
    batch = np.random.default_rng(0).uniform(-120, 140, INPUT).astype(np.float32)
    began = time.process_time()
    for _ in range(runs):
        session.run(batch)
    return (time.process_time() - began) / runs * 1e3


def nms_ms(session: Session, frames: list[av.VideoFrame]) -> float:
    """CPU-ms per frame of decoding the candidates and of NMS, on real outputs of these frames."""
    table = priors(*INPUT[2:])
    pictures = [AvPicture(frame, ColourConverter()) for frame in frames[:20]]
    outputs = [session.run(to_input([picture], [LETTERBOX])) for picture in pictures]
    began = time.process_time()
    for loc, conf, landmarks in outputs * 5:
        chosen = np.flatnonzero(conf[0, :, 1] > 0.6)
        boxes = decode_boxes(loc[0, chosen], table[chosen])
        decode_landmarks(landmarks[0, chosen], table[chosen])
        nms(boxes, conf[0, chosen, 1], 0.4)
    return (time.process_time() - began) / len(outputs * 5) * 1e3


def floor(clip: Path, session: Session) -> tuple[float, float, float, float]:
    """CPU-ms per frame of decoding, of converting, of the bare run and of NMS, each alone."""
    decode, frames = decode_ms(clip)
    return decode, convert_ms(frames), run_ms(session, 100), nms_ms(session, frames)


def bare_throughput(session: Session, workers: int, seconds: float) -> float:
    """Runs a second of ``workers`` threads that run the session in a loop."""
    batch = np.random.default_rng(0).uniform(-120, 140, INPUT).astype(np.float32)
    counts = [0] * workers
    until = time.perf_counter() + seconds

    def loop(number: int) -> None:
        while time.perf_counter() < until:
            session.run(batch)
            counts[number] += 1

    threads = [threading.Thread(target=loop, args=(n,)) for n in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def loop_throughput(clip: Path, session: Session, workers: int) -> float:
    """Frames a second of ``workers`` threads that each decode, convert and run, twice the clip."""
    counts = [0] * workers

    def loop(number: int) -> None:
        converter, batch = ColourConverter(), np.empty(INPUT, np.float32)
        for _ in range(2):
            with av.open(str(clip)) as container:
                stream = container.streams.video[0]
                stream.codec_context.thread_type = "NONE"
                stream.codec_context.thread_count = 1
                for frame in container.decode(stream):
                    session.run(to_input([AvPicture(frame, converter)], [LETTERBOX], out=batch))
                    counts[number] += 1

    threads = [threading.Thread(target=loop, args=(n,)) for n in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def paced_ms(session: Session, seconds: float) -> list[float]:
    """Wall milliseconds of bare runs, one each 40 ms, as a camera's frames come."""
    batch = np.random.default_rng(0).uniform(-120, 140, INPUT).astype(np.float32)
    walls = []
    began = time.perf_counter()
    for number in range(round(seconds * 25)):
        time.sleep(max(0.0, began + number / 25 - time.perf_counter()))
        started = time.perf_counter()
        session.run(batch)
        walls.append((time.perf_counter() - started) * 1e3)
    return walls


def build_app(source: str, cameras: int) -> App:
    config = parse_config(
        {
            "cameras": {f"cam{n}": {"source": source} for n in range(cameras)},
            "device": "cpu",
            "http": None,
            "publish": {"zeromq": {"bind": "tcp://127.0.0.1:*"}},
        },
        {},
    )
    return App(config, base_folder=Path.cwd(), environ=os.environ)


def pipeline(clip: Path) -> tuple[float, float]:
    """CPU-ms per detected frame, and detected frames a second, with four recorded cameras."""
    app = build_app(str(clip), CAMERAS)
    cpu, wall = time.process_time(), time.perf_counter()
    app.run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    ledgers = [camera.ledger for camera in app.status().cameras]
    assert all(ledger.closes and not ledger.in_flight for ledger in ledgers)
    detected = sum(ledger.settled["detected"] for ledger in ledgers)
    assert detected == sum(ledger.captured for ledger in ledgers), "a file lost a frame"
    return cpu / detected * 1e3, detected / wall


@contextmanager
def ahead(wanted: bool) -> Iterator[None]:
    """Inside, this thread and those it starts go ahead of all others; they stay so afterwards."""
    if wanted:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        if wanted:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def latency(seconds: float) -> tuple[float, float]:
    """Median and 99th percentile of capture to event in ms, one live camera at 25 fps."""
    app = build_app("demo:", 1)
    app.run(seconds=seconds)
    camera = app.status().cameras[0]
    assert camera.latency_p50_s is not None
    assert camera.latency_p99_s is not None
    return camera.latency_p50_s * 1e3, camera.latency_p99_s * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ahead", action="store_true", help="latency with real-time priority")
    parser.add_argument("--output", type=Path, default=Path("build/bench/bench.json"))
    options = parser.parse_args()
    try:
        with ahead(options.ahead):
            pass
    except PermissionError:
        parser.error("--ahead needs root (or CAP_SYS_NICE)")
    configure()
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"the load is {load:.1f}: other work will disturb the figures", file=sys.stderr)
    clip = resource("demo.mp4")
    model = load_model("retinaface_mnet025", environ=os.environ).content
    workers = min(cores(), CAMERAS)
    one = open_session(model, device="cpu", threads=1, spin=False)
    latency_threads = cores()
    with ahead(options.ahead):
        every = open_session(model, device="cpu", threads=latency_threads, spin=latency_threads > 1)
    rounds: list[dict[str, float]] = []
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("bench", total=options.rounds * 4)
        run_ms(one, 10)
        run_ms(every, 10)
        for _ in range(options.rounds):
            # The floor before and after the pipeline: a machine that changes its pace meanwhile
            # changes it for both.
            floors = [floor(clip, one)]
            progress.advance(task)
            throughput = bare_throughput(one, workers, 5.0)
            loop = loop_throughput(clip, one, workers)
            progress.advance(task)
            cpu, fps = pipeline(clip)
            floors.append(floor(clip, one))
            steps = [statistics.mean(step) for step in zip(*floors, strict=True)]
            decode, convert, bare, suppression = steps
            progress.advance(task)
            with ahead(options.ahead):
                walls = paced_ms(every, 4.0)
                p50, p99 = latency(12.0)
                walls += paced_ms(every, 4.0)
            bare_p50, bare_p99 = np.percentile(walls, [50, 99]).tolist()
            ceiling = bare / (bare + decode + convert)
            progress.advance(task)
            rounds.append(
                {
                    "decode_ms": decode,
                    "convert_ms": convert,
                    "run_ms": bare,
                    "nms_ms": suppression,
                    "floor_ms": sum(steps),
                    "pipeline_ms": cpu,
                    "cpu_over_floor": cpu / sum(steps),
                    "bare_per_s": throughput,
                    "pipeline_per_s": fps,
                    "throughput_over_bare": fps / throughput,
                    "ceiling": ceiling,
                    "throughput_over_ceiling": fps / throughput / ceiling,
                    "loop_per_s": loop,
                    "throughput_over_loop": fps / loop,
                    "bare_latency_ms": bare_p50,
                    "bare_p99_over_p50": bare_p99 / bare_p50,
                    "latency_p50_ms": p50,
                    "latency_p99_ms": p99,
                    "latency_p99_over_p50": p99 / p50,
                    "latency_over_bare_ms": p50 - bare_p50,
                }
            )
    summary = {
        name: {
            "min": min(r[name] for r in rounds),
            "median": statistics.median(r[name] for r in rounds),
            "max": max(r[name] for r in rounds),
        }
        for name in rounds[0]
    }
    result = {
        **{name: figures["median"] for name, figures in summary.items()},
        "rounds": rounds,
        "summary": summary,
        "workers": workers,
        "cameras": CAMERAS,
        "load_before": load,
        "ahead": options.ahead,
        "machine": {"cores": cores(), "processor": platform.processor() or platform.machine()},
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n")
    table = Table(title=f"{len(rounds)} rounds on {cores()} cores; also in {options.output}")
    for column in ("figure", "min", "median", "max"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, figures in summary.items():
        table.add_row(name, *(f"{figures[k]:.2f}" for k in ("min", "median", "max")))
    Console(width=90).print(table)


if __name__ == "__main__":
    main()
