"""The suite's own plugins: what is skipped is said last, and what is left behind fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def run(tmp_path):
    """Run a small test file in a pytest of its own; return its exit code and its output."""

    def run(text: str, *, plugin: str, ci: str = "", path: str = "", prepare: str = ""):
        (tmp_path / "test_small.py").write_text(text)
        (tmp_path / "conftest.py").write_text(prepare)
        (tmp_path / "pytest.ini").write_text(
            "[pytest]\nmarkers =\n  rtsp\n  prometheus\n  browser\n"
        )
        environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "CI": ci}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        if path:
            environment["PATH"] = path
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", plugin, "-p", "no:cacheprovider", "-q", "."],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


NEEDY = """
import pytest
{marks}
def test_needy(): pass
def test_plain(): pass
"""
NEEDS = "tests.plugin_needs"
LEAKS = "tests.plugin_leaks"


@pytest.mark.parametrize(
    ("marker", "package"), [("prometheus", "prometheus"), ("browser", "chromium")]
)
def test_a_missing_package_is_named_in_the_last_lines(run, tmp_path, marker, package):
    needy = NEEDY.format(marks=f"@pytest.mark.{marker}")
    code, output = run(needy, plugin=NEEDS, path=str(tmp_path))
    assert code == 0
    assert "1 passed, 1 skipped" in output
    assert output.splitlines()[-2:] == [
        "Not tested here: 1 skipped",
        f"  test_small.py::test_needy: needs apt-get install {package}",
    ]


@pytest.mark.parametrize(
    ("prepare", "package"),
    [
        ("needs.SYSTEM_PYTHON = '/nowhere/python3'", "python3-gi gir1.2-gst-rtsp-server-1.0"),
        ("needs._RTSP_PARTS = 'raise ImportError'", "python3-gi gir1.2-gst-rtsp-server-1.0"),
        (
            "needs._RTSP_PARTS = 'raise SystemExit(\"gstreamer1.0-plugins-bad\")'",
            "gstreamer1.0-plugins-bad",
        ),
    ],
)
def test_the_packages_of_the_rtsp_server_are_told_apart(run, prepare, package):
    prepare = (
        f"import sys, tests.plugin_needs as needs\nneeds.SYSTEM_PYTHON = sys.executable\n{prepare}"
    )
    code, output = run(NEEDY.format(marks="@pytest.mark.rtsp"), plugin=NEEDS, prepare=prepare)
    assert code == 0
    assert output.splitlines()[-1].endswith(f"needs apt-get install {package}")


def test_in_ci_a_skip_is_a_failure(run, tmp_path):
    needy = NEEDY.format(marks="@pytest.mark.browser")
    code, output = run(needy, plugin=NEEDS, ci="true", path=str(tmp_path))
    assert code == 1
    assert output.splitlines()[-1].endswith("may be skipped: this run has failed.")
    assert "test_small.py::test_needy: needs apt-get install chromium" in output


def test_only_what_needs_a_gpu_may_be_skipped_in_ci(run, tmp_path):
    gpu = NEEDY.format(marks="@pytest.mark.gpu")
    prepare = "import tests.plugin_needs as n; n.NEEDS['gpu'] = lambda: 'a GPU'"
    code, output = run(gpu, plugin=NEEDS, ci="true", prepare=prepare)
    assert code == 0
    assert output.splitlines()[-1] == "  test_small.py::test_needy: needs a GPU"
    both = gpu + "@pytest.mark.browser\ndef test_page(): pass\n"
    code, output = run(both, plugin=NEEDS, ci="true", path=str(tmp_path), prepare=prepare)
    assert code == 1
    assert "Not tested here: 2 skipped" in output


def test_any_other_skip_is_listed_too(run):
    text = """
import pytest
@pytest.mark.skipif(True, reason="no moon tonight")
def test_one(): pass
def test_two(): pytest.skip("too early")
@pytest.mark.xfail(reason="known")
def test_three(): assert False
"""
    code, output = run(text, plugin=NEEDS)
    assert code == 0
    assert output.splitlines()[-3:] == [
        "Not tested here: 2 skipped",
        "  test_small.py::test_one: no moon tonight",
        "  test_small.py::test_two: too early",
    ]


def test_a_module_skipped_as_a_whole_fails_ci_as_well(run):
    text = "import pytest\npytest.importorskip('no_such_module')\ndef test_one(): pass\n"
    code, output = run(text, plugin=NEEDS, ci="true")
    assert code == 1
    assert "test_small.py: could not import 'no_such_module'" in output


def test_nothing_is_said_where_nothing_was_skipped(run):
    code, output = run("def test_one(): pass\n", plugin=NEEDS, ci="true")
    assert code == 0
    assert output.splitlines()[-1].startswith("1 passed")


START = """
import subprocess, sys, threading, pytest
ended = threading.Event()
def start(name, daemon):
    threading.Thread(target=ended.wait, name=name, daemon=daemon).start()
def release():
    threading.Timer(0.3, ended.set).start()
"""


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("start('worker', False)", "thread 'worker'"),
        ("start('capture:door', True)", "thread 'capture:door'"),
        ("start('http', True)", "thread 'http'"),
        ("global child; child = subprocess.Popen(['sleep', '60'])", "sleep 60"),
    ],
)
def test_what_a_test_leaves_behind_fails_it(run, body, left):
    text = f"""{START}
def test_careless(): {body}
def test_next(): pass
def test_end():
    ended.set()
    if "child" in globals():
        child.kill()
        child.wait()
"""
    code, output = run(
        text, plugin=LEAKS, prepare="import tests.plugin_leaks as leaks; leaks.GRACE_S = 0.3"
    )
    assert code == 1
    assert "3 passed, 1 error" in output
    assert left in output


def test_what_ends_within_the_grace_is_forgiven_and_fixtures_may_run_on(run):
    text = f"""{START}
@pytest.fixture(scope="module")
def shared():
    child = subprocess.Popen(["sleep", "60"])
    start("publish:zeromq", True)
    yield
    ended.set()
    child.kill()
    child.wait()
def test_shared(shared): pass
def test_slow_to_end():
    other = threading.Event()
    threading.Thread(target=other.wait, name="infer-1").start()
    threading.Timer(0.3, other.set).start()
def test_daemons_of_others(): threading.Thread(target=ended.wait, daemon=True).start()
"""
    code, output = run(text, plugin=LEAKS)
    assert code == 0, output
    assert "3 passed" in output


def test_the_fixtures_hold_what_they_promise(astronaut, model_bytes, model_path, free_port):
    assert astronaut.shape == (512, 512, 3)
    assert astronaut.flags["C_CONTIGUOUS"]
    assert not astronaut.flags["WRITEABLE"]
    assert astronaut[0, 0, 0] != astronaut[0, 0, 2]  # a colour picture
    assert model_path.stat().st_size == len(model_bytes) > 1_000_000
    assert 1024 < free_port < 65536
