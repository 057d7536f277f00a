"""Running a network on an NVIDIA GPU: fixed batches, memory taken once, CUDA graphs.

Batches of any size would have cuDNN choose algorithms and the arena grow again and again. So a
batch is padded to one of a few sizes, and for each size of batch and picture the input and the
outputs stay where they are on the GPU.

What runs here was run with onnxruntime's bindings on CPU memory. On a GPU, with CUDA graphs and
with TensorRT it was written from the documents of onnxruntime and has not been run yet.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple, cast

import numpy as np

from streamer.types import Floats, Image

MAX_BATCH: Final = 16
"""Pictures in one run: more gains nothing on the GPUs that were measured, and delays the first."""

_BINDINGS: Final = 32
"""Shapes that keep their memory: five sizes of batch for six shapes of picture."""


@dataclass(frozen=True, slots=True)
class GpuOptions:
    """How to use a GPU.

    ``memory_limit`` is bytes of onnxruntime's arena (all in all it takes some hundred MB more),
    None for no limit; ``cuda_graphs`` records the launches of each shape once and replays them;
    ``engines`` is the folder where TensorRT keeps what it built, None to build anew at each
    start (minutes); ``largest_input`` is the longest side of any input, pixels, and ``max_batch``
    the most pictures in a run: TensorRT builds for these. ``fold`` lets a session try a network
    that does the head's work on the GPU (folding.py); ``pixels`` is the input's height and width
    where such a network is opened.
    """

    memory_limit: int | None = None
    cuda_graphs: bool = False
    engines: Path | None = None
    largest_input: int = 640
    max_batch: int = MAX_BATCH
    fold: bool = True
    pixels: tuple[int, int] | None = None


def batch_sizes(max_batch: int) -> tuple[int, ...]:
    """Sizes of batch that are run on a GPU: powers of two, and ``max_batch`` (at least 1)."""
    powers = [1 << power for power in range(max_batch.bit_length())]
    return tuple(sorted({*powers, max_batch}))


def cuda_options(number: int, gpu: GpuOptions) -> dict[str, str]:
    """Options of the CUDA provider for GPU ``number`` (names checked in 1.26.0 and 1.31.1)."""
    options = {
        "device_id": str(number),
        # A quick choice for each new input size: 2 ms, where trying all takes over 600 ms.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Take the memory that is needed and not the next power of two.
        "arena_extend_strategy": "kSameAsRequested",
        # One thread at a time runs a session (see BoundNetwork): one stream is enough.
        "use_ep_level_unified_stream": "1",
    }
    if gpu.memory_limit is not None:
        options["gpu_mem_limit"] = str(gpu.memory_limit)
    if gpu.cuda_graphs:
        options["enable_cuda_graph"] = "1"
    return options


def tensorrt_options(number: int, gpu: GpuOptions, *, image: str, key: str) -> dict[str, str]:
    """Options of the TensorRT provider for GPU ``number``.

    ``image`` is the name of the network's input, and ``key`` tells apart whatever needs an engine
    of its own: model, versions, GPU. All sizes get one profile, given in full, since TensorRT
    builds a new engine (minutes) for a shape outside of its profile.
    """
    side = gpu.largest_input
    sizes = (32, 32), (-(-side * 9 // 16 // 32) * 32, side), (side, side)
    shapes = [f"3x{height}x{width}" for height, width in sizes]
    if gpu.pixels is not None:
        shapes = ["{}x{}x3".format(*gpu.pixels)] * 3
    batches = 1, min(4, gpu.max_batch), gpu.max_batch
    least, usual, most = (f"{image}:{n}x{each}" for n, each in zip(batches, shapes, strict=True))
    options = {
        "device_id": str(number),
        "trt_profile_min_shapes": least,
        "trt_profile_opt_shapes": usual,
        "trt_profile_max_shapes": most,
    }
    if gpu.engines is not None:
        folder = str(gpu.engines / key)
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_engine_cache_prefix": "streamer",
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
        }
    if gpu.cuda_graphs:
        options["trt_cuda_graph_enable"] = "1"
    return options


class _Binding(NamedTuple):
    """What one shape keeps: its binding, the input on the GPU and the number of its graph."""

    io: Any
    image: Any
    graph: int


class BoundNetwork:
    """An onnxruntime session whose inputs and outputs stay on the GPU.

    ``image`` and ``outputs`` are names; ``device`` is onnxruntime's word for the memory ("cuda")
    and ``number`` which; ``sizes`` are the batches to run (:func:`batch_sizes`). Threads take
    turns: onnxruntime allows no two at once with CUDA graphs, and two at once gain nothing.
    """

    def __init__(
        self,
        ort: ModuleType,
        session: Any,
        *,
        image: str,
        outputs: Sequence[str],
        sizes: Sequence[int],
        device: str = "cuda",
        number: int = 0,
        graphs: bool = False,
    ) -> None:
        """Take no memory yet; each shape takes its own at its first run."""
        self._ort = ort
        self._session = session
        self._image = image
        self._outputs = tuple(outputs)
        self._sizes = tuple(sorted(sizes))
        self._place = (device, number)
        self._graphs = graphs
        self._bindings: OrderedDict[tuple[int, ...], _Binding] = OrderedDict()
        self._numbers = count(1)
        self._lock = threading.Lock()

    def batch_size(self, pictures: int) -> int:
        """How many pictures to run for so many: the next size, or as many as there are."""
        return next((size for size in self._sizes if size >= pictures), pictures)

    def ready(self, shape: tuple[int, ...]) -> bool:
        """Whether a batch of this shape ran before, so that the next run is quick."""
        return self._padded(shape) in self._bindings

    def _padded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.batch_size(shape[0]), *shape[1:])

    def run(self, batch: Floats | Image, options: Any) -> list[Floats]:
        """The outputs for ``batch`` (N, 3, H, W), as new arrays of N rows each.

        A folded network takes (N, H, W, 3) uint8, and its one row for the whole batch stays one.
        ``options`` are fresh ``RunOptions``. A batch of :meth:`batch_size` is taken as it is, any
        other is copied. Raises what onnxruntime raises.
        """
        shape = self._padded(batch.shape)
        whole: Floats | Image = batch
        if shape != batch.shape:
            whole = np.zeros(shape, batch.dtype)
            whole[: len(batch)] = batch
        with self._lock:
            binding = self._bindings.get(shape)
            if binding is None:
                binding = self._bind(whole, options)
            else:
                self._bindings.move_to_end(shape)
                binding.image.update_inplace(whole)
                if self._graphs:
                    options.add_run_config_entry("gpu_graph_id", str(binding.graph))
                self._session.run_with_iobinding(binding.io, options)
            found = binding.io.copy_outputs_to_cpu()
        return [cast("Floats", output)[: len(batch)] for output in found]

    def _bind(self, batch: Floats | Image, options: Any) -> _Binding:
        """Run once with outputs where onnxruntime puts them, and leave them there for ever."""
        while len(self._bindings) >= _BINDINGS:
            self._drop(self._bindings.popitem(last=False)[1])
        io = self._session.io_binding()
        # A copy, since on CPU memory the value would be the caller's own array.
        image = self._ort.OrtValue.ortvalue_from_numpy(batch.copy(), *self._place)
        io.bind_ortvalue_input(self._image, image)
        for name in self._outputs:
            io.bind_output(name, *self._place)
        if self._graphs:
            options.add_run_config_entry("gpu_graph_id", "-1")  # nothing to be recorded
        self._session.run_with_iobinding(io, options)
        for name, value in zip(self._outputs, io.get_outputs(), strict=True):
            io.bind_ortvalue_output(name, value)
        binding = self._bindings[batch.shape] = _Binding(io, image, next(self._numbers))
        return binding

    def free(self) -> None:
        """Let go of what every shape keeps, so that its memory can serve another."""
        with self._lock:
            while self._bindings:
                self._drop(self._bindings.popitem()[1])

    def _drop(self, binding: _Binding) -> None:
        if self._graphs and hasattr(self._session, "release_captured_graph"):
            self._session.release_captured_graph(binding.graph)
