"""The parts of the deployment fit one another: names, ports and paths that two files must share."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from scripts.image_without_docker import instructions
from streamer import __version__, terminal
from tests.deploy.live_prometheus import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("streamer", "streamer-gpu", "streamer-demo")
MEDIAMTX = yaml.safe_load((ROOT / "deploy/mediamtx/mediamtx.yml").read_text())
PROMETHEUS = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
(JOB,) = PROMETHEUS["scrape_configs"]
PROVISIONING = ROOT / "deploy/grafana/provisioning"
(SOURCE,) = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())["datasources"]
(PROVIDER,) = yaml.safe_load((PROVISIONING / "dashboards/streamer.yml").read_text())["providers"]
GRAFANA = SERVICES["grafana"]
STEPS = instructions((ROOT / "Dockerfile").read_text())
IMAGE = {word: rest for word, rest in STEPS if word in ("STOPSIGNAL", "ENTRYPOINT", "HEALTHCHECK")}
ENV = " ".join(rest for word, rest in STEPS if word == "ENV")
RUNS = [rest for word, rest in STEPS if word == "RUN"]
UNIT = configparser.ConfigParser(strict=False, interpolation=None)
UNIT.optionxform = str  # type: ignore[assignment,method-assign]
UNIT.read(ROOT / "deploy/systemd/streamer.service")
SERVICE = UNIT["Service"]
HEALTH = "urlopen('http://127.0.0.1:8080/healthz', timeout=4)"

KNOWN_TO_MEDIAMTX = {
    "logLevel", "rtsp", "rtspTransports", "rtspAddress", "rtmp", "hls", "webrtc", "srt", "api",
    "metrics", "pprof", "playback", "paths",
}  # fmt: skip
"""Keys of the mediamtx.yml that came with 1.11 and later; it ends on others. Look up new ones."""


def _mounted(service: str, inside: str) -> str:
    """What of this repository, or which volume, is at ``inside`` of a container."""
    places = [mount.split(":")[:2] for mount in SERVICES[service]["volumes"]]
    (found,) = [here for here, there in places if there == inside]
    return str(found)


def _uids() -> set[str]:
    found = set()
    for path in (ROOT / "deploy/grafana/dashboards").glob("*.json"):
        for one in json.loads(path.read_text())["templating"]["list"]:
            if one["type"] == "datasource":
                found.add(one["current"]["value"])
    return found


JOINS: dict[str, tuple[Callable[[], object], object]] = {
    # MediaMTX: its version knows its keys, and everybody dials its port.
    "mediamtx keys": (lambda: set(MEDIAMTX) <= KNOWN_TO_MEDIAMTX, True),
    "mediamtx version": (
        lambda: (1, 11) <= tuple(map(int, re.findall(r"\d+", SERVICES["mediamtx"]["image"])))
        < (1, 19), True),
    "clip's ffmpeg": (lambda: SERVICES["clip"]["image"], SERVICES["mediamtx"]["image"]),
    "mediamtx file": (lambda: _mounted("mediamtx", "/mediamtx.yml"),
                      "./deploy/mediamtx/mediamtx.yml"),
    "mediamtx rtsp": (lambda: (MEDIAMTX["rtsp"], MEDIAMTX["rtspTransports"]), (True, ["tcp"])),
    "mediamtx paths": (lambda: "all_others" in MEDIAMTX["paths"], True),
    "mediamtx port": (lambda: MEDIAMTX["rtspAddress"], ":8554"),
    "mediamtx published": (lambda: SERVICES["mediamtx"]["ports"], ["127.0.0.1:8554:8554"]),
    "mediamtx healthy": (lambda: SERVICES["mediamtx"]["healthcheck"]["test"][-2:],
                         ["127.0.0.1", "8554"]),
    "clip goes there": (
        lambda: {part.rsplit("/", 1)[0] for part in SERVICES["clip"]["command"]
                 if part.startswith("rtsp:")}, {"rtsp://mediamtx:8554"}),
    # Prometheus: it finds streamer, may ask it, and reads the rules.
    "job of the alerts": (lambda: JOB["job_name"], "streamer"),
    "target": (lambda: JOB["static_configs"], [{"targets": ["streamer:8080"]}]),
    "path": (lambda: JOB.get("metrics_path", "/metrics"), "/metrics"),
    "token": (lambda: JOB["authorization"], {"credentials_file": "/run/secrets/http_token"}),
    "token is there": (lambda: SERVICES["prometheus"]["secrets"], ["http_token"]),
    "configuration": (lambda: "--config.file=/etc/prometheus/prometheus.yml"
                      in SERVICES["prometheus"]["command"], True),
    "configuration is there": (lambda: _mounted("prometheus", "/etc/prometheus"),
                               "./deploy/prometheus"),
    "rules": (lambda: PROMETHEUS["rule_files"], ["/etc/prometheus/streamer.rules.yml"]),
    "rules are there": (lambda: (ROOT / "deploy/prometheus/streamer.rules.yml").exists(), True),
    "data of prometheus": (lambda: _mounted("prometheus", "/prometheus"), "prometheus"),
    "data path": (lambda: "--storage.tsdb.path=/prometheus" in SERVICES["prometheus"]["command"],
                  True),
    # Grafana: its source is that Prometheus, and the dashboards know it.
    "source": (lambda: SOURCE["url"], "http://prometheus:9090"),
    "source's uid": (lambda: {SOURCE["uid"]}, _uids()),
    "interval": (lambda: SOURCE["jsonData"]["timeInterval"],
                 PROMETHEUS["global"]["scrape_interval"]),
    "dashboards": (lambda: PROVIDER["options"]["path"], "/etc/grafana/dashboards"),
    "dashboards are there": (lambda: _mounted("grafana", "/etc/grafana/dashboards"),
                             "./deploy/grafana/dashboards"),
    "provisioning": (lambda: _mounted("grafana", "/etc/grafana/provisioning"),
                     "./deploy/grafana/provisioning"),
    "home": (lambda: GRAFANA["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"],
             "/etc/grafana/dashboards/fleet.json"),
    "password": (lambda: GRAFANA["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"],
                 f"/run/secrets/{GRAFANA['secrets'][0]}"),
    "data of grafana": (lambda: _mounted("grafana", "/var/lib/grafana"), "grafana"),
    "room for grafana": (lambda: GRAFANA["tmpfs"], ["/tmp:size=64m"]),
    # streamer's containers.
    **{f"{name} {what}": join for name in OURS for what, join in {
        "healthy": (lambda name=name: HEALTH in SERVICES[name]["healthcheck"]["test"][-1], True),
        "cache": (lambda name=name: _mounted(name, "/var/cache/streamer"), "cache"),
        "room": (lambda name=name: SERVICES[name]["tmpfs"], ["/tmp:size=64m"]),
        "target": (lambda name=name: SERVICES[name]["build"]["target"],
                   "gpu" if name == "streamer-gpu" else "cpu"),
        "image": (lambda name=name: SERVICES[name]["image"],
                  f"streamer:{SERVICES[name]['build']['target']}"),
    }.items()},
    "device": (lambda: SERVICES["streamer-gpu"]["environment"], {"STREAMER__DEVICE": "cuda"}),
    # The image.
    "signal": (lambda: IMAGE["STOPSIGNAL"], "SIGTERM"),
    "entry point": (lambda: json.loads(IMAGE["ENTRYPOINT"]), ["streamer"]),
    "path of it": (lambda: "PATH=/opt/streamer/bin:" in ENV, True),
    "image healthy": (lambda: HEALTH in IMAGE["HEALTHCHECK"], True),
    "model fetched": (lambda: sum("streamer models pull" in run for run in RUNS), 1),
    "model put": (lambda: sum("/models/*.onnx /opt/streamer/models/" in run for run in RUNS), 1),
    "model found": (lambda: "RETINAFACE_MODEL_PATH=/opt/streamer/models" in ENV.split(), True),
    "model for the GPU": (
        lambda: ("COPY", "--from=install-cpu /opt/streamer/models /opt/streamer/models") in STEPS,
        True),
    "version": (lambda: ("ARG", f"VERSION={__version__}") in STEPS, True),
    # The unit.
    "command": (lambda: SERVICE["ExecStart"].split(),
                ["/opt/streamer/bin/streamer", "run", "/etc/streamer/streamer.yaml"]),
    "started again": (lambda: SERVICE["Restart"], "on-failure"),
    "not started again": (
        lambda: set(map(int, SERVICE["RestartPreventExitStatus"].split())),
        {terminal.EXIT_CONFIG, terminal.EXIT_EXPOSED}),
    "unit's model": (
        lambda: "RETINAFACE_MODEL_PATH=/opt/streamer/models" in SERVICE["Environment"].split(),
        True),
}  # fmt: skip


@pytest.mark.parametrize("what", JOINS)
def test_what_two_files_share_is_the_same_in_both(what: str) -> None:
    found, wanted = JOINS[what]
    assert found() == wanted
