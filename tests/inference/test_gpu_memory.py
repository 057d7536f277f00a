"""Free memory by the driver's own functions, with every one of them failing in turn."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from streamer.inference.gpu_memory import GpuMemory, gpu_memory


class Driver:
    """libcuda.so.1 as far as we use it: ``fails`` answers 2 (out of memory), ``lacks`` is gone."""

    def __init__(self, fails: str = "", lacks: str = "") -> None:
        self.fails, self.lacks = fails, lacks
        self.held = 0
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name == self.lacks:
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.asked.append(name)
            if name == self.fails:
                return 2
            if name == "cuDeviceGet":
                arguments[0]._obj.value = 7
                self.number = arguments[1]
            elif name == "cuDevicePrimaryCtxRetain":
                assert arguments[1].value == 7
                self.held += 1
            elif name == "cuDevicePrimaryCtxRelease_v2":
                self.held -= 1
            elif name == "cuMemGetInfo_v2":
                arguments[0]._obj.value, arguments[1]._obj.value = 3 << 30, 8 << 30
            return 0

        return call


def test_free_and_total_of_the_device_asked_for() -> None:
    driver = Driver()
    assert gpu_memory(2, load=lambda: driver) == GpuMemory(3 << 30, 8 << 30)
    assert driver.number == 2
    assert driver.held == 0
    assert driver.asked.count("cuCtxPushCurrent_v2") == driver.asked.count("cuCtxPopCurrent_v2")


STEPS = ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2",
         "cuMemGetInfo_v2"]  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["fails", "lacks"])
def test_whatever_fails_gives_none_and_lets_go(step: str, how: str) -> None:
    driver = Driver(**{how: step})
    assert gpu_memory(load=lambda: driver) is None
    assert driver.held == 0


def test_without_a_driver_there_is_none() -> None:
    def load() -> Any:
        return ctypes.CDLL("libcuda-that-is-not-here.so.1")

    assert gpu_memory(load=load) is None


@pytest.mark.gpu
def test_a_real_gpu_has_memory() -> None:
    found = gpu_memory()
    if found is None:
        pytest.skip("there is no GPU")
    assert 0 < found.free <= found.total
