import re
from types import SimpleNamespace

import onnxruntime
import pytest

from streamer.errors import DeviceError, ModelError
from streamer.inference import providers as module
from streamer.inference.cuda import GpuOptions
from streamer.inference.providers import (
    Device,
    built_with,
    open_cpu,
    open_device,
    parse_device,
)
from tests.inference.fake_ort import CPU, CUDA, STATE, TENSORRT, FakeBuild
from tests.inference.pictures import model_bytes


def opened(build: FakeBuild, kind: str = "cuda", number: int = 0, **gpu):
    return open_device(build, b"model", Device(kind, number), threads=4, gpu=GpuOptions(**gpu))


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", Device("auto")),
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda", 0)),
        ("cuda:12", Device("cuda", 12)),
        ("tensorrt", Device("tensorrt")),
        ("tensorrt:1", Device("tensorrt", 1)),
        ("openvino", Device("openvino")),
    ],
)
def test_devices_are_read(text, device) -> None:
    assert parse_device(text) == device


@pytest.mark.parametrize(
    "text", ["gpu", "cuda:", "cuda:x", "CUDA", "", "cuda:-1", "cpu:0", "openvino:1", "cuda:0\n"]
)
def test_unknown_devices_are_refused(text) -> None:
    with pytest.raises(DeviceError, match=r"use auto, cpu, cuda, cuda:N, tensorrt, .* or openvino"):
        parse_device(text)


@pytest.mark.parametrize("kind", ["cuda", "tensorrt"])
def test_a_gpu_that_works_is_opened_strictly_and_without_a_cpu(kind) -> None:
    build = FakeBuild()
    found = opened(build, kind, 2)
    asked = [o for o in build.opened if o.gpu]
    assert [o.strict for o in asked] == [True]
    names = [name for name, _ in asked[0].providers]
    assert names == ([CUDA] if kind == "cuda" else [TENSORRT, CUDA])
    assert CPU not in names
    assert all(options["device_id"] == "2" for _, options in asked[0].providers)
    assert (found.kind, found.nodes) == (kind, {names[0]: 2})
    assert build.preloaded == 1
    assert build.severities == [4, 3]  # silent for the attempt, then its errors are heard


def test_tensorrt_keeps_engines_by_model_version_and_gpu(tmp_path) -> None:
    build = FakeBuild()
    opened(build, "tensorrt", engines=tmp_path / "engines")
    [folder] = (tmp_path / "engines").iterdir()
    assert re.fullmatch(r"[0-9a-f]{16}-1\.31\.1-\w+-\w+", folder.name)
    assert build.opened[-1].providers[0][1]["trt_engine_cache_path"] == str(folder)
    assert build.opened[-1].providers[0][1]["trt_profile_max_shapes"].startswith("image:16x3x")


def test_a_folder_that_cannot_be_made_is_named(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match=r"engines cannot be made.*make it writable"):
        opened(FakeBuild(), "tensorrt", engines=tmp_path / "file" / "engines")


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("cuda", "streamer[gpu]"),
        ("tensorrt", "streamer[gpu]"),
        ("openvino", "onnxruntime-openvino"),
    ],
)
def test_a_build_without_it_is_an_error_with_a_remedy(kind, remedy, capfd) -> None:
    with pytest.raises(
        DeviceError, match=r"built without.*uninstall it.*or set the device to cpu"
    ) as e:
        opened(FakeBuild(providers=(CPU,)), kind)
    assert remedy in str(e.value)
    assert capfd.readouterr() == ("", "")


def test_openvino_goes_through_the_same_checks() -> None:
    name = "OpenVINOExecutionProvider"
    build = FakeBuild(providers=(name, CPU))
    found = opened(build, "openvino")
    assert (found.kind, found.nodes) == ("openvino", {name: 2})
    with pytest.raises(DeviceError, match=r"OpenVINO cannot be used.*reinstall"):
        opened(FakeBuild(providers=(name, CPU), loads=False), "openvino")


@pytest.mark.parametrize("kind", ["cuda", "tensorrt"])
def test_a_gpu_that_does_not_load_is_an_error_and_nothing_is_printed(kind, capfd) -> None:
    build = FakeBuild(
        loads=False, prints="Failed to load libcublas.so.13: libcublas.so.13: cannot open"
    )
    with pytest.raises(DeviceError, match=r"libcublas.so.13.* missing.*or set the device to cpu"):
        opened(build, kind)
    assert [o.strict for o in build.opened if o.gpu] == [True, False]
    assert build.severities[-1] == 3
    assert capfd.readouterr() == ("", "")


def test_tensorrt_that_falls_back_to_cuda_is_an_error() -> None:
    build = FakeBuild()
    build.inner = lambda asked, kind: CUDA
    with pytest.raises(DeviceError, match=r"no part of this model runs on Tensorrt.*to cuda"):
        opened(build, "tensorrt")


def test_tensorrt_may_leave_some_nodes_to_cuda() -> None:
    build = FakeBuild(inner=lambda asked, kind: CUDA if kind == "Softmax" else asked)
    assert opened(build, "tensorrt").nodes == {TENSORRT: 1, CUDA: 1}


def test_sizes_computed_on_the_cpu_do_not_refuse_a_gpu_that_does_the_work() -> None:
    build = FakeBuild(cpu_nodes=("Shape", "Gather", "Concat", "Unsqueeze"))
    assert opened(build).nodes == {CUDA: 2, CPU: 4}
    assert [o.strict for o in build.opened] == [True, False]


def test_a_convolution_on_the_cpu_does() -> None:
    with pytest.raises(DeviceError, match="Conv, Resize of this model cannot run"):
        opened(FakeBuild(cpu_nodes=("Shape", "Conv", "Resize")))


def test_old_builds_that_do_not_tell_where_nodes_are_must_be_strict(monkeypatch) -> None:
    monkeypatch.delattr("tests.inference.fake_ort.FakeSession.get_provider_graph_assignment_info")
    assert opened(FakeBuild()).nodes == {}
    with pytest.raises(DeviceError, match="does not tell"):
        opened(FakeBuild(cpu_nodes=("Shape",)))


@pytest.mark.parametrize(
    "text", ["CUDA failure 101: invalid device ordinal", "CUDNN_STATUS_NOT_INITIALIZED"]
)
def test_what_opening_raises_is_part_of_the_sentence(text, monkeypatch) -> None:
    monkeypatch.setattr(
        module, "why_not", lambda what, number, **said: f"{what} {number}: {said['error']}"
    )
    error = STATE.RuntimeException(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {text}")
    with pytest.raises(DeviceError, match=f"CUDA 7: {text}"):
        opened(FakeBuild(error=error), "cuda", 7)


def test_a_file_that_is_no_model_is_not_the_devices_fault() -> None:
    with pytest.raises(ModelError, match="fetch it again"):
        opened(FakeBuild(error=STATE.InvalidProtobuf("Failed to load model: parsing failed")))
    with pytest.raises(ModelError, match="fetch it again"):
        open_cpu(onnxruntime, b"<html>", threads=1, spin=False)


def test_the_cpu_build_says_so_of_itself() -> None:
    assert built_with(onnxruntime, "cpu")
    assert open_cpu(onnxruntime, model_bytes(), threads=1, spin=True).kind == "cpu"


def test_libraries_of_tensorrt_are_looked_for_where_pip_puts_them(monkeypatch, tmp_path) -> None:
    asked: list[str] = []

    def load(path: str, mode: int) -> None:
        asked.append(path)
        raise OSError

    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(module.ctypes, "CDLL", load)
    module._load_libraries(FakeBuild(), "tensorrt")
    assert asked[0] == str(tmp_path / "libnvinfer.so.10")
