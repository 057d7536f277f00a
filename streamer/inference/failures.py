"""What onnxruntime's errors mean. Their texts are all there is to tell them apart.

The texts of CUDA, cuDNN and cuBLAS were read in onnxruntime's sources and in its issues 14474,
16307 and 26312; on the real hardware they have not been seen by us.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any, Final

from streamer.errors import ModelError

_NAMES: Final = (
    "EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf",
    "ModelLoaded", "NoModel", "NoSuchFile", "NotFound", "NotImplemented", "RuntimeException",
)  # fmt: skip
"""What onnxruntime raises; these classes share no base but ``Exception``."""

_GPU_IS_GONE: Final = re.compile(
    r"CUDA(?: failure|_ERROR| error)\D{0,3}(?:700|710|719|999|46|100)\b"
    r"|CUDNN_STATUS_EXECUTION_FAILED|CUBLAS_STATUS_(?!ALLOC_FAILED)"
)
"""After these the process can never use the GPU again: the CUDA context is dead."""

_NO_MEMORY: Final = re.compile(
    r"Failed to allocate memory|BFCArena|is smaller than requested bytes"
    r"|CUDA(?: failure|_ERROR| error)\D{0,3}2\b|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation"
    r"|C(?:UBLAS|UDNN)_STATUS_ALLOC_FAILED|DEVICE_ALLOCATION_FAILED|out of memory|bad.?alloc",
    re.IGNORECASE,
)


def error_classes(ort: ModuleType) -> tuple[type[Exception], ...]:
    """Every class that the onnxruntime module ``ort`` raises, for an ``except``.

    ``MemoryError`` is among them: what C++ throws when there is no memory arrives as that.
    """
    state = ort.capi.onnxruntime_pybind11_state
    named = [getattr(state, name) for name in _NAMES if hasattr(state, name)]
    return (*named, RuntimeError, ValueError, MemoryError)


def gpu_is_gone(error: BaseException) -> bool:
    """Whether the GPU is lost for good to this process."""
    return _GPU_IS_GONE.search(str(error)) is not None


def no_memory(error: BaseException) -> bool:
    """Whether there was no memory for this run. Ask :func:`gpu_is_gone` first."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)) is not None


def is_not_a_model(error: BaseException) -> bool:
    """Whether the bytes were at fault, and not the device."""
    return type(error).__name__ in {"InvalidProtobuf", "InvalidGraph", "NoModel"} or (
        "No graph was found" in str(error)
    )


def not_a_model(error: BaseException) -> ModelError:
    """What to raise then."""
    return ModelError(
        f"this file is not an ONNX model that onnxruntime can load ({one_line(error)}); "
        "fetch it again"
    )


def one_line(error: BaseException) -> str:
    """What onnxruntime means, without its codes and the paths of its own sources."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error))
    text = re.sub(r"\S*/onnxruntime_src/\S+\s?", "", text)
    text = re.sub(r"^void onnxruntime::\S+\(.*?\) ", "", text)
    return " ".join(text.split())[:200].rstrip(" .;:,")


def shape_of(batch: Any) -> str:
    """The shape of a batch, for people."""
    return str(tuple(int(side) for side in batch.shape))
