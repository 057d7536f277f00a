"""How much of an NVIDIA GPU is in use, asked of its driver: no library of ours is needed.

The functions are of NVML ("NVIDIA Management Library API Reference") and of the CUDA driver API
("Device Management"). Written from these documents; it has not been run on a real GPU yet.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final

from streamer.status import GpuUse

_BUS_ID_BYTES: Final = 32


class _Memory(ctypes.Structure):
    """``nvmlMemory_t``: bytes."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class _Utilization(ctypes.Structure):
    """``nvmlUtilization_t``: per cent of the last sample period."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class GpuMeter:
    """Reads the memory and the load of one GPU; every reading costs some 0.1 ms at most.

    It may be read from any thread.
    """

    def __init__(self, number: int, *, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        """Find CUDA device ``number``, in the order of CUDA, which NVML may count otherwise.

        ``load`` gives a library by its file's name or raises OSError. Where anything is missing
        :meth:`read` gives None; nothing is raised.
        """
        self._number = number
        self._nvml: Any = None
        self._device = ctypes.c_void_p()
        try:
            cuda, nvml = load("libcuda.so.1"), load("libnvidia-ml.so.1")
            device, bus = ctypes.c_int(), ctypes.create_string_buffer(_BUS_ID_BYTES)
            if (
                cuda.cuInit(0)
                or cuda.cuDeviceGet(ctypes.byref(device), number)
                or cuda.cuDeviceGetPCIBusId(bus, _BUS_ID_BYTES, device)
                or nvml.nvmlInit_v2()
                or nvml.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(self._device))
            ):
                return
        except (OSError, AttributeError):  # no driver, or one from before these functions
            return
        self._nvml = nvml

    def read(self) -> GpuUse | None:
        """The GPU now; None where it cannot be asked."""
        if self._nvml is None:
            return None
        memory, load = _Memory(), _Utilization()
        try:
            failed = self._nvml.nvmlDeviceGetMemoryInfo(
                self._device, ctypes.byref(memory)
            ) or self._nvml.nvmlDeviceGetUtilizationRates(self._device, ctypes.byref(load))
        except AttributeError:
            return None
        if failed:
            return None
        return GpuUse(self._number, memory.used, memory.total, load.gpu / 100)
