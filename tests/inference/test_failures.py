import onnxruntime
import pytest

from streamer.inference.failures import (
    error_classes,
    gpu_is_gone,
    is_not_a_model,
    no_memory,
    one_line,
    shape_of,
)
from tests.inference.fake_ort import STATE
from tests.inference.pictures import model_bytes

GONE = [
    "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=box",
    "CUDA failure 719: unspecified launch failure",
    "CUDA failure 999: unknown error",
    "CUDA error 46: all CUDA-capable devices are busy or unavailable",
    "CUDA_ERROR 100",
    "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0",
    "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED",
]
FULL = [
    "Failed to allocate memory for requested buffer of size 2147483648",
    "/onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::"
    "AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 42",
    "Available memory of 0 is smaller than requested bytes of 2949120",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED",
    "CUDA failure 2: out of memory ; GPU=0",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "std::bad_alloc",
]
NEITHER = [
    "Exiting due to terminate flag being set to true.",
    "CUDA failure 209: no kernel image is available for execution on the device",
    "Got invalid dimensions for input: image",
    "CUDA failure 7001",
    "CUDA failure 20",
]


@pytest.mark.parametrize("text", GONE)
def test_a_lost_gpu(text) -> None:
    assert gpu_is_gone(STATE.Fail(text))


@pytest.mark.parametrize("text", FULL)
def test_a_full_gpu_is_not_lost(text) -> None:
    assert no_memory(STATE.RuntimeException(text))
    assert not gpu_is_gone(STATE.RuntimeException(text))


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_neither(text) -> None:
    assert not gpu_is_gone(STATE.Fail(text))
    assert not no_memory(STATE.Fail(text))


def test_no_memory_from_cpp_arrives_as_memory_error() -> None:
    assert no_memory(MemoryError())
    assert MemoryError in error_classes(onnxruntime)
    assert STATE.EPFail in error_classes(onnxruntime)


@pytest.mark.parametrize("content", [b"", b"<html>", model_bytes()[:1000]])
def test_bytes_that_are_no_model_are_told_from_a_device_that_fails(content) -> None:
    with pytest.raises(error_classes(onnxruntime)) as caught:
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    assert is_not_a_model(caught.value)
    assert not is_not_a_model(STATE.Fail("CUDA failure 700"))


def test_one_line_keeps_what_is_meant() -> None:
    text = (
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : /onnxruntime_src/onnxruntime/core/a.cc:12 "
        "CUDA failure 2:\nout of memory. "
    )
    assert one_line(RuntimeError(text)) == "CUDA failure 2: out of memory"
    assert len(one_line(RuntimeError("x" * 1000))) == 200


def test_shapes_are_said_in_plain_numbers() -> None:
    import numpy as np

    assert shape_of(np.zeros((1, 3, 2, 2))) == "(1, 3, 2, 2)"
