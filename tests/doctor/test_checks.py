"""The whole examination: with and without a configuration, of healthy and of broken parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamer.apart import Crashed
from streamer.doctor import checks as doctor
from streamer.doctor.checks import Check, Finding, as_json, checks
from streamer.errors import DeviceError
from streamer.inference.measure import Measurement
from tests.inference.test_measure import ONE

SECRET = "hunter2"


def examine(config: Path | None = None, **settings: Any) -> dict[str, Finding]:
    """All findings by name, looked at in order."""
    found = [one for check in checks(config, environ={}, **settings) for one in check.run()]
    names = [one.name for one in found]
    assert len(set(names)) == len(names)
    assert all(one.remedy for one in found if one.verdict != "good")
    return {one.name: one for one in found}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers in place of child processes, for tests of what is made of them."""

    def answer(function: Any, *_: Any, **keywords: Any) -> dict[str, Any]:
        if function is doctor.probe_cuda:
            missing = {"problem": "No such file", "file": None, "version": None}
            names = ("libcuda", "libcudart", "libcublas", "libcudnn")
            libraries = dict.fromkeys(names, missing)
            return {"libraries": libraries, "started": None, "gpus": 0, "free": None, "total": None}
        return {
            "problem": "", "version": "1.0", "ffmpeg": "8", "libzmq": "4", "cuda": None,
            "providers": ["CPUExecutionProvider"], "decoders": {"h264": "h264", "vp8": None},
        }  # fmt: skip

    monkeypatch.setattr(doctor, "run_apart", answer)
    monkeypatch.setattr(doctor, "measure_apart", lambda *_, **__: ONE)
    monkeypatch.setattr(doctor, "gpu_present", lambda: False)
    monkeypatch.setattr(doctor, "driver_version", lambda: None)


def write(folder: Path, text: str) -> Path:
    path = folder / "streamer.yaml"
    path.write_text(text)
    return path


def test_this_machine_really(model_path: Path, tmp_path: Path, free_port: int) -> None:
    config = write(
        tmp_path,
        f"""
cameras:
  yard: {{source: "demo:"}}
  door: {{source: "rtsp://admin:{SECRET}@127.0.0.1:{free_port}/x"}}
device: cpu
http: {{bind: "127.0.0.1:0"}}
publish: {{zeromq: {{bind: "tcp://127.0.0.1:*"}}}}
""",
    )
    found = examine(config)
    bad = {name for name, one in found.items() if one.verdict == "bad"}
    assert bad == {"camera door"}
    for name in ("python", "streamer", "numpy", "opencv", "zmq", "codec av1", "providers", "cores"):
        assert found[name].verdict == "good"
    assert "FFmpeg" in found["av"].detail
    assert "onnxruntime" in found["onnxruntime"].detail
    assert "ran on cpu: " in found["device cpu"].detail
    assert "ms for a picture of 640x384" in found["device cpu"].detail
    assert found["model retinaface_mnet025"].verdict == "good"
    told = json.dumps(as_json(list(found.values())))
    assert SECRET not in told
    assert json.loads(told)["schema"] == 1
    assert json.loads(told)["verdict"] == "bad"


@pytest.mark.usefixtures("quick")
def test_without_a_configuration_and_without_a_model(tmp_path: Path) -> None:
    found = examine(cache=tmp_path)
    assert found["model retinaface_mnet025"].verdict == "warning"
    assert "streamer models pull" in found["model retinaface_mnet025"].remedy
    assert found["device auto"].verdict == "warning"
    assert found["codec h264"].verdict == "good"
    assert found["codec vp8"].verdict == "warning"
    assert not any(name.startswith(("camera", "http", "configuration")) for name in found)


@pytest.mark.usefixtures("quick")
def test_with_a_configuration_a_missing_model_is_bad(tmp_path: Path) -> None:
    config = write(tmp_path, "cameras: {a: {source: 'demo:'}}\n")
    assert examine(config, cache=tmp_path)["model retinaface_mnet025"].verdict == "bad"


@pytest.mark.usefixtures("quick")
def test_a_configuration_that_cannot_be_used_does_not_end_the_examination(tmp_path: Path) -> None:
    config = write(tmp_path, f"cameras: {{a: {{source: 'rtsp://u:{SECRET}@', fps: 3}}}}\n")
    parts = checks(config, environ={}, cache=tmp_path)
    found = [one for part in parts for one in part.run()]
    problems = [one for one in found if one.name == "configuration"]
    assert len(problems) == 2
    assert {one.verdict for one in problems} == {"bad"}
    assert SECRET not in "".join(one.detail for one in found)
    config = write(tmp_path, "cameras: {a: {source: 'rtsp://u:${NOT_SET}@h/', every: 0}}\n")
    first, second = checks(config, environ={}, cache=tmp_path)[0].run()
    assert (first.detail, first.remedy) == (
        "cameras.a.source: the environment variable NOT_SET is not set", "set it",
    )  # fmt: skip
    assert second.remedy == f"correct {config}"  # this one says only what must be
    assert any(one.name == "python" for one in found)
    missing = checks(tmp_path / "no.yaml", environ={}, cache=tmp_path)
    assert next(missing[0].run()).verdict == "bad"


@pytest.mark.usefixtures("quick")
def test_damaged_models_are_found(tmp_path: Path, model_bytes: bytes) -> None:
    (tmp_path / "retinaface_mnet025.onnx").write_bytes(model_bytes)
    (tmp_path / "retinaface_mnet050.onnx").write_bytes(b"<html>")
    found = examine(cache=tmp_path)
    assert found["model retinaface_mnet025"].verdict == "good"
    assert found["model retinaface_mnet050"].verdict == "warning"
    assert "delete the file" in found["model retinaface_mnet050"].remedy
    (tmp_path / "retinaface_mnet025.onnx").write_bytes(model_bytes[:-1])
    config = write(tmp_path, "cameras: {a: {source: 'demo:'}}\n")
    assert examine(config, cache=tmp_path)["model retinaface_mnet025"].verdict == "bad"


def with_session(monkeypatch: pytest.MonkeyPatch, result: Measurement | Exception) -> None:
    def answer(*_: Any, **__: Any) -> Measurement:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(doctor, "measure_apart", answer)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("error", "remedy"),
    [(DeviceError("no CUDA; pip install it"), "pip install it"),
     (Crashed("its process was ended by SIGSEGV"), "set the device to cpu")],
)  # fmt: skip
def test_a_session_that_does_not_open_is_bad(
    error: Exception, remedy: str, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_session(monkeypatch, error)
    found = examine()["device auto"]
    assert found.verdict == "bad"
    assert remedy in found.remedy


@pytest.mark.usefixtures("quick")
def test_a_fallback_to_the_cpu_is_said_aloud(
    model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    with_session(monkeypatch, replace(ONE, warning="running on the CPU, because; look at it"))
    found = examine()["device auto"]
    assert (found.verdict, found.remedy) == ("warning", "look at it")
    assert "ran on cpu" in found.detail
    assert "running on the CPU, because" in found.detail


@pytest.mark.usefixtures("quick")
def test_libraries_that_crash_or_are_there_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise Crashed("its process was ended by SIGILL")

    monkeypatch.setattr(doctor, "run_apart", crash)
    found = examine()
    for name in ("numpy", "av", "opencv", "zmq", "onnxruntime"):
        assert found[name].verdict == "bad"
        assert "SIGILL" in found[name].detail
    assert found["gpu"].verdict == "warning"
    assert "codec h264" not in found


@pytest.mark.usefixtures("quick")
def test_two_builds_of_onnxruntime_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"onnxruntime": ["onnxruntime", "onnxruntime-gpu"], "cv2": ["opencv-python", "x"]}
    monkeypatch.setattr(doctor.metadata, "packages_distributions", lambda: both)
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "1.31")
    found = examine()
    assert found["onnxruntime"].verdict == "bad"
    assert "uninstall every" in found["onnxruntime"].remedy
    assert found["opencv"].verdict == "warning"


def test_a_check_that_breaks_is_a_finding() -> None:
    def breaks() -> Any:
        yield Finding("first", "good", "well")
        raise ZeroDivisionError(SECRET)

    found = list(doctor._unbroken(Check("part", breaks))())
    assert [one.verdict for one in found] == ["good", "bad"]
    assert "ZeroDivisionError" in found[1].detail
    assert SECRET not in found[1].detail


def test_auto_chooses_by_what_was_seen(tmp_path: Path) -> None:
    patient = doctor._Patient(None, tmp_path, {}, tmp_path)
    assert doctor._choice(patient).model == "retinaface_mnet025"
    patient.gpu_free = 8 << 30
    assert doctor._choice(patient).model == "retinaface_resnet50"
