"""The part of `streamer doctor` that judges what a GPU needs: driver, CUDA and cuDNN libraries."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from streamer.doctor.finding import Finding, Verdict

_SMI_TIMEOUT_S: Final = 10.0
_GIB: Final = 1 << 30
_DRIVER_TEXT: Final = Path("/proc/driver/nvidia/version")
_WHAT: Final = {
    "libcuda": "the driver",
    "libcudart": "CUDA",
    "libcublas": "cuBLAS",
    "libcudnn": "cuDNN",
}
_STARTED: Final = {
    3: "it is not initialised",
    35: "the driver is older than its library",
    100: "there is no GPU",
    101: "there is no such GPU",
    802: "the system is not ready: the fabric manager does not run",
    803: "the driver and libcuda.so.1 are of different releases",
    804: "this GPU does not allow a newer CUDA than its driver's",
    999: "an unknown error",
}
"""CUresult values of cuInit (CUDA Toolkit documentation, "Driver API", section "Data types")."""


def gpu_present(root: Path = Path("/")) -> bool:
    """Whether this machine shows an NVIDIA GPU, with or without what is needed to use it."""
    places = ("dev/nvidiactl", "dev/nvidia0", "proc/driver/nvidia/version", "dev/dxg")
    return any((root / place).exists() for place in places)


def driver_version(text: Path = _DRIVER_TEXT) -> str | None:
    """The version of the NVIDIA driver: of the kernel's module, else what nvidia-smi says."""
    try:
        said = text.read_text(errors="replace")
    except OSError:
        said = ""
    if match := re.search(r"^NVRM version:.*?\s(\d+\.[\d.]+)\s", said, re.MULTILINE):
        return match[1]
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - the system's own nvidia-smi, with fixed words
            [command, "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, errors="replace", timeout=_SMI_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"\d+\.[\d.]+", done.stdout.strip())
    return match[0] if match and done.returncode == 0 else None


def gpu_findings(
    facts: Mapping[str, Any],
    *,
    driver: str | None,
    wanted: bool,
    present: bool,
    major: str | None,
) -> Iterator[Finding]:
    """Judge what :func:`streamer.doctor.probe.probe_cuda` found.

    ``wanted``: the configuration names an NVIDIA GPU, so that what is missing is bad; with
    ``present`` alone (there is one, or onnxruntime was built for one) it is a warning; with
    neither it is good, since nothing needs it. ``major`` is the release of CUDA that onnxruntime
    was built for ("13"), or None.
    """
    ill: Verdict = "bad" if wanted else "warning" if present else "good"
    yield _driver(facts, driver, ill, major)
    for name, found in facts["libraries"].items():
        yield _library(name, found, ill, major)
    if facts["gpus"]:
        yield Finding("gpu", "good", f"{facts['gpus']} there{_memory(facts)}")


def _driver(
    facts: Mapping[str, Any], driver: str | None, ill: Verdict, major: str | None
) -> Finding:
    name = "nvidia driver"
    started = facts["started"]
    if driver is None and started is None:
        return _missing(name, "none", ill, _remedy("libcuda", major))
    shown = driver or "of an unknown version"
    supports = facts["libraries"]["libcuda"].get("version") or 0
    if supports:
        shown += f", up to CUDA {_release(supports)}"
    if started:
        why = _STARTED.get(started, f"error {started}")
        remedy = "look at nvidia-smi and at the kernel log; in a container, start it with --gpus"
        return _missing(name, f"{shown}, but it does not start: {why}", ill, remedy)
    if major is not None and 0 < supports < int(major) * 1000:
        return _missing(
            name,
            f"{shown}, and onnxruntime was built for CUDA {major}",
            ill,
            "update the driver, or uninstall onnxruntime-gpu and pip install 'streamer[gpu-cu12]'",
        )
    return Finding(name, "good", shown)


def _library(name: str, found: Mapping[str, Any], ill: Verdict, major: str | None) -> Finding:
    what = _WHAT.get(name, name)
    if found["problem"]:
        detail = "not here" if "No such file" in found["problem"] else found["problem"]
        return _missing(name, f"{what}: {detail}", ill, _remedy(name, major))
    version = found["version"]
    if version is None:
        shown = what
    elif name == "libcudnn":
        shown = f"{what} {version // 10000}.{version // 100 % 100}.{version % 100}"
    else:
        shown = f"{'supports CUDA' if name == 'libcuda' else what} {_release(version)}"
    return Finding(name, "good", f"{shown}, {found['file']}")


def _missing(name: str, detail: str, ill: Verdict, remedy: str) -> Finding:
    if ill == "good":
        return Finding(name, "good", f"{detail}; only an NVIDIA GPU needs it")
    return Finding(name, ill, detail, remedy)


def _remedy(name: str, major: str | None) -> str:
    if name == "libcuda":
        return (
            "install the NVIDIA driver; in a container, start it with --gpus all, or set the "
            "device to cpu"
        )
    extra = "gpu-cu12" if major == "12" else "gpu"
    return f"pip install 'streamer[{extra}]', or set the device to cpu"


def _release(version: int) -> str:
    """13050 is CUDA 13.5: thousands are the major release, tens the minor."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _memory(facts: Mapping[str, Any]) -> str:
    if facts["free"] is None:
        return ""
    return f", {facts['free'] / _GIB:.1f} of {facts['total'] / _GIB:.1f} GiB free"
