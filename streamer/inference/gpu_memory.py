"""Free memory of an NVIDIA GPU, asked of its driver: no library but libcuda.so.1 is needed.

The functions are of the CUDA driver API (CUDA Toolkit documentation, "Driver API", sections
"Initialization", "Primary Context Management" and "Memory Management").
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, NamedTuple


class GpuMemory(NamedTuple):
    """Bytes of GPU memory: free at this moment, and in all."""

    free: int
    total: int


def _load() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def gpu_memory(number: int = 0, *, load: Callable[[], Any] = _load) -> GpuMemory | None:
    """Memory of CUDA device ``number`` (in the order of CUDA, as in ``cuda:N``), or None.

    None when there is no driver, no such device, or it does not answer as it should. Asking costs
    some hundred MB of that memory for as long as it takes, unless the process uses the GPU
    anyhow; they are not counted as free. ``load`` gives the driver's library or raises OSError.
    """
    try:
        cuda = load()
    except OSError:
        return None
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    try:
        if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), number):
            return None
        if cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
            return None
        try:
            if cuda.cuCtxPushCurrent_v2(context):
                return None
            try:
                failed = cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
            finally:
                cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
        finally:
            cuda.cuDevicePrimaryCtxRelease_v2(device)
    except AttributeError:  # a libcuda of before 2010, or a stub of it
        return None
    return None if failed else GpuMemory(free.value, total.value)
