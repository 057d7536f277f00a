"""What NVML says of a GPU, with each of the driver's functions failing or lacking in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamer.inference.gpu_use import GpuMeter
from streamer.status import GpuUse

CUDA = ("cuInit", "cuDeviceGet", "cuDeviceGetPCIBusId")
NVML = ("nvmlInit_v2", "nvmlDeviceGetHandleByPciBusId_v2")
READING = ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates")


class Driver:
    """Both libraries as far as we use them: GPU 1 of CUDA is at a bus that only NVML knows."""

    def __init__(self, fails: str = "", lacks: str = "") -> None:
        self.fails, self.lacks = fails, lacks

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name == self.lacks or name not in (*CUDA, *NVML, *READING):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            if name == self.fails:
                return 999
            if name == "cuDeviceGet":
                arguments[0]._obj.value = 40 + arguments[1]
            elif name == "cuDeviceGetPCIBusId":
                assert arguments[2].value == 41
                arguments[0].value = b"0000:65:00.0"
            elif name == "nvmlDeviceGetHandleByPciBusId_v2":
                assert arguments[0].value == b"0000:65:00.0"
                arguments[1]._obj.value = 0xABC
            elif name == "nvmlDeviceGetMemoryInfo":
                assert arguments[0].value == 0xABC
                memory = arguments[1]._obj
                memory.total, memory.free, memory.used = 8 << 30, 5 << 30, 3 << 30
            elif name == "nvmlDeviceGetUtilizationRates":
                arguments[1]._obj.gpu = 37
            return 0

        return call


def test_the_gpu_that_cuda_counts_is_the_one_that_is_read() -> None:
    driver = Driver()
    assert GpuMeter(1, load=lambda _: driver).read() == GpuUse(1, 3 << 30, 8 << 30, 0.37)


@pytest.mark.parametrize("step", [*CUDA, *NVML, *READING])
@pytest.mark.parametrize("how", ["fails", "lacks"])
def test_whatever_fails_gives_none(step: str, how: str) -> None:
    driver = Driver(**{how: step})
    assert GpuMeter(1, load=lambda _: driver).read() is None


def test_without_a_driver_there_is_none() -> None:
    def load(name: str) -> Any:
        raise OSError(name)

    assert GpuMeter(0, load=load).read() is None


@pytest.mark.gpu
def test_a_real_gpu_is_read() -> None:
    found = GpuMeter(0).read()
    if found is None:
        pytest.skip("there is no GPU")
    assert 0 < found.used_bytes <= found.total_bytes
    assert 0 <= found.busy <= 1
