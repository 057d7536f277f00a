"""Real libraries are asked, and libraries that are missing, broken or compiled on the spot."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from streamer.capture.ffmpeg import LIVE_CODECS
from streamer.doctor import probe as doctor_probe
from streamer.doctor.probe import DECODERS, probe_cuda, probe_library


def test_what_is_looked_for_is_what_cameras_may_send() -> None:
    assert set(DECODERS) == LIVE_CODECS


@pytest.mark.parametrize("name", ["av", "cv2", "zmq", "numpy", "onnxruntime"])
def test_the_libraries_that_are_here_work(name: str) -> None:
    facts = probe_library(b"", name=name)
    assert facts["problem"] == ""
    assert facts["version"][0].isdigit()
    if name == "av":
        assert None not in facts["decoders"].values()
        assert facts["decoders"]["av1"] == "libdav1d"
    if name == "onnxruntime":
        assert "CPUExecutionProvider" in facts["providers"]


def test_a_decoder_that_is_not_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DECODERS, "hevc", ("hevc_of_another_build",))
    assert probe_library(b"", name="av")["decoders"]["hevc"] is None


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ImportError('libx.so: cannot\\n open')", "ImportError: libx.so: cannot open"),
        ("raise RuntimeError('numpy 1 is too old')", "RuntimeError: numpy 1"),
        ("1 +", "SyntaxError"),
    ],
)
def test_a_library_that_breaks_is_a_sentence(
    code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_library_for_doctor.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert words in probe_library(b"", name="broken_library_for_doctor")["problem"]


def test_the_empty_folder_that_an_uninstall_leaves_is_damage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    assert "damaged" in probe_library(b"", name="onnxruntime")["problem"]


SOURCES = {
    "cu13/lib/libcudart.so.77":
        "int cudaRuntimeGetVersion(int *v) { *v = 77050; return 0; }",
    "cu13/lib/libcublasLt.so.77": "int lt(void) { return 0; }",
    "cu13/lib/libcublas.so.77": "int blas(void) { return 0; }",
}  # fmt: skip


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_nvidias_wheels_are_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, source in SOURCES.items():
        file = tmp_path / "nvidia" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(file)],
            input=source.encode(), check=True,
        )  # fmt: skip
    monkeypatch.setattr(sys, "path", [str(tmp_path), "", "/not/there"])
    monkeypatch.setattr(doctor_probe, "gpu_memory", lambda number: None)
    found = probe_cuda(b"", major="77", number=0)["libraries"]
    cudart = found["libcudart"]
    assert (cudart["problem"], cudart["version"]) == ("", 77050)
    assert cudart["file"] == str(tmp_path / "nvidia/cu13/lib/libcudart.so.77")
    assert found["libcublas"]["problem"] == ""
    assert found["libcublas"]["version"] is None


def test_what_is_not_here_is_told_by_name() -> None:
    facts = probe_cuda(b"", major="1", number=0)
    assert "libcudart.so.1:" in facts["libraries"]["libcudart"]["problem"]
    assert (facts["free"] is None) == (facts["total"] is None)


@pytest.mark.gpu
def test_a_real_gpu_is_found() -> None:
    facts = probe_cuda(b"", major=None, number=0)
    if facts["started"] is None:
        pytest.skip("there is no GPU")
    assert facts["started"] == 0
    assert facts["gpus"] >= 1
    assert facts["free"] > 0
    assert not any(found["problem"] for found in facts["libraries"].values())
