"""From the section http to an open door."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from streamer.cameras import Cameras
from streamer.config import parse_config
from streamer.errors import ConfigError, Exposed
from streamer.flow.fan import FanIn
from streamer.front import open_front
from streamer.roster import Roster
from streamer.web.live import LiveView
from streamer.web.told import Told
from tests.e2e.program import ROOT
from tests.web.synthetic import Machine

TOKEN = "canary-" + "t" * 20


def opened(folder: Path, **http: Any) -> Any:
    values = {"bind": "127.0.0.1:0", **http}
    config = parse_config({"cameras": {"a": {"source": "demo:"}}, "http": values}, {"T": TOKEN})
    assert config.http is not None
    machine, cameras = Machine(), Mock(Cameras)
    return open_front(
        config, config.http, base_folder=folder, live=LiveView(["a"]), lanes=FanIn("infer"),
        told=Told(boot_id="b", model="net", clock=lambda: 0.0), cameras=cameras,
        roster=Roster(cameras, config, show=lambda _: None), model="net", provider="cpu",
        status=machine.status, metrics=machine.metrics, clock=lambda: 0.0, wall_clock=lambda: 0.0,
    )  # fmt: skip


@pytest.mark.parametrize("given", ["${T}", ["${T}"], "file:token.txt"])
def test_tokens_come_from_the_environment_or_a_file(tmp_path: Path, given: Any) -> None:
    (tmp_path / "token.txt").write_text(TOKEN + "\n")
    with opened(tmp_path, tokens={"read": given}) as server:
        url = f"{server.url}metrics"
        assert httpx.get(url).status_code == 401
        right = {"authorization": f"Bearer {TOKEN}"}
        assert httpx.get(url, headers=right).status_code == 200


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"", "16 to 512"), (b"short", "16 to 512"),
     (b"has spaces in it, as sentences do", "16 to 512"), (b"\xff" * 20, "it is no text")],
)  # fmt: skip
def test_a_file_without_a_token_is_one_sentence(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "token.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"http\.tokens\.control\.0: .*{says}"):
        opened(tmp_path, tokens={"control": "file:token.txt"})


@pytest.mark.parametrize(
    ("http", "says"),
    [
        ({"tokens": {"read": "short"}}, "http.tokens.read.0: must be 16 to 512"),
        ({"tokens": {"read": ["x" * 600]}}, "http.tokens.read.0: must be 16 to 512"),
        ({"tokens": {"write": "x" * 20}}, "http.tokens.<key 1>: unknown key"),
        ({"origins": ["https://wall.example/"]}, "http.origins.0: must be an origin"),
        ({"origins": ["*"]}, "http.origins.0: must be an origin"),
        ({"tls": {"key": "a.pem"}}, "http.tls.certificate: is required"),
        ({"requests_per_s": 0}, "http.requests_per_s: must be"),
        ({"cameras": {"networks": ["10.0.0.1/8"]}}, "http.cameras.networks.0"),
        ({"cameras": {"sources": ["pipe"]}}, "http.cameras.sources.0"),
    ],
)
def test_what_cannot_be_is_refused_with_its_path_and_no_value(
    http: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config({"cameras": {"a": {"source": "demo:"}}, "http": http}, {})
    assert says in str(refused.value)
    assert "short" not in str(refused.value)


def test_a_configuration_prints_no_token() -> None:
    config = parse_config(
        {"cameras": {"a": {"source": "demo:"}}, "http": {"tokens": {"control": TOKEN}}}, {}
    )
    assert TOKEN not in repr(config)
    assert TOKEN not in config.model_dump_json()
    assert json.loads(config.model_dump_json())["http"]["tokens"]["control"] == ["**********"]


def test_an_open_door_is_refused_with_78(tmp_path: Path, model_path: Path) -> None:
    with pytest.raises(Exposed):
        opened(tmp_path, bind="0.0.0.0:0")
    with opened(tmp_path, bind="0.0.0.0:0", insecure=True):
        pass
    file = tmp_path / "c.yaml"
    file.write_text(
        'cameras: {a: {source: "synthetic:"}}\npublish: {zeromq: null}\nhttp: {bind: "0.0.0.0:0"}\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "streamer", "run", str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert "http.insecure: true" in done.stderr
    assert "Traceback" not in done.stderr
