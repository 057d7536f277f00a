"""Configuration becomes bridges, or one sentence that names the key."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from streamer.bridges import Bridge, open_bridges
from streamer.config import parse_config
from streamer.config_sections import Publish
from streamer.errors import ConfigError


def published(environ: dict[str, str] | None = None, **bridges: Any) -> Publish:
    values = {"cameras": {"a": {"source": "demo:"}}, "publish": {"zeromq": None, **bridges}}
    return parse_config(values, environ or {}).publish


def bridges(section: Publish, folder: Path) -> dict[str, Bridge]:
    return dict(
        open_bridges(
            section, base_folder=folder, boot_id="b" * 32, model="m", clock=time.monotonic
        )
    )  # fmt: skip


def test_no_bridge_is_opened_unasked(tmp_path: Path) -> None:
    assert bridges(published(), tmp_path) == {}


def test_an_mqtt_bridge_is_opened_though_no_broker_is_there(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "password").write_text("canary\n")
    section = published(
        mqtt={"host": "127.0.0.1", "port": free_port, "username": "u", "password_file": "password"}
    )
    found = bridges(section, tmp_path)
    assert list(found) == ["mqtt"]
    assert not found["mqtt"].link.connected
    found["mqtt"].close()


@pytest.mark.parametrize(
    ("bridge", "why"),
    [
        ({"mqtt": {"host": "h", "password_file": "none"}}, r"publish\.mqtt\.password_file: none "),
        (
            {"mqtt": {"host": "h", "tls": True, "ca_file": "none"}},
            r"publish\.mqtt: its certificates",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, bridge: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        bridges(published(**bridge), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mqtt", "why"),
    [
        ({}, "host: is required"),
        ({"host": "h", "topic": "a/#"}, "topic"),
        ({"host": "h", "password": "canary", "password_file": "f"}, "not both"),
        ({"host": "h", "ca_file": "f"}, "tls: true"),
        ({"host": "h", "tls": True, "cert_file": "f"}, "go together"),
        ({"host": "h", "when": "sometimes"}, "when"),
        ({"host": "h", "pasword": "canary"}, "did you mean password"),
    ],
)
def test_what_cannot_be_is_said_without_the_value(mqtt: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        published(mqtt=mqtt)
    assert "canary" not in str(caught.value)


def test_secrets_come_from_the_environment_and_are_not_shown() -> None:
    section = published(
        {"MQTT_PASSWORD": "canary"}, mqtt={"host": "h", "password": "${MQTT_PASSWORD}"}
    )
    assert section.mqtt is not None
    assert section.mqtt.password is not None
    assert section.mqtt.password.get_secret_value() == "canary"
    assert "canary" not in section.model_dump_json() + repr(section)
