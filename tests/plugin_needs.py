"""Says what was not tested, and why, in the last lines of the run; in CI that is a failure.

The markers ``rtsp``, ``prometheus``, ``browser``, ``mqtt`` and ``nats`` skip a test where
the Debian package that it needs is missing. Whatever else was skipped is listed too. Only ``gpu``
may be skipped in CI: no package brings a GPU.
"""

import functools
import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Generator

import pytest

from tests.brokers import program
from tests.rtsp import SYSTEM_PYTHON

_RTSP_PARTS = """
import sys, gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
parts = {"appsrc": "base", "qtdemux": "good", "rtph264pay": "good", "h264parse": "bad"}
for part, package in parts.items():
    if Gst.ElementFactory.find(part) is None:
        sys.exit("gstreamer1.0-plugins-" + package)
"""


@functools.cache
def missing_rtsp() -> str:
    """The Debian packages that the RTSP server lacks here, or an empty string."""
    try:
        probe = subprocess.run(
            [SYSTEM_PYTHON, "-c", _RTSP_PARTS], capture_output=True, text=True, timeout=60
        )
    except OSError:
        return "python3-gi gir1.2-gst-rtsp-server-1.0"
    if probe.returncode == 0:
        return ""
    last = (probe.stderr.strip().splitlines() or [""])[-1]
    return last if last.startswith("gstreamer1.0-") else "python3-gi gir1.2-gst-rtsp-server-1.0"


def missing_prometheus() -> str:
    """The Debian package that brings prometheus and promtool, or an empty string."""
    found = shutil.which("promtool") and shutil.which("prometheus")
    return "" if found else "prometheus"


def missing_browser() -> str:
    """The Debian package that brings Chromium, or an empty string."""
    return "" if shutil.which("chromium") else "chromium"


def missing_mqtt() -> str:
    """The Debian package that brings mosquitto, or an empty string."""
    return "" if program("mosquitto") else "mosquitto"


def missing_nats() -> str:
    """The Debian package that brings nats-server, or an empty string."""
    return "" if program("nats-server") else "nats-server"


def missing_gpu() -> str:
    """The build of ONNX Runtime that can use a GPU, or an empty string where it is installed."""
    try:
        importlib.metadata.version("onnxruntime-gpu")
    except importlib.metadata.PackageNotFoundError:
        return "a GPU and make EXTRA=gpu"
    return ""


NEEDS = {
    "rtsp": missing_rtsp,
    "prometheus": missing_prometheus,
    "browser": missing_browser,
    "mqtt": missing_mqtt,
    "nats": missing_nats,
    "gpu": missing_gpu,
}

_not_tested: dict[str, str] = {}
_excused: set[str] = set()


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of no package, and forget an earlier run in the same process."""
    config.addinivalue_line("markers", "gpu: needs onnxruntime-gpu; may be skipped in CI")
    _not_tested.clear()
    _excused.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here, before any fixture is made for it."""
    for item in items:
        for name, missing in NEEDS.items():
            if item.get_closest_marker(name) and (packages := missing()):
                if name == "gpu":
                    _excused.add(item.nodeid)
                else:
                    packages = f"apt-get install {packages}"
                item.add_marker(pytest.mark.skip(reason=f"needs {packages}"))


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _not_tested[report.nodeid] = why.removeprefix("Skipped: ")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a skipped test; those of a GPU are excused, whichever process they ran in."""
    _note(report)
    if "gpu" in report.keywords:
        _excused.add(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a module skipped as a whole."""
    _note(report)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Print the list after everything else; with CI=true make the run fail."""
    strict = os.environ.get("CI") == "true" and not _not_tested.keys() <= _excused
    if strict and session.exitstatus in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    yield
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or not _not_tested:
        return
    terminal.ensure_newline()
    terminal.line(f"Not tested here: {len(_not_tested)} skipped")
    for test, why in _not_tested.items():
        terminal.line(f"  {test}: {why}")
    if strict:
        terminal.line(
            "With CI=true nothing that a package brings may be skipped: this run has failed.",
            red=True,
        )
