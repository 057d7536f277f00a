import ctypes

import pytest

from streamer.inference.diagnosis import Driver, read_driver, why_not
from tests.inference.fake_ort import FakeDriver, loader

CUDNN, TENSORRT = "libcudnn.so.9", "libnvinfer.so.10"


def sentence(driver, *libraries, what="CUDA", number=0, built_for="13.0", said="", error="") -> str:
    return why_not(
        what, number, built_for=built_for, said=said, error=error, load=loader(driver, *libraries)
    )


@pytest.mark.parametrize(
    ("text", "fault", "remedy"),
    [
        (sentence(None, CUDNN), "no NVIDIA driver (libcuda.so.1 is missing)", "install the driver"),
        (
            sentence(FakeDriver(cuda=12040), CUDNN),
            "driver is too old: it knows CUDA 12.4, this onnxruntime needs 13.0",
            "update the driver to 580 or later or pip install 'streamer[gpu-cu12]'",
        ),
        (
            sentence(FakeDriver(cuda=11080), CUDNN, built_for="12.8"),
            "it knows CUDA 11.8, this onnxruntime needs 12.8",
            "update the driver to 525 or later",
        ),
        (sentence(FakeDriver()), "cuDNN (libcudnn.so.9) is missing", "pip install 'streamer[gpu]'"),
        (
            sentence(FakeDriver(), built_for="12.8"),
            "cuDNN (libcudnn.so.9) is missing",
            "pip install 'streamer[gpu-cu12]'",
        ),
        (
            sentence(FakeDriver(), CUDNN, number=3),
            "no GPU of this number (cuda:0 is L4)",
            "choose one of these",
        ),
        (
            sentence(FakeDriver(gpus=()), CUDNN),
            "the driver shows none",
            "CUDA_VISIBLE_DEVICES",
        ),
        (sentence(FakeDriver(init=100), CUDNN), "the driver finds no GPU", "nvidia-smi"),
        (sentence(FakeDriver(init=803), CUDNN), "of different releases", "nvidia-smi"),
        (sentence(FakeDriver(init=42), CUDNN), "CUDA error 42", "nvidia-smi"),
        (
            sentence(FakeDriver(), CUDNN, what="TensorRT"),
            "TensorRT 10 is missing (libnvinfer.so.10)",
            "tensorrt-cu13>=10.16.1,<10.17",
        ),
        (
            sentence(
                FakeDriver(), CUDNN,
                said="Failed to load libcublasLt.so.13: libcublasLt.so.13: cannot open shared "
                "object file\nFailed to load libcurand.so.10: libcurand.so.10: cannot open",
            ),
            "libcublasLt.so.13, libcurand.so.10 are missing",
            "pip install 'streamer[gpu]'",
        ),
        (
            sentence(
                FakeDriver(), CUDNN,
                error="Failed to load library libonnxruntime_providers_cuda.so with error: "
                "libcufft.so.12: cannot open shared object file: No such file or directory",
            ),
            "libcufft.so.12 is missing",
            "pip install 'streamer[gpu]'",
        ),
        (
            sentence(FakeDriver(), CUDNN, error="CUDA failure 209: no kernel image is available"),
            "no code for so old a GPU",
            "streamer[gpu-cu12]",
        ),
        (
            sentence(FakeDriver(), CUDNN, error="CUDA failure 42: of its own kind"),
            "CUDA failure 42: of its own kind",
            "nvidia-smi",
        ),
        (sentence(FakeDriver(), CUDNN), "onnxruntime does not say why", "nvidia-smi"),
    ],
)  # fmt: skip
def test_the_sentence_names_what_is_missing_and_the_remedy(text, fault, remedy) -> None:
    assert fault in text
    assert remedy in text
    assert text.index(fault) < text.index(remedy)
    assert text.endswith("or set the device to cpu")
    assert "\n" not in text


def test_all_that_is_missing_is_named_at_once() -> None:
    text = sentence(None, said="Failed to load libcublas.so.13: libcublas.so.13: cannot open")
    for missing in ("libcuda.so.1", "libcublas.so.13", CUDNN):
        assert missing in text
    assert text.count("pip install 'streamer[gpu]'") == 1


def test_the_driver_is_read() -> None:
    assert read_driver(loader(None)) is None
    assert read_driver(loader(FakeDriver(gpus=("L4", "T4")))) == Driver("", (13, 2), ("L4", "T4"))
    silent = read_driver(loader(FakeDriver(init=100)))
    assert silent is not None
    assert silent.problem
    assert silent.gpus == ()


def test_a_stub_of_the_driver_is_no_driver() -> None:
    def load(name: str) -> object:
        return ctypes.CDLL(None)  # the C library: it loads, and has nothing of CUDA

    stub = read_driver(load)
    assert stub is not None
    assert "not the driver's own" in stub.problem
