"""From a configuration to an open model: which session, how many workers, what batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from streamer.config import Config, Model
from streamer.cores import usable_cores
from streamer.errors import StreamerError
from streamer.inference.choose import auto_model
from streamer.inference.cuda import MAX_BATCH, GpuOptions
from streamer.inference.detector import RetinaFace
from streamer.inference.gpu_memory import gpu_memory
from streamer.inference.gpu_use import GpuMeter
from streamer.inference.providers import parse_device
from streamer.inference.registry import load_model
from streamer.inference.session import Session, gpu_build, open_session
from streamer.log import get_logger
from streamer.protocols import Detector
from streamer.resources import cache_folder
from streamer.status import GpuUse
from streamer.vision.picture import use_one_thread

SLOW_S: Final = {"cpu": 1.0, "openvino": 1.0}
"""Seconds for one picture of 640x384, warm, beyond which the log warns: a device that is so slow
is not what it seems to be, or the model is too large for it."""

SLOW_GPU_S: Final = 0.1
"""The same on a GPU: one core of a CPU does the default model in 0.017 s."""

_PIXELS: Final = 640 * 384

WARM_UP: Final = (1280, 720)
"""Width and height of the pictures for which detectors are warmed up: most cameras are 16:9."""

BATCH_DELAY_S: Final = 0.004
"""Longest wait for company in a batch on a GPU: a tenth of the time between frames at 25 fps."""

WEAK: Final = 2 / 3
"""A face that is known is found again down to this share of the confidence that a new one needs:
0.4 for 0.6. Measured (docs/freshness.md): more faces and fewer changes of identity; below it, boxes
that are none begin to be taken for known faces."""

MOST_WORKERS: Final = 32
"""Threads that run the network on a CPU, however many cores there are."""


class Engine:
    """An open session for all cameras, the model it runs, and how it is run.

    On a CPU one camera gets all cores for each picture (least latency), several get a worker for
    each core on one shared session (most pictures a second: measured 65 to 70 against 47 on two
    cores), and :meth:`retune` changes between the two when cameras come and go. A GPU gets one
    worker with batches, since threads only take turns on it.
    """

    def __init__(
        self,
        model: str,
        open_on: Callable[[str, int, bool], Session],
        *,
        device: str,
        cores: int,
        cameras: int,
        workers: int | None,
        max_batch: int | None,
    ) -> None:
        """``open_on`` opens a session on a device, for so many threads that spin or not.

        ``device`` is for the start; later sessions are opened on what the first really runs on.
        ``workers`` and ``max_batch`` are what the configuration says, None where it leaves it.
        """
        self.model = model
        self._open_on = open_on
        self._cores = cores
        self._fixed = workers is not None
        threads = max(1, cores // workers) if workers else self._threads_for(cameras)
        self._threads = threads
        self.session = open_on(device, threads, threads > 1 and workers in (None, 1))
        if self.session.provider in ("cuda", "tensorrt"):
            self._fixed = True
            self.workers, self.max_batch = 1, max_batch or MAX_BATCH
            self._gpu: GpuMeter | None = GpuMeter(parse_device(self.session.requested).number)
        else:
            # All workers are there from the start: one that has nothing to do costs nothing.
            self.workers, self.max_batch = workers or min(cores, MOST_WORKERS), max_batch or 1
            self._gpu = None
        self._detectors: list[RetinaFace] = []
        self._changing = threading.Lock()
        self._spare: dict[int, Session] = {}  # the one before, by its threads

    @property
    def delay_s(self) -> float:
        """How long a batch may wait for more, seconds: on a CPU batches gain nothing."""
        return BATCH_DELAY_S if self.session.provider in ("cuda", "tensorrt") else 0.0

    def gpu_use(self) -> GpuUse | None:
        """How much of the GPU is in use now; None where none is used, or it cannot be asked."""
        return None if self._gpu is None else self._gpu.read()

    def _threads_for(self, cameras: int) -> int:
        """Threads that share one run, when so many cameras are looked at."""
        return max(1, self._cores // max(1, min(self._cores, cameras)))

    def _at_once(self, threads: int) -> int:
        """Runs that go on at one time, when so many threads share each."""
        return max(1, min(self.workers, self._cores // threads))

    def detector(
        self, config: Model, input_size: int, *, weak: bool = False, shrinks: bool = True
    ) -> Detector:
        """A detector on this session, warmed up for 16:9 pictures and every size of batch.

        With ``weak`` it also gives faces of a confidence down to :data:`WEAK` times that of
        ``config``, for a tracker that knows what to do with them. Without ``shrinks`` it never
        looks at less than ``input_size``, however short memory is. The times found are in the
        log; slow ones are a warning.
        """
        with self._changing:
            detector = RetinaFace(
                self.session,
                input_size=input_size,
                confidence=config.confidence * (WEAK if weak else 1.0),
                nms=config.nms,
                max_faces=config.max_faces,
                shrinks=shrinks,
            )
            known = set(self.session.warmed)
            sizes = {self.session.batch_size(count) for count in range(1, self.max_batch + 1)}
            for batch in sorted(size for size in sizes if size <= self.max_batch):
                detector.warm_up(*WARM_UP, batch, self._at_once(self._threads))
            say_warm_up(self.session, known)
            self._detectors.append(detector)
            return detector

    def retune(self, cameras: int) -> None:
        """Choose anew how many threads share a run, now that there are so many ``cameras``.

        Takes a second where that changes; meanwhile all detectors go on as before. One call at a
        time. A session that cannot be opened now is a warning, and the old one stays. The one
        before is kept, some 20 MB: a camera that comes and goes would have them opened again and
        again, a second each, which leaves some 15 kB in onnxruntime every time. Without cameras
        nothing is to be gained: those that come next may be as many as before.
        """
        threads = self._threads_for(cameras)
        if self._fixed or cameras < 1 or threads == self._threads:
            return
        log = get_logger("infer")
        with self._changing:
            try:
                if threads in self._spare:
                    session = self._spare[threads]
                else:
                    # "auto" is decided once: a GPU that is free now was not there at the start.
                    session = self._open_on(self.session.provider, threads, threads > 1)
                    session.succeed(self.session)
                for detector in self._detectors:
                    detector.use(session, *WARM_UP, self._at_once(threads))
            except StreamerError as error:
                log.warning("retune_failed", cameras=cameras, detail=str(error))
                return
            self._spare = {self._threads: self.session}
            self._threads, self.session = threads, session
        log.info("retuned", cameras=cameras, threads=threads)


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

    A model named "auto" is chosen by the memory that is free and by what was measured here, and
    the log says which and why. Raises what :func:`load_model` and :func:`open_session` raise.
    """
    log = get_logger("infer")
    path = None if config.model.path is None else base_folder.absolute() / config.model.path
    free = None
    if config.model.name == "auto" and path is None and config.device not in ("cpu", "openvino"):
        memory = gpu_memory(parse_device(config.device).number) if gpu_build() else None
        free = memory and memory.free
    engine = _open(config, path, environ, cameras, free)
    if free is not None and engine.session.provider == "cpu":  # it was there, but cannot be used
        engine = _open(config, path, environ, cameras, None)
    if engine.session.warning is not None:
        log.warning("device_fallback", detail=engine.session.warning)
    use_one_thread()
    if engine.workers < (config.inference.workers or 1):
        log.warning(
            "workers_ignored",
            detail="a GPU is used by one worker; inference.workers is for the CPU, remove it",
        )
    return engine


def _open(
    config: Config,
    path: Path | None,
    environ: Mapping[str, str],
    cameras: int,
    gpu_free: int | None,
) -> Engine:
    """An engine for the model of ``path`` or of the configuration.

    ``gpu_free``: bytes free on the GPU that will be used, None on a CPU; only "auto" asks.
    """
    sizes = [config.model.input_size, *(c.input_size or 0 for c in config.cameras.values())]
    name = config.model.name
    if name == "auto":
        choice = auto_model(
            gpu_free=gpu_free,
            input_size=max(sizes),
            cameras=[(c.every, c.max_fps) for c in config.cameras.values()],
        )
        name = choice.model
        if path is None:
            get_logger("infer").info("model_chosen", model=name, reason=choice.reason)
    model = load_model(name, path=path, sha256=config.model.sha256, environ=environ)
    options = config.inference
    gpu = GpuOptions(
        engines=cache_folder() / "engines",
        largest_input=max(sizes),
        max_batch=options.max_batch or MAX_BATCH,
        memory_limit=None if options.gpu_memory_mb is None else options.gpu_memory_mb << 20,
        cuda_graphs=options.cuda_graphs,
        fold=options.fold,
    )

    def open_on(device: str, threads: int, spin: bool) -> Session:
        return open_session(model.content, device=device, threads=threads, spin=spin, gpu=gpu)

    return Engine(
        model.name,
        open_on,
        device=config.device,
        cores=usable_cores(),
        cameras=cameras,
        workers=options.workers,
        max_batch=options.max_batch,
    )
