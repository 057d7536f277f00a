"""docker-compose.yml: it is what the specification allows, and what it promises of safety."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamer.config import parse_config
from tests.deploy.live_prometheus import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("streamer", "streamer-gpu", "streamer-demo")


def test_it_is_what_the_compose_specification_allows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec",
         str(ROOT / "docker-compose.yml")], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_it_brings_up() -> None:
    assert {"mediamtx", "prometheus", "grafana"} <= set(SERVICES)
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert profiles["streamer"] == ["cpu"]
    assert profiles["streamer-gpu"] == ["gpu"]
    assert profiles["streamer-demo"] == profiles["clip"] == ["demo"]
    reserved = SERVICES["streamer-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    for name in OURS:  # whichever runs, Prometheus finds it by one name
        assert SERVICES[name]["networks"]["inside"]["aliases"] == ["streamer"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_locked(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= set(limits)
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-size"]
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:")
    if name not in OURS:  # ours is not root by its Dockerfile, which hadolint and a test look at
        assert service["user"].split(":")[0] not in ("0", "root")
        tag = service["image"].split(":")[1]
        assert re.match(r"v?\d+\.\d+\.\d+", tag), f"{service['image']} is not one version"
    for key, value in service.get("environment", {}).items():
        if re.search("PASSWORD|TOKEN|SECRET|KEY", key):
            assert value.startswith(("/run/secrets/", "${")), f"{key} is written down"


def test_no_container_may_use_more_cores_than_the_smallest_machine_has() -> None:
    """Docker refuses a limit above the number of cores, and nothing comes up."""
    said = (ROOT / "docs" / "deploy.md").read_text()
    assert "Two cores are the least" in said
    for name, service in SERVICES.items():
        cpus = service["deploy"]["resources"]["limits"]["cpus"]
        if name in OURS:
            assert cpus == "${STREAMER_CPUS:-2}", f"{name}: {cpus}"
        else:  # one core is enough for each of the others
            assert float(cpus) < 1, f"{name}: {cpus}"


def test_what_is_mounted_is_there_and_only_volumes_can_be_written() -> None:
    for name, service in SERVICES.items():
        for mount in service.get("volumes", ()):
            source, _, rest = mount.partition(":")
            if source.startswith("./"):
                made = source.startswith("./deploy/secrets/")  # by make-secrets.sh; see below
                assert made or (ROOT / source).exists(), f"{name}: {source}"
                assert rest.endswith(":ro"), f"{name}: {mount}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source}"
        for secret in service.get("secrets", ()):
            assert secret in COMPOSE["secrets"], f"{name}: {secret}"


def test_what_it_runs_are_configurations_that_streamer_takes(tmp_path: Path) -> None:
    (tmp_path / "door").write_text("x")
    for name in OURS:
        verb, path = SERVICES[name]["command"]
        assert "./deploy/streamer:/etc/streamer:ro" in SERVICES[name]["volumes"]
        assert "./deploy/secrets/cameras:/run/secrets/cameras:ro" in SERVICES[name]["volumes"]
        text = (ROOT / path.replace("/etc/streamer", "deploy/streamer")).read_text()
        text = text.replace("/run/secrets/cameras", str(tmp_path))
        config = parse_config(yaml.safe_load(text), {})  # no secret comes from the environment
        assert verb == "run"
        assert config.http is not None
        assert config.http.bind.endswith(":8080")
        assert "streamer" in config.http.allowed_hosts
        (token,) = config.http.tokens.read
        assert token.get_secret_value() == "file:/run/secrets/http_token"
        assert "http_token" in SERVICES[name]["secrets"]
        assert not config.http.insecure
    published = {port for name in OURS for port in SERVICES[name]["ports"]}
    assert published == {"127.0.0.1:8080:8080", "127.0.0.1:5555:5555"}
    demo = yaml.safe_load((ROOT / "deploy/streamer/demo.yaml").read_text())
    asked = {camera["source"] for camera in demo["cameras"].values()}
    assert asked == {part for part in SERVICES["clip"]["command"] if part.startswith("rtsp:")}


def test_the_secrets_are_made_once_and_only_their_owner_reaches_them(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    shutil.copy(ROOT / "deploy" / "make-secrets.sh", script)
    strict = subprocess.run(
        ["sh", "-c", 'umask 077; exec "$0"', str(script)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = strict.stdout
    folder = tmp_path / "secrets"
    # Mounted into the container, whose user is another.
    assert stat.S_IMODE((folder / "cameras").stat().st_mode) == 0o755
    (folder / "cameras").rmdir()
    made = {file.name: file.read_text() for file in folder.iterdir()}
    assert {f"./deploy/secrets/{name}" for name in made} == {
        secret["file"] for secret in COMPOSE["secrets"].values()
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name, secret in made.items():
        assert re.fullmatch(r"[0-9a-f]{48}", secret)
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o644
        assert secret not in said
    subprocess.run([str(script)], capture_output=True, check=True)
    assert made == {file.name: file.read_text() for file in folder.iterdir() if file.is_file()}
    assert len(set(made.values())) == len(made)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "deploy/secrets/" in ignored
