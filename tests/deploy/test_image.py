"""The Dockerfile and the systemd unit, as far as they can be looked at without running them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.image_without_docker import instructions, needed
from tests.deploy.live_prometheus import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
STEPS = instructions(DOCKERFILE)
UNIT = ROOT / "deploy" / "systemd" / "streamer.service"


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_targets_end_with_a_user_that_is_not_root() -> None:
    stages = [rest.partition(" AS ") for word, rest in STEPS if word == "FROM"]
    assert {"cpu", "gpu"} <= {name for _, _, name in stages}
    assert stages[-1][2] == "cpu"  # what `docker build .` makes
    assert "install-gpu" not in needed(STEPS, "cpu")
    users = [rest for word, rest in STEPS if word == "USER"]
    assert users == ["10001:10001"]
    assert STEPS.index(("USER", users[0])) > STEPS.index(("FROM", "python:${PYTHON} AS run"))
    for target in ("gpu", "cpu"):
        assert next(base for base, _, name in stages if name == target) == "run"


def test_everything_that_is_copied_is_let_in_and_nothing_else() -> None:
    wanted = {
        name.rstrip("/")
        for word, rest in STEPS if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }  # fmt: skip
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == wanted
    for name in wanted:
        assert (ROOT / name).exists(), name


def test_the_image_has_what_the_wheel_is_made_of() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    included = re.findall(r'^"([^"]+)" = "streamer/assets', project, re.MULTILINE)
    assert len(included) >= 2
    for name in included:
        assert name in DOCKERFILE, f"the wheel needs {name}; copy it, and let it in"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_accepts_the_unit_and_finds_it_locked(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace("/opt/streamer/bin/streamer", sys.executable))
    for check in (["verify"], ["security", "--offline=true", "--threshold=25"]):
        done = subprocess.run(
            ["systemd-analyze", *check, str(here)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-600:] + done.stderr
        assert "streamer.service:" not in done.stderr


def test_the_unit_names_the_devices_of_every_driver_of_nvidia() -> None:
    """Drivers from 550.40 on call char-nvidia-frontend char-nvidia and char-nvidiactl."""
    named = set(re.findall(r"^# DeviceAllow=(\S+) rw$", UNIT.read_text(), re.MULTILINE))
    assert named == {
        f"char-{name}" for name in ("nvidia-frontend", "nvidia", "nvidiactl", "nvidia-uvm")
    }
