"""What a user installs: the wheel and the sdist have what they must, and the wheel runs alone."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import streamer
from scripts.pages.licences import licence_of, needed
from tests.e2e.program import ROOT, free_port


def build(source: Path, folder: Path, *targets: str) -> Path:
    """Build ``targets`` of the checkout or unpacked sdist at ``source`` into ``folder``."""
    hatchling = Path(sys.executable).with_name("hatchling")
    command = [str(hatchling), "build", "-d", str(folder)]
    for target in targets:
        command += ["-t", target]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"), "wheel", "sdist")


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


def test_the_wheel_has_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    names = names_in(wheel)
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "streamer").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    added = {"streamer/assets/models/registry.toml", "streamer/assets/configs/demo.yaml"}
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - info == package | added
    for name in ("py.typed", "assets/demo.mp4", "web/static/index.html"):
        assert f"streamer/{name}" in names
    assert {name.rsplit("/", 1)[-1] for name in info} == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE", "NOTICE",
    }  # fmt: skip
    assert not [name for name in names if name.endswith((".onnx", ".pyc", ".pem", ".key"))]


def test_the_sdist_makes_the_same_wheel_and_holds_no_secret(
    built: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as file:
        file.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    for name in ("tests/test_package.py", "CHANGELOG.md", "Dockerfile", "constraints.txt"):
        assert (unpacked / name).is_file()
    found = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert not [name for name in found if name.startswith("deploy/secrets") or ".onnx" in name]
    again = build(unpacked, tmp_path / "again", "wheel")
    assert names_in(next(again.glob("*.whl"))) == names_in(wheel)


def test_the_version_is_said_in_one_place(wheel: Path) -> None:
    assert wheel.name == f"streamer-{streamer.__version__}-py3-none-any.whl"
    assert importlib.metadata.version("streamer") == streamer.__version__
    assert "version" not in re.findall(
        r"^(\w+) =", (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    changes = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changes[0] == "Unreleased"
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", streamer.__version__)


@pytest.fixture
def alone(wheel: Path, tmp_path: Path) -> Iterator[Path]:
    """An environment with the wheel and what it needs, and without this checkout."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = next((venv / "lib").glob("python*/site-packages"))
    subprocess.run(
        [sys.executable, "-m", "pip", "-q", f"--python={venv}/bin/python", "install",
         "--no-index", "--no-deps", "--no-warn-script-location", str(wheel)],
        check=True, timeout=120,
    )  # fmt: skip
    # The packages it needs are those that are installed here; the .pth files among them, one of
    # which leads to this checkout, are not followed from there.
    (packages / "rest.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    yield venv


def test_the_demo_runs_from_the_wheel_outside_of_the_checkout(
    alone: Path, tmp_path: Path, model_path: Path
) -> None:
    home = tmp_path / "home"
    cache = home / ".cache" / "streamer" / "models"
    cache.mkdir(parents=True)
    shutil.copy(model_path, cache)  # fetching it is tested in tests/inference/test_fetch.py
    environ = {"PATH": os.defpath, "HOME": str(home), "COLUMNS": "160"}
    where = [str(alone / "bin" / "python"), "-c", "import streamer; print(streamer.__file__)"]
    place = subprocess.run(where, cwd=home, env=environ, capture_output=True, text=True, check=True)
    assert place.stdout.startswith(str(alone))
    done = subprocess.run(
        [str(alone / "bin" / "streamer"), "demo", "--seconds", "5",
         "--http", f"127.0.0.1:{free_port()}", "--zeromq", "tcp://127.0.0.1:*"],
        cwd=home, env=environ, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for camera in ("entrance", "hall", "lobby"):
        row = next(line for line in done.stdout.splitlines() if camera in line)
        assert int(row.split()[2]) > 0  # detected
        assert "yes" in row
    left = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert {name for name in left if not name.startswith(".cache/streamer/")} == set()


def test_every_package_that_is_needed_has_its_licence_written_down() -> None:
    page = (ROOT / "docs" / "licences.md").read_text()
    rows = dict(re.findall(r"^\| ([\w.-]+) \| ([^|]+ \| [^|]+) \|$", page, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for extra in extras.keys() - {"dev"}:
        packages = needed(extra=extra)
        assert {"numpy", "pyzmq", "fastapi", "structlog"} <= set(packages)
        for name, package in packages.items():
            assert name in rows, f"{name}: run `make docs`"
            assert licence_of(package) != "not said", name
        for line in extras[extra]:  # installed or not
            name = re.split(r"[\[<>=]", line)[0]
            assert f"`{extra}`" in rows[name], f"{name}: run `make docs`"
            here = name in packages or name.startswith("onnxruntime")  # one build is installed
            assert here or "not read" not in rows[name], name
    assert {"nvidia-cublas", "nvidia-cublas-cu12"} <= set(rows)
