"""The GPU builds of onnxruntime on a machine without a GPU: they must say so, and soon.

``STREAMER_GPU_PYTHONS`` names the pythons (joined by ":") of environments that have
onnxruntime-gpu and whatever streamer needs; without it nothing here is collected.
"""

import ctypes
import os
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = [python for python in os.environ.get("STREAMER_GPU_PYTHONS", "").split(":") if python]
LIMIT_S = 10.0

OPEN = """
import sys
from pathlib import Path
from streamer.errors import StreamerError
from streamer.inference.session import open_session
try:
    model = Path(sys.argv[1]).read_bytes()
    session = open_session(model, device=sys.argv[2], threads=1, spin=False)
    print(session.provider, session.warning)
except StreamerError as error:
    print(error)
"""


def driver_here() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def call(*command: str) -> tuple[subprocess.CompletedProcess[str], float]:
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done, time.monotonic() - began


def config_file(folder: Path, device: str) -> str:
    path = folder / "config.yaml"
    path.write_text(
        f"cameras: {{a: {{source: 'synthetic:'}}}}\ndevice: {device}\nhttp: null\n"
        "publish: {zeromq: {bind: 'tcp://127.0.0.1:*'}}\n"
    )
    return str(path)


if PYTHONS and not driver_here():

    @pytest.mark.parametrize("python", PYTHONS)
    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_cuda_without_a_gpu_ends_soon_with_one_sentence(python, device, tmp_path, model_path):
        done, took = call(python, "-m", "streamer", "run", config_file(tmp_path, device))
        assert done.returncode not in (0, 2)
        assert took < LIMIT_S
        [line] = done.stderr.splitlines()
        assert "no NVIDIA driver (libcuda.so.1 is missing)" in line
        assert "install the driver" in line
        assert line.endswith("or set the device to cpu")

    @pytest.mark.parametrize("python", PYTHONS)
    @pytest.mark.parametrize("device", ["cuda", "tensorrt", "openvino"])
    def test_every_device_that_is_not_there_says_so(python, device, model_path):
        done, took = call(python, "-c", OPEN, str(model_path), device)
        assert took < LIMIT_S
        [line] = done.stdout.splitlines()
        assert not done.stderr
        assert "is missing" in line or "built without OpenVINO" in line
        assert line.endswith("or set the device to cpu")

    @pytest.mark.parametrize("python", PYTHONS)
    def test_auto_runs_on_the_cpu_and_says_so(python, tmp_path, model_path):
        path = config_file(tmp_path, "auto")
        done, _ = call(python, "-m", "streamer", "run", "--seconds", "2", path)
        assert done.returncode == 0
        assert "device_fallback" in done.stderr
        assert "running on the CPU, because CUDA on GPU 0 cannot be used" in done.stderr
