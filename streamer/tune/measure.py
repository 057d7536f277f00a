"""Measures, in a process of its own, what one input size costs here and what it finds.

The network is opened and run as the program would run it with so many cameras, on real pictures:
those of the demo clip, whose faces are known exactly.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from streamer.apart import run_apart
from streamer.bench.point import DEMO_FPS, recorded
from streamer.capture.memory import limit_arenas
from streamer.capture.pyav import PyAvSource
from streamer.config import Config
from streamer.cores import affinity, cpu_quota, usable_cores
from streamer.engine import Engine, open_engine
from streamer.events import encode, faces_event
from streamer.inference.retelling import as_rows
from streamer.protocols import Detector
from streamer.resources import resource
from streamer.types import Faces, Frame, NoPicture, Picture, Result, SourceUrl, Stamps
from streamer.vision.tracking import FaceTracker, joined

CLIP_FRAMES: Final = 250
"""Pictures of the demo clip, which is made to be looped (streamer/assets/SOURCES.md)."""

CLIP_SIZE: Final = (1280, 720)

FACE_PX: Final = 100
"""Width of the faces in the demo clip: 62 to 211 pixels, with a median of 98."""

_START_S: Final = 900.0  # TensorRT may build an engine first
_LEAST_RUNS: Final = 5
_PICTURES: Final = 8  # that service times are measured on, of 1.4 MB each
_CHUNK: Final = 8


@dataclass(frozen=True, slots=True)
class SizeMeasured:
    """What one input size (long side, pixels) costs, and what it finds.

    ``service_s``: seconds of runs by pictures in a batch, measured with ``workers`` at work at
    once, each run on ``threads`` threads; ``on_cpu`` is False on a GPU. ``max_batch`` and
    ``delay_s`` are those of :class:`streamer.engine.Engine`. ``decode_s`` is of one picture of
    1280x720, H.264; ``track_s`` of the faces found in one frame, ``predict_s`` of those of a frame
    that is not looked at, and ``publish_s`` of one event, in seconds of processor time. ``found``
    are faces by number of the clip's picture, as rows (see
    :func:`streamer.inference.retelling.as_rows`); pictures that time did not allow are missing.
    """

    input_size: int
    model: str
    provider: str
    warning: str
    workers: int
    threads: int
    max_batch: int
    delay_s: float
    on_cpu: bool
    cores: float
    service_s: Mapping[int, Sequence[float]]
    decode_s: float
    track_s: float
    predict_s: float
    publish_s: float
    found: Mapping[int, Sequence[Sequence[float]]]


def clip_pictures(fps: float) -> list[int]:
    """Which pictures of the clip a camera of so many frames a second sees in one round of it."""
    return [round(n * DEMO_FPS / fps) % CLIP_FRAMES
            for n in range(round(CLIP_FRAMES * fps / DEMO_FPS))]  # fmt: skip


def clip_truth() -> list[list[tuple[float, float, float, float]]]:
    """The true faces of each picture of the clip, as boxes; made with it, by no detector."""
    clip = json.loads(resource("demo.json").read_text(encoding="utf-8"))
    return [[tuple(face["bbox"]) for face in frame["faces"]] for frame in clip["frames"]]


def look_size(input_size: int, face_px: float) -> int:
    """Input size at which the clip shows what ``input_size`` makes of faces of ``face_px``.

    The network sees nothing but its input: half the size of everything is half the input size.
    """
    return max(32, round(input_size * face_px / FACE_PX / 32) * 32)


def measure_size(
    config: Config,
    input_size: int,
    *,
    cameras: int,
    base_folder: Path,
    face_px: float = FACE_PX,
    pictures: Sequence[int] = (),
    seconds: float = 0.8,
    look_s: float = 20.0,
) -> SizeMeasured:
    """Measure in a process of its own, with ``config``'s model, device and workers.

    ``cameras`` is for how many the engine is opened; ``pictures`` of the clip are looked at, for
    ``look_s`` seconds at most, as if its faces were ``face_px`` wide; runs are timed for
    ``seconds``. Raises DeviceError, ModelError, MissingDependency, DetectionFailed, and
    :class:`streamer.apart.Crashed`.
    """
    values, _ = recorded(config, cameras)
    values["model"]["input_size"] = input_size
    for camera in values["cameras"].values():
        camera["input_size"] = None
    found = run_apart(
        _measure_in_child,
        timeout_s=_START_S + seconds + look_s,
        values=values,
        base_folder=str(base_folder.absolute()),
        input_size=input_size,
        looked_size=look_size(input_size, face_px),
        cameras=cameras,
        pictures=sorted(set(pictures)),
        seconds=seconds,
        look_s=look_s,
    )
    for key in ("service_s", "found"):  # JSON has no numbers for keys
        found[key] = {int(number): value for number, value in found[key].items()}
    return SizeMeasured(**found)


def _measure_in_child(_payload: bytes, **settings: Any) -> dict[str, Any]:
    limit_arenas()  # as `streamer run` does
    return asdict(measure_here(**settings))


def measure_here(
    *,
    values: Mapping[str, Any],
    base_folder: str,
    input_size: int,
    looked_size: int,
    cameras: int,
    pictures: Sequence[int],
    seconds: float,
    look_s: float,
) -> SizeMeasured:
    """What :func:`measure_size` has its process do; ``looked_size`` see :func:`look_size`."""
    config = Config(**values)
    engine = open_engine(config, base_folder=Path(base_folder), environ=os.environ, cameras=cameras)
    detector = engine.detector(config.model, input_size)
    some = [frame.picture for frame in islice(_clip(), 0, None, CLIP_FRAMES // _PICTURES)]
    service_s = service_times(engine, detector, some, cameras=cameras, seconds=seconds)
    if looked_size != input_size:
        detector = engine.detector(config.model, looked_size)
    workers = min(engine.workers, cameras)
    found, decode_s = look_at_clip(detector, pictures, workers=workers, seconds=look_s)
    track_s, predict_s, publish_s = costs_beside(list(found.values()))
    on_cpu = engine.session.provider in ("cpu", "openvino")
    cores = usable_cores()
    quota = cpu_quota()
    return SizeMeasured(
        input_size=input_size,
        model=engine.model,
        provider=engine.session.provider,
        warning=engine.session.warning or "",
        workers=engine.workers,
        threads=max(1, cores // (config.inference.workers or workers)) if on_cpu else 1,
        max_batch=engine.max_batch,
        delay_s=engine.delay_s,
        on_cpu=on_cpu,
        cores=min(float(affinity()), quota or float(affinity())),
        service_s=service_s,
        decode_s=decode_s,
        track_s=track_s,
        predict_s=predict_s,
        publish_s=publish_s,
        found={number: as_rows(faces) for number, faces in found.items()},
    )


def _clip() -> Iterator[Frame]:
    clip = SourceUrl(f"file:{resource('demo.mp4')}")
    return PyAvSource(clip, camera="clip", live=False).frames(threading.Event())


def service_times(
    engine: Engine,
    detector: Detector,
    pictures: Sequence[Picture],
    *,
    cameras: int,
    seconds: float,
) -> dict[int, list[float]]:
    """Seconds of :meth:`detect`, by pictures in a batch; five runs at least of each.

    As many are at work at once as there would be with so many ``cameras``.
    """
    workers = min(engine.workers, cameras)
    batches = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= min(engine.max_batch, cameras)]
    found: dict[int, list[float]] = {}
    for batch in batches:
        until = time.perf_counter() + seconds / len(batches)

        def work(worker: int, batch: int = batch, until: float = until) -> list[float]:
            mine = pictures[worker::workers] or pictures  # their converters have locks
            walls: list[float] = []
            while len(walls) < _LEAST_RUNS or time.perf_counter() < until:
                some = [mine[(len(walls) + n) % len(mine)] for n in range(batch)]
                for picture in some:
                    picture.bgr(32, 32)  # forgets the size it was last converted to
                began = time.perf_counter()
                detector.detect(some)
                walls.append(time.perf_counter() - began)
            return walls

        with ThreadPoolExecutor(workers) as pool:
            found[batch] = [wall for walls in pool.map(work, range(workers)) for wall in walls]
    return found


def look_at_clip(
    detector: Detector, pictures: Iterable[int], *, workers: int, seconds: float
) -> tuple[dict[int, Faces], float]:
    """The faces found in these pictures of the clip, and processor seconds to decode one.

    ``workers`` look at once; after ``seconds`` no more are looked at.
    """
    wanted = set(pictures)
    found: dict[int, Faces] = {}
    until = time.monotonic() + seconds
    decode_s, decoded = 0.0, 0
    waiting: list[Frame] = []

    def look(pool: ThreadPoolExecutor) -> None:
        faces = pool.map(lambda frame: detector.detect([frame.picture])[0], waiting)
        found.update(zip([frame.index for frame in waiting], faces, strict=True))
        waiting.clear()

    with ThreadPoolExecutor(workers) as pool:
        frames = _clip()
        while time.monotonic() < until:
            began = time.thread_time()
            frame = next(frames, None)
            decode_s += time.thread_time() - began
            if frame is None:
                break
            decoded += 1
            if frame.index in wanted:
                waiting.append(frame)
            if len(waiting) == _CHUNK:
                look(pool)
        look(pool)
    return found, decode_s / max(1, decoded)


def costs_beside(found: Sequence[Faces]) -> tuple[float, float, float]:
    """Processor seconds to track the faces found in a frame, to predict them, to tell of them."""
    if not found:
        return 0.0, 0.0, 0.0
    tracker, results = FaceTracker(), []
    track_s = predict_s = 0.0
    for number, faces in enumerate(found):
        at = number / DEMO_FPS
        began = time.thread_time()
        seen = tracker.update(faces, at)
        between = time.thread_time()
        predicted = tracker.predict(at, within=CLIP_SIZE)
        predicted_at = time.thread_time()
        tracks = joined(seen, predicted)
        track_s += time.thread_time() - began
        predict_s += predicted_at - between
        frame = Frame("clip", 0, number, at, 0.0, None, NoPicture(*CLIP_SIZE))
        results.append(Result(frame, tracks, Stamps(at, at, at)))
    began = time.thread_time()
    for number, result in enumerate(results):
        encode(faces_event(result, seq=number, boot_id="0" * 32, model="clip", now_at=number))
    publish_s = time.thread_time() - began
    return track_s / len(found), predict_s / len(found), publish_s / len(found)


Measure = Callable[..., SizeMeasured]
"""What has the signature of :func:`measure_size`."""
