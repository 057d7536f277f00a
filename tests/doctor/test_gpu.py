"""Every state a GPU's driver and libraries can be in, and the remedy of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamer.doctor import gpu as doctor_gpu
from streamer.doctor.gpu import driver_version, gpu_findings, gpu_present

HERE = {"problem": "", "file": "/x/lib.so", "version": None}
MISSING = {
    "problem": "libx.so.1: cannot open shared object file: No such file or directory",
    "file": None,
    "version": None,
}


def facts(**changes: Any) -> dict[str, Any]:
    """What a healthy machine with one H100 says, with ``changes``."""
    libraries = {
        "libcuda": {**HERE, "version": 13020},
        "libcudart": {**HERE, "version": 13050},
        "libcublas": dict(HERE),
        "libcudnn": {**HERE, "version": 92801},
    }
    for name in list(changes):
        if name in libraries:
            libraries[name] = changes.pop(name)
    healthy = {"libraries": libraries, "started": 0, "gpus": 1, "free": 3 << 30, "total": 8 << 30}
    return {**healthy, **changes}


def verdicts(found: dict[str, Any], **settings: Any) -> dict[str, tuple[str, str, str]]:
    usual = {"driver": "580.65.06", "wanted": True, "present": True, "major": "13"}
    lines = gpu_findings(found, **{**usual, **settings})
    return {line.name: (line.verdict, line.detail, line.remedy) for line in lines}


def test_a_healthy_gpu_is_good_and_says_its_figures() -> None:
    found = verdicts(facts())
    assert {verdict for verdict, _, _ in found.values()} == {"good"}
    assert found["nvidia driver"][1] == "580.65.06, up to CUDA 13.2"
    assert found["libcudart"][1].startswith("CUDA 13.5, ")
    assert found["libcudnn"][1].startswith("cuDNN 9.28.1, ")
    assert found["gpu"][1] == "1 there, 3.0 of 8.0 GiB free"


@pytest.mark.parametrize(
    ("wanted", "present", "verdict"),
    [(True, True, "bad"), (True, False, "bad"), (False, True, "warning"), (False, False, "good")],
)
def test_what_is_missing_is_as_bad_as_it_is_needed(
    wanted: bool, present: bool, verdict: str
) -> None:
    nothing = facts(started=None, gpus=0, free=None, **dict.fromkeys(facts()["libraries"], MISSING))
    found = verdicts(nothing, driver=None, wanted=wanted, present=present)
    assert {one for one, _, _ in found.values()} == {verdict}
    assert "gpu" not in found
    for name, (_, detail, remedy) in found.items():
        assert "not here" in detail or name == "nvidia driver"
        assert (remedy == "") == (verdict == "good")
    if verdict != "good":
        assert "--gpus" in found["nvidia driver"][2]
        assert "streamer[gpu]" in found["libcudnn"][2]


def test_each_missing_library_has_its_own_remedy() -> None:
    for name in ("libcudart", "libcublas", "libcudnn"):
        found = verdicts(facts(**{name: MISSING}), major="12")
        assert found[name][0] == "bad"
        assert "streamer[gpu-cu12]" in found[name][2]
        assert sum(verdict == "bad" for verdict, _, _ in found.values()) == 1


def test_a_library_that_is_there_and_broken_says_why() -> None:
    broken = {**MISSING, "problem": "libcudnn.so.9: undefined symbol: x"}
    assert "undefined symbol" in verdicts(facts(libcudnn=broken))["libcudnn"][1]


def test_a_driver_that_is_too_old_says_which_wheel() -> None:
    found = verdicts(facts(libcuda={**HERE, "version": 12040}))
    assert found["nvidia driver"][0] == "bad"
    assert "CUDA 12.4" in found["nvidia driver"][1]
    assert "streamer[gpu-cu12]" in found["nvidia driver"][2]
    assert verdicts(facts(libcuda={**HERE, "version": 12040}), major="12")["nvidia driver"][0] == (
        "good"
    )


@pytest.mark.parametrize(
    ("code", "words"), [(100, "no GPU"), (803, "different releases"), (4242, "error 4242")]
)
def test_a_driver_that_does_not_start_says_why(code: int, words: str) -> None:
    found = verdicts(facts(started=code, gpus=0))["nvidia driver"]
    assert found[0] == "bad"
    assert words in found[1]
    assert found[2]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
         "GCC version:  gcc 12.2.0", "550.54.15"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (x)",
         "580.65.06"),
    ],
)  # fmt: skip
def test_the_kernel_says_the_drivers_version(text: str, version: str, tmp_path: Path) -> None:
    (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path / "version") == version


SMI = {
    "echo 535.104.05": "535.104.05",
    "echo 535.104.05; echo 535.104.05": "535.104.05",
    "echo 'NVIDIA-SMI has failed'; exit 9": None,
    "echo 535.1; exit 9": None,
    "sleep 60": None,
}


@pytest.mark.parametrize("script", SMI)
def test_else_nvidia_smi_does(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{script.replace('sleep', 'exec sleep')}\n")
    command.chmod(0o755)
    monkeypatch.setattr(doctor_gpu.shutil, "which", lambda name: str(tmp_path / name))
    monkeypatch.setattr(doctor_gpu, "_SMI_TIMEOUT_S", 1.0)
    assert driver_version(tmp_path / "none") == SMI[script]


def test_without_either_nobody_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_gpu.shutil, "which", lambda name: None)
    assert driver_version(tmp_path / "none") is None
    monkeypatch.setattr(doctor_gpu.shutil, "which", lambda name: "/not/there/nvidia-smi")
    assert driver_version(tmp_path / "none") is None


@pytest.mark.parametrize("place", ["dev/nvidiactl", "proc/driver/nvidia/version", "dev/dxg"])
def test_signs_of_a_gpu(place: str, tmp_path: Path) -> None:
    assert not gpu_present(tmp_path)
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    assert gpu_present(tmp_path)
