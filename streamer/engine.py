"""From a configuration to an open model: which session, how many workers, what batches."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from streamer.config import Config, Model
from streamer.inference.detector import RetinaFace
from streamer.inference.registry import load_model
from streamer.inference.session import Session, open_session
from streamer.log import get_logger
from streamer.protocols import Detector
from streamer.vision.picture import use_one_thread


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
        """A detector on this session, warmed up for 16:9 pictures."""
        detector = RetinaFace(
            self.session,
            input_size=input_size,
            confidence=config.confidence,
            nms=config.nms,
            max_faces=config.max_faces,
        )
        for batch in range(1, self.max_batch + 1):
            detector.warm_up(1280, 720, batch)
        return detector


def open_engine(
    config: Config, *, base_folder: Path, environ: Mapping[str, str], cameras: int
) -> Engine:
    """Load the model and open one session for all cameras.

    On a CPU one camera gets all cores for each picture (least latency), several get a worker for
    each core on one shared session (most pictures a second: measured 65 to 70 against 47 on two
    cores); a GPU gets one worker with batches.
    """
    model = load_model(
        config.model.name,
        path=None if config.model.path is None else base_folder.absolute() / config.model.path,
        sha256=config.model.sha256,
        environ=environ,
    )
    workers = config.inference.workers or (1 if cameras == 1 else min(cores(), cameras))
    threads = max(1, cores() // workers)
    session = open_session(
        model.content, device=config.device, threads=threads, spin=threads > 1 and workers == 1
    )
    if session.warning is not None:
        get_logger("infer").warning("device_fallback", detail=session.warning)
    use_one_thread()
    if session.provider == "cpu":
        return Engine(session, model.name, workers, config.inference.max_batch or 1)
    return Engine(
        session, model.name, config.inference.workers or 1, config.inference.max_batch or 16
    )
