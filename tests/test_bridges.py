"""Configuration becomes bridges, or one sentence that names the key."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamer.bridges import Bridge, open_bridges
from streamer.config import load_config, parse_config
from streamer.config_sections import Publish
from streamer.errors import ConfigError


def published(environ: dict[str, str] | None = None, **bridges: Any) -> Publish:
    values = {"cameras": {"a": {"source": "demo:"}}, "publish": {"zeromq": None, **bridges}}
    return parse_config(values, environ or {}).publish


def bridges(section: Publish, folder: Path) -> dict[str, Bridge]:
    return dict(
        open_bridges(
            section, base_folder=folder, boot_id="b" * 32, model="m",
            clock=time.monotonic, wall_clock=time.time,
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


def test_all_bridges_may_run_at_once(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "secret").write_text("canary")
    section = published(
        {"TOKEN": "canary"},
        mqtt={"host": "127.0.0.1", "port": free_port},
        nats={"servers": [f"nats://127.0.0.1:{free_port}"], "token": "${TOKEN}"},
        webhook={"url": f"http://127.0.0.1:{free_port}/?key=canary", "secret_file": "secret"},
    )
    found = bridges(section, tmp_path)
    assert list(found) == ["mqtt", "nats", "webhook"]
    for bridge in found.values():
        bridge.close()
    assert "canary" not in section.model_dump_json() + repr(section)


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
    ("bridge", "why"),
    [
        ({"nats": {"servers": []}}, "servers"),
        ({"nats": {"servers": ["nats://u:canary@h:4222"]}}, "servers"),
        ({"nats": {"servers": ["nats://h"], "subject": "a.*"}}, "subject"),
        ({"nats": {"servers": ["nats://h"], "token": "canary", "token_file": "f"}}, "not both"),
        ({"webhook": {"url": "ftp://h/canary"}}, "must be http"),
        ({"webhook": {"url": "https://u:canary@h/"}}, "without a login"),
        ({"webhook": {"url": "https://h/a b"}}, "must be http"),
        ({"webhook": {"url": "file:///etc/passwd"}}, "must be http"),
        ({"webhook": {"url": "http://h", "secret": "canary", "secret_file": "f"}}, "not both"),
        ({"webhook": {"url": "http://h", "bearer": "canary", "bearer_file": "f"}}, "not both"),
        ({"mqtt": {}}, "host: is required"),
        ({"mqtt": {"host": "h", "topic": "a/#"}}, "topic"),
        ({"mqtt": {"host": "h", "password": "canary", "password_file": "f"}}, "not both"),
        ({"mqtt": {"host": "h", "ca_file": "f"}}, "tls: true"),
        ({"mqtt": {"host": "h", "tls": True, "cert_file": "f"}}, "go together"),
        ({"mqtt": {"host": "h", "when": "sometimes"}}, "when"),
        ({"mqtt": {"host": "h", "pasword": "canary"}}, "did you mean password"),
    ],
)
def test_what_cannot_be_is_said_without_the_value(bridge: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        published(**bridge)
    assert "canary" not in str(caught.value)


def test_secrets_come_from_the_environment_and_are_not_shown() -> None:
    section = published(
        {"MQTT_PASSWORD": "canary"}, mqtt={"host": "h", "password": "${MQTT_PASSWORD}"}
    )
    assert section.mqtt is not None
    assert section.mqtt.password is not None
    assert section.mqtt.password.get_secret_value() == "canary"
    assert "canary" not in section.model_dump_json() + repr(section)


ROOT = Path(__file__).resolve().parent.parent
NAMES = ("MQTT_PASSWORD", "NATS_PASSWORD", "HOOK_SECRET", "DOOR_PASSWORD", "CAMERA_PASSWORD")
SECRETS = dict.fromkeys(NAMES, "x") | {"HOOK_URL": "https://example.com/x"}


def test_what_the_documents_show_can_be_used() -> None:
    shown = 0
    for page in ("bridges.md", "security.md"):
        for block in re.findall(
            r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL
        ):
            values = {"cameras": {"a": {"source": "demo:"}}, **yaml.safe_load(block)}
            parse_config(values, SECRETS)
            shown += 1
    assert shown == 4
    for name in ("home-assistant.yaml", "bridges.yaml"):
        load_config(ROOT / "configs" / name, SECRETS)
