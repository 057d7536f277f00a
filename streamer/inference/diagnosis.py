"""Why a GPU that was asked for is not there: which thing is missing, and what to do about it.

It asks the driver itself, by the functions of the CUDA driver API (CUDA Toolkit documentation,
"Driver API", sections "Initialization", "Version Management" and "Device Management"). Tested
with stand-ins for libcuda.so.1, and with the GPU build of onnxruntime on a machine without a GPU;
with a driver that is too old, or of another release, it has not been run yet.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

DRIVER: Final = "libcuda.so.1"
CUDNN: Final = "libcudnn.so.9"
TENSORRT: Final = "libnvinfer.so.10"

_LEAST_DRIVER: Final = {12: 525, 13: 580}
"""Release of the driver that each CUDA needs at least (CUDA Toolkit release notes, table
"CUDA Toolkit and Minimum Required Driver Version")."""

_REFUSALS: Final = {
    100: "the driver finds no GPU",
    802: "the GPUs' fabric manager does not run",
    803: "the driver and libcuda.so.1 are of different releases",
    804: "this GPU does not allow a newer CUDA than its driver's",
}
"""CUresult values of cuInit ("Driver API", section "Data types used by CUDA driver")."""

Load = Callable[[str], Any]
"""Gives a shared library by its name, or raises OSError."""


class Driver(NamedTuple):
    """What the NVIDIA driver says. ``problem`` is empty when it works.

    ``cuda`` is the newest CUDA it knows, such as (12, 4), and ``gpus`` the names of its GPUs in
    the order of ``cuda:N``.
    """

    problem: str
    cuda: tuple[int, int]
    gpus: tuple[str, ...]


def read_driver(load: Load = ctypes.CDLL) -> Driver | None:
    """Ask the NVIDIA driver; None when there is none (no libcuda.so.1). ``load`` is for tests."""
    try:
        cuda = load(DRIVER)
        version, count = ctypes.c_int(), ctypes.c_int()
        cuda.cuDriverGetVersion(ctypes.byref(version))
        knows = (version.value // 1000, version.value % 1000 // 10)
        if code := cuda.cuInit(0):
            return Driver(_REFUSALS.get(code, f"the driver fails (CUDA error {code})"), knows, ())
        cuda.cuDeviceGetCount(ctypes.byref(count))
        return Driver("", knows, tuple(_names(cuda, count.value)))
    except OSError:
        return None
    except AttributeError:  # a stub that was made to build programs with
        return Driver(f"{DRIVER} is not the driver's own", (0, 0), ())


def _names(cuda: Any, count: int) -> Iterator[str]:
    for number in range(count):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(128)
        cuda.cuDeviceGet(ctypes.byref(device), number)
        cuda.cuDeviceGetName(name, len(name), device)
        yield name.value.decode(errors="replace")


def why_not(
    what: str, number: int, *, built_for: str, said: str, error: str, load: Load = ctypes.CDLL
) -> str:
    """One sentence: that ``what`` ("CUDA" or "TensorRT") cannot be used, why, and the remedy.

    ``number`` is the GPU's; ``built_for`` the CUDA of onnxruntime ("13.0", or empty); ``said``
    what onnxruntime printed when it loaded its libraries, and ``error`` what it raised.
    """
    driver = read_driver(load)
    faults = [*_of_driver(driver, number, built_for)]
    faults += _of_libraries(what, f"{said}\n{error}", built_for.startswith("12."), load)
    if not faults and "no kernel image" in error:
        faults.append(
            ("this onnxruntime has no code for so old a GPU", "pip install 'streamer[gpu-cu12]'")
        )
    if not faults:
        faults.append((error or "onnxruntime does not say why", "check it with nvidia-smi"))
    reasons = " and ".join(dict.fromkeys(fault for fault, _ in faults))
    remedies = ", ".join(dict.fromkeys(remedy for _, remedy in faults))
    return f"{what} on GPU {number} cannot be used: {reasons}; {remedies}, or set the device to cpu"


def _of_driver(driver: Driver | None, number: int, built_for: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the driver, if anything, with the remedy."""
    needs = int(built_for.partition(".")[0] or 0) if built_for[:1].isdigit() else 0
    if driver is None:
        yield (
            f"there is no NVIDIA driver ({DRIVER} is missing)",
            "install the driver, or start the container with --gpus all",
        )
    elif driver.cuda != (0, 0) and driver.cuda[0] < needs:
        knows = ".".join(map(str, driver.cuda))
        least = f" to {_LEAST_DRIVER[needs]} or later" if needs in _LEAST_DRIVER else ""
        older = " or pip install 'streamer[gpu-cu12]' instead" if needs == 13 else ""
        yield (
            f"the driver is too old: it knows CUDA {knows}, this onnxruntime needs {built_for}",
            f"update the driver{least}{older}",
        )
    elif driver.problem:
        yield driver.problem, "check it with nvidia-smi"
    elif number >= len(driver.gpus):
        there = ", ".join(f"cuda:{n} is {name}" for n, name in enumerate(driver.gpus))
        yield (
            f"there is no GPU of this number ({there or 'the driver shows none'})",
            "choose one of these" if there else "check it with nvidia-smi and CUDA_VISIBLE_DEVICES",
        )


def _of_libraries(what: str, text: str, cuda12: bool, load: Load) -> Iterator[tuple[str, str]]:
    """Which shared libraries are missing: those that were named, cuDNN and TensorRT."""
    pattern = r"(?:Failed to load |: )(\S*?(lib[\w+-]+\.so[.\d]*)): "
    named = dict.fromkeys(match[2] for match in re.finditer(pattern, text))
    missing = [library for library in named if library not in (DRIVER, CUDNN, TENSORRT)]
    if not _loads(CUDNN, load):
        missing.append(f"cuDNN ({CUDNN})")
    if missing:
        are = "is" if len(missing) == 1 else "are"
        extra = "gpu-cu12" if cuda12 else "gpu"
        yield f"{', '.join(missing)} {are} missing", f"pip install 'streamer[{extra}]'"
    if what == "TensorRT" and not _loads(TENSORRT, load):
        # Newer releases of TensorRT have another libnvinfer, which this onnxruntime cannot use.
        package = "tensorrt-cu12>=10,<11" if cuda12 else "tensorrt-cu13>=10.16.1,<10.17"
        yield f"TensorRT 10 is missing ({TENSORRT})", f"pip install '{package}'"


def _loads(library: str, load: Load) -> bool:
    try:
        load(library)
    except OSError:
        return False
    return True
