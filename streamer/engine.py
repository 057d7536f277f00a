"""From a configuration to an open model: which session, how many workers, what batches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from streamer.config import Config, Model
from streamer.inference.cuda import MAX_BATCH, GpuOptions
from streamer.inference.detector import RetinaFace
from streamer.inference.registry import load_model
from streamer.inference.session import Session, open_session
from streamer.log import get_logger
from streamer.protocols import Detector
from streamer.resources import cache_folder
from streamer.vision.picture import use_one_thread

SLOW_S: Final = {"cpu": 1.0, "openvino": 1.0}
"""Seconds for one picture of 640x384, warm, beyond which the log warns: a device that is so slow
is not what it seems to be, or the model is too large for it."""

SLOW_GPU_S: Final = 0.1
"""The same on a GPU: one core of a CPU does the default model in 0.017 s."""

_PIXELS: Final = 640 * 384


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0))


class Engine(NamedTuple):
    """An open session, the model it runs, and how to run it."""

    session: Session
    model: str
    workers: int
    max_batch: int

    def detector(self, config: Model, input_size: int) -> Detector:
        """A detector on this session, warmed up for 16:9 pictures and every size of batch.

        The times found are in the log; slow ones are a warning.
        """
        detector = RetinaFace(
            self.session,
            input_size=input_size,
            confidence=config.confidence,
            nms=config.nms,
            max_faces=config.max_faces,
        )
        known = set(self.session.warmed)
        sizes = {self.session.batch_size(count) for count in range(1, self.max_batch + 1)}
        for batch in sorted(size for size in sizes if size <= self.max_batch):
            detector.warm_up(1280, 720, batch)
        say_warm_up(self.session, known)
        return detector


def say_warm_up(session: Session, known: set[tuple[int, ...]]) -> None:
    """Log how long the runs took that were warmed up and are not in ``known``.

    On a CPU only slow ones: there is no doubt where it runs, and people pipe what we print.
    """
    log = get_logger("infer")
    new = {shape: s for shape, s in session.warmed.items() if shape not in known}
    for (batch, _, height, width), seconds in sorted(new.items()):
        figures = {"batch": batch, "width": width, "height": height, "ms": round(seconds * 1e3, 1)}
        limit_s = SLOW_S.get(session.provider, SLOW_GPU_S)
        if seconds * _PIXELS <= limit_s * batch * height * width:
            if session.provider != "cpu":
                log.info("warmed_up", device=session.provider, **figures)
        else:
            log.warning(
                "warm_up_slow",
                device=session.provider,
                **figures,
                detail=f"{limit_s * 1e3:.0f} ms for a picture of 640x384 would still be expected; "
                "see what else runs on this device, or choose a smaller model",
            )


def open_engine(
    config: Config, *, base_folder: Path, environ: Mapping[str, str], cameras: int
) -> Engine:
    """Load the model and open one session for all cameras.

    On a CPU one camera gets all cores for each picture (least latency), several get a worker for
    each core on one shared session (most pictures a second: measured 65 to 70 against 47 on two
    cores); a GPU gets one worker with batches, since threads only take turns on it.
    """
    model = load_model(
        config.model.name,
        path=None if config.model.path is None else base_folder.absolute() / config.model.path,
        sha256=config.model.sha256,
        environ=environ,
    )
    workers = config.inference.workers or (1 if cameras == 1 else min(cores(), cameras))
    threads = max(1, cores() // workers)
    max_batch = config.inference.max_batch or MAX_BATCH
    sizes = [config.model.input_size, *(c.input_size or 0 for c in config.cameras.values())]
    session = open_session(
        model.content,
        device=config.device,
        threads=threads,
        spin=threads > 1 and workers == 1,
        gpu=GpuOptions(
            engines=cache_folder() / "engines",
            largest_input=max(sizes),
            max_batch=max_batch,
            memory_limit=None
            if config.inference.gpu_memory_mb is None
            else config.inference.gpu_memory_mb << 20,
            cuda_graphs=config.inference.cuda_graphs,
        ),
    )
    log = get_logger("infer")
    if session.warning is not None:
        log.warning("device_fallback", detail=session.warning)
    use_one_thread()
    if session.provider in ("cuda", "tensorrt"):
        if workers > 1 and config.inference.workers:
            log.warning(
                "workers_ignored",
                detail="a GPU is used by one worker; inference.workers is for the CPU, remove it",
            )
        return Engine(session, model.name, 1, max_batch)
    return Engine(session, model.name, workers, config.inference.max_batch or 1)
