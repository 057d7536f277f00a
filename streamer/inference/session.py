"""Runs the network: the only door to onnxruntime.

A device that was asked for is used or an error is raised (see providers.py); a run that never
ends is ended (watchdog.py); a GPU without memory, or lost, is told apart from other failures.

On a GPU none of this has been run yet. It was tested with failures injected into real sessions,
and with the GPU build of onnxruntime on a machine without a GPU.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

import numpy as np

from streamer.errors import DetectionFailed, DeviceError, ModelError, OutOfMemory
from streamer.inference.contract import Network, ports_of
from streamer.inference.cpu import PlainNetwork, QuickNetwork
from streamer.inference.cuda import BoundNetwork, GpuOptions, batch_sizes
from streamer.inference.failures import (
    error_classes,
    gpu_is_gone,
    no_memory,
    one_line,
    shape_of,
)
from streamer.inference.folding import Folding, opener
from streamer.inference.graph import Ports
from streamer.inference.ladder import MemoryCounts
from streamer.inference.providers import (
    Device,
    Opened,
    built_with,
    open_cpu,
    open_device,
    parse_device,
    sorrow,
)
from streamer.inference.quicken import quicken
from streamer.inference.runtime import onnxruntime
from streamer.inference.watchdog import Watchdog, Watched
from streamer.types import Floats, Image

_Outputs = TypeVar("_Outputs")

RUN_S: Final = 5.0
"""A run may take so long, or :data:`WARM_UPS` times as long as the warm-up, if that is more."""

WARM_UPS: Final = 20

FIRST_RUN_S: Final = 60.0
"""A run that nothing is known of may take so long: the first of a shape on a GPU takes seconds."""

FIRST_TENSORRT_RUN_S: Final = 1800.0
"""TensorRT builds its engine in the first run: minutes, on small devices many."""

LARGEST_REWRITTEN: Final = 20_000_000
"""Bytes of the largest model that is rewritten for a CPU: others are slow in any case, and what
rewriting does to their memory was not measured."""

PREPARE_S: Final = 10.0
"""Choosing a quicker network may take so long; 1 s is usual."""

_OPENING = threading.Lock()
"""Sessions are opened one at a time: two at once on one GPU have crashed."""


class Session:
    """A network that is ready to run. Made by :func:`open_session`; any thread may run it.

    ``provider`` is what it really runs on: "cpu", "cuda", "tensorrt" or "openvino"; ``requested``
    the device asked for; ``nodes`` how many nodes of the network are on which provider, where
    onnxruntime tells. ``warning`` is one sentence for a person when "auto" found signs of a GPU
    and could not use it, else None. ``memory`` counts what :class:`streamer.inference.ladder.
    Ladder` did, ``hangs`` the runs that were ended for taking too long, and ``warmed`` is how
    many seconds a run took when it was warm, by the shape (N, 3, H, W) of it.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        ort: ModuleType,
        requested: str,
        warning: str | None = None,
        gpu: GpuOptions | None = None,
        number: int = 0,
        watchdog: Watchdog | None = None,
        run_s: float = RUN_S,
        rewrite: Callable[[Ports, int, int, int], PlainNetwork | None] | None = None,
        fold: Callable[[Ports, int, int], Network[Image]] | None = None,
    ) -> None:
        """Take an onnxruntime session; see :class:`QuickNetwork` and :class:`Folding` for the rest.

        Raises :class:`ModelError` unless it is a RetinaFace.
        """
        self.provider: str = opened.kind
        self.requested = requested
        self.warning = warning
        self.nodes = opened.nodes
        self.memory = MemoryCounts()
        self.warmed: dict[tuple[int, ...], float] = {}
        self._errors = error_classes(ort)
        self._new_options = ort.RunOptions
        self._watchdog = watchdog or Watchdog()
        self._run_s = run_s
        self._first_s = FIRST_TENSORRT_RUN_S if opened.kind == "tensorrt" else FIRST_RUN_S
        self._pace: float | None = None  # seconds a run may take for each number of its batch
        ports = ports_of(opened.session)
        parts = opened.session, ports.image, list(ports[1:]), opened.core
        self._network: Network[Floats] = PlainNetwork(*parts)
        if rewrite is not None:
            self._network = QuickNetwork(*parts, partial(rewrite, ports))
        if opened.kind in ("cuda", "tensorrt"):
            gpu = gpu or GpuOptions()
            self._network = BoundNetwork(
                ort, opened.session, image=ports.image, outputs=list(ports[1:]),
                sizes=batch_sizes(gpu.max_batch), number=number,
                graphs=gpu.cuda_graphs and opened.kind == "cuda",
            )  # fmt: skip
        self._folding = None if fold is None else Folding(self._network, partial(fold, ports))

    @property
    def hangs(self) -> int:
        """Runs that were ended for taking too long, those of the sessions before included."""
        return self._watchdog.hangs

    def succeed(self, before: Session) -> None:
        """Take the place of another session of the same model, before this one is used.

        Both count together from here on, and a run that still goes on in the other is seen in
        :meth:`stuck_s` of both: what hangs does not get well because the session is another.
        What was asked for, and why it is not used, stays as it was said at the start.
        """
        self.memory, self._watchdog = before.memory, before._watchdog
        self.requested, self.warning = before.requested, before.warning

    def batch_size(self, pictures: int) -> int:
        """How many pictures to give to :meth:`run` for so many, so that nothing is copied.

        On a GPU the next of 1, 2, 4, 8 and 16: what the additional ones hold does not matter, and
        what comes out for them is to be ignored. On a CPU as many as there are.
        """
        return self._network.batch_size(pictures)

    def run(self, batch: Floats) -> tuple[Floats, Floats, Floats]:
        """Run the network on ``batch``, (N, 3, H, W) float32, C-contiguous.

        Returns ``loc`` (N, P, 4), ``conf`` (N, P, 2) and ``landmarks`` (N, P, 10), float32.
        Raises :class:`DetectionFailed` when onnxruntime could not do it this time, or not in time
        (5 s, or 20 times the warm-up); :class:`streamer.errors.OutOfMemory`, which is
        one, when a smaller batch may fit; and :class:`DeviceError` when the GPU is lost for good:
        only a restart helps then.
        """
        loc, conf, landmarks = self._run(self._network, batch)
        return loc, conf, landmarks

    def folds(self, height: int, width: int, *, trial: bool = False) -> bool:
        """Whether pictures of this input size are for :meth:`run_folded`, which none is on a CPU.

        With ``trial`` both are tried where they have not been, which takes as long as loading a
        model; the log tells. Raises :class:`DeviceError` when the GPU is lost.
        """
        if self._folding is None:
            return False
        if trial:
            self._folding.choose(height, width, self._run)
        return self._folding.network(height, width) is not None

    def run_folded(self, pixels: Image) -> tuple[Floats, Floats]:
        """Run the folded network on ``pixels``, (N, H, W, 3) uint8 in BGR, C-contiguous.

        Returns ``candidates`` (N, K, 15) and ``extremes`` (1, 3), float32, as
        :func:`streamer.inference.graph.fold` says. Raises what :meth:`run` raises, and
        ``ValueError`` for a size that it does not :meth:`fold <folds>`.
        """
        _, height, width, _ = pixels.shape
        network = None if self._folding is None else self._folding.network(height, width)
        if network is None:
            raise ValueError(f"there is no folded network for {width}x{height}; use run()")
        candidates, extremes = self._run(network, pixels)
        return candidates, extremes

    def _run(self, network: Network[Any], batch: Floats | Image) -> list[Floats]:
        """The outputs, within the time that is right; errors as :meth:`run` says."""
        limit_s = self._first_s
        if self._pace is not None and network.ready(batch.shape):
            limit_s = max(self._run_s, self._pace * batch.size)
        run = self._watchdog.begin(self._new_options(), limit_s)
        try:
            return network.run(batch, run.options)
        except self._errors as error:
            raise self._failure(error, batch, run) from None
        finally:
            self._watchdog.end(run)

    def warm_up(self, batch: Floats) -> tuple[Floats, Floats, Floats]:
        """Run ``batch`` twice; the second run is timed into ``warmed`` and sets the time limit.

        The first run of a shape takes memory and chooses algorithms. Returns and raises what
        :meth:`run` does.
        """
        if isinstance(self._network, QuickNetwork):
            self._choose(self._network, batch)
        return self._warm(partial(self.run, batch), batch.shape)

    def warm_up_folded(self, pixels: Image) -> tuple[Floats, Floats]:
        """As :meth:`warm_up`, for what :meth:`run_folded` takes, gives and raises."""
        count, height, width, colours = pixels.shape
        return self._warm(partial(self.run_folded, pixels), (count, colours, height, width))

    def _warm(self, run: Callable[[], _Outputs], shape: tuple[int, ...]) -> _Outputs:
        run()
        began = time.perf_counter()
        outputs = run()
        seconds = time.perf_counter() - began
        self.warmed[shape] = seconds
        self._pace = max(self._pace or 0.0, WARM_UPS * seconds / math.prod(shape))
        return outputs

    def _choose(self, network: QuickNetwork, batch: Floats) -> None:
        """Let it choose for the size of ``batch``; whether that runs at all is seen next."""
        watched = self._watchdog.begin(self._new_options(), PREPARE_S)
        try:
            network.prepare(batch, lambda: watched.options)
        except self._errors:
            pass  # the network stays as it is
        finally:
            self._watchdog.end(watched)

    def stuck_s(self) -> float:
        """Seconds that a run goes on although it was told to end; 0 when none does.

        A run of any session in the line of :meth:`succeed`, the worst of them.
        """
        return self._watchdog.stuck_s()

    def _failure(self, error: Exception, batch: Floats | Image, run: Watched) -> Exception:
        """What to raise for what onnxruntime raised."""
        if self.provider != "cpu" and gpu_is_gone(error):
            return DeviceError(
                f"the GPU stopped working ({one_line(error)}); restart streamer, and look "
                "at the driver's messages in the kernel log if it happens again"
            )
        shape = shape_of(batch)
        if run.ended:
            self._watchdog.count_hang()
            return DetectionFailed(
                f"a run of the model on a batch of shape {shape} did not end within "
                f"{run.limit_s:.1f} s and was stopped; if it goes on, try another model or device"
            )
        if no_memory(error):
            self._network.free()
            if self._folding is not None:
                self._folding.free()
            return OutOfMemory(
                f"there is no memory for a batch of shape {shape} ({one_line(error)}); "
                "use a smaller batch or input size, or leave more memory to streamer"
            )
        return DetectionFailed(
            f"onnxruntime could not run the model on a batch of shape {shape} "
            f"({one_line(error)}); if it goes on, try a smaller batch or input size"
        )


def open_session(
    model: bytes, *, device: str, threads: int, spin: bool, gpu: GpuOptions | None = None
) -> Session:
    """Load a RetinaFace from the bytes of its ONNX file and make it ready to run.

    ``device``: "cpu"; "cuda" or "cuda:N" for an NVIDIA GPU, "tensorrt" or "tensorrt:N" for one by
    TensorRT, "openvino", each of which is then used or an error is raised; "auto" for CUDA where
    it really works, else the CPU. ``threads`` (1 or more) share one run on the CPU. With ``spin``
    they busy-wait for 1 ms between parts of it: much lower latency, at 1/3 of the processor time
    that onnxruntime's own default burns (measured at 10 pictures a second on two threads: 15.9 ms
    and 31.6 ms of processor time, against 25.3 and 30.3 without, 15.8 and 96.9 by default).
    ``gpu`` says how to use a GPU. The first run of each input size is slower; the caller warms up.

    Raises :class:`MissingDependency` without onnxruntime, :class:`ModelError` when the bytes are
    not a RetinaFace, :class:`DeviceError` when the device cannot be used (one sentence that names
    what is missing), and ``ValueError`` when ``threads`` is below 1.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    asked = parse_device(device)
    ort = onnxruntime()
    gpu = gpu or GpuOptions()
    with _OPENING:
        warning = None
        if asked.kind not in ("cpu", "auto"):
            return _open_proved(ort, model, asked, device, threads, gpu)
        if asked.kind == "auto" and built_with(ort, "cuda"):
            try:
                return _open_proved(ort, model, Device("cuda"), device, threads, gpu)
            except DeviceError as error:
                warning = f"running on the CPU, because {error}"
        elif asked.kind == "auto" and Path("/dev/nvidiactl").exists():
            warning = (
                "running on the CPU although there is an NVIDIA GPU, because this onnxruntime was "
                "built without CUDA; to use it, uninstall onnxruntime and pip install "
                "'streamer[gpu]'"
            )
        opened = open_cpu(ort, model, threads=threads, spin=spin)

        def rewrite(ports: Ports, height: int, width: int, block: int) -> PlainNetwork | None:
            if len(model) > LARGEST_REWRITTEN:
                return None
            try:
                quick = quicken(model, ports, height=height, width=width, block=block)
            except ModelError:
                return None  # it is none of the networks that we know
            opened = open_cpu(ort, quick, threads=threads, spin=spin)
            return PlainNetwork(opened.session, ports.image, list(ports[1:]), opened.core)

        return Session(opened, ort=ort, requested=device, warning=warning, rewrite=rewrite)


def gpu_build() -> bool:
    """Whether the onnxruntime that is installed was built for NVIDIA GPUs.

    Raises :class:`MissingDependency` without onnxruntime.
    """
    return built_with(onnxruntime(), "cuda")


def _open_proved(
    ort: ModuleType, model: bytes, asked: Device, device: str, threads: int, gpu: GpuOptions
) -> Session:
    """Open on a device and run once: only that proves cuDNN and the GPU's own code."""
    opened = open_device(ort, model, asked, threads=threads, gpu=gpu)
    fold = None
    # A limit is for the arena of one session, and each folded network would have another.
    if gpu.fold and gpu.memory_limit is None and opened.kind in ("cuda", "tensorrt"):
        fold = opener(ort, model, asked, threads=threads, gpu=gpu, opening=_OPENING)
    session = Session(opened, ort=ort, requested=device, gpu=gpu, number=asked.number, fold=fold)
    sides = [side if isinstance(side, int) else 0 for side in opened.session.get_inputs()[0].shape]
    batch = np.zeros((sides[0] or 1, 3, sides[2] or 32, sides[3] or 32), np.float32)
    try:
        session.run(batch)
    except (DetectionFailed, DeviceError) as error:
        reason, _, _ = str(error).rpartition("; ")  # the rest is advice for later
        raise sorrow(ort, asked, "", f"its first run failed: {reason}") from None
    return session
