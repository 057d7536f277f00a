"""Fixtures that every test may use, and the two plugins of the suite."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from tests.printing import print_safely
from tests.rtsp import RtspServer
from tests.rtsp import rtsp_server as start_rtsp_server

pytest_plugins = ["tests.plugin_needs", "tests.plugin_leaks"]

# The fault matrix takes long and has a command of its own: `make faults` names its folder.
collect_ignore = [] if any("faults" in argument for argument in sys.argv) else ["faults"]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for tests that import onnxruntime themselves

# How long an example takes says something of the machine, and nothing of what is tested.
settings.register_profile(
    "suite",
    parent=settings(),  # with CI set, hypothesis begins with one that tries the same each time
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

print_safely()

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "retinaface_mnet025.onnx"


def pytest_configure() -> None:
    """Let Ctrl-C be what it is.

    A shell lets what it starts in the background ignore it, and so would the programs that the
    tests start and interrupt.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The default model's file; fetched once where it is missing."""
    if not MODEL.is_file():
        pull = [sys.executable, "-m", "streamer", "models", "pull"]
        fetched = subprocess.run(pull, cwd=ROOT, capture_output=True, text=True, timeout=120)
        if not MODEL.is_file():
            pytest.fail(
                f"the model is missing and 'streamer models pull' did not bring it "
                f"(exit {fetched.returncode}): {fetched.stderr.strip()[-600:]}",
                pytrace=False,
            )
    return MODEL


@pytest.fixture(scope="session")
def model_bytes(model_path: Path) -> bytes:
    """The default model's ONNX bytes."""
    return model_path.read_bytes()


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """A picture with one face: BGR, uint8, (512, 512, 3), contiguous, not writeable."""
    import skimage.data

    picture = np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])
    picture.setflags(write=False)
    return picture


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def demo_truth() -> Any:
    """What streamer/assets/demo.json says about the faces in demo.mp4, as JSON reads it."""
    path = ROOT / "streamer" / "assets" / "demo.json"
    if not path.is_file():
        pytest.fail("streamer/assets/demo.json is missing; it belongs to the checkout")
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def rtsp_server() -> Callable[..., AbstractContextManager[RtspServer]]:
    """:func:`tests.rtsp.rtsp_server`: a real RTSP server that streams a file. Mark: rtsp."""
    return start_rtsp_server
