"""Configuration becomes sockets with keys, or one sentence that names the key."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streamer.config_sections import Curve, ZeroMq
from streamer.errors import BindError, ConfigError
from streamer.keys import new_keys
from streamer.outlets import open_zeromq
from streamer.publish.zeromq import ZeroMqSink
from streamer.types import Beat


def opened(section: ZeroMq, folder: Path) -> ZeroMqSink:
    return open_zeromq(
        section, base_folder=folder, boot_id="b", model="m", final=lambda: Beat(0.0, 0.0, {}),
        clock=time.monotonic,
    )  # fmt: skip


def test_files_of_keys_are_sought_beside_the_configuration(tmp_path: Path) -> None:
    new_keys("server", tmp_path / "keys")
    new_keys("friend", tmp_path / "clients")
    curve = Curve(server_key=Path("keys/server.key_secret"), clients=Path("clients"))
    sink = opened(ZeroMq(bind="tcp://127.0.0.1:*", curve=curve), tmp_path)
    assert {socket for socket, _ in sink.refused} == {"events"}
    sink.close()


def test_keys_that_cannot_be_read_and_an_address_in_use_name_their_key(tmp_path: Path) -> None:
    curve = Curve(server_key=Path("none.key_secret"), clients=Path("clients"))
    with pytest.raises(ConfigError, match=r"^publish\.zeromq\.curve: .*none\.key_secret"):
        opened(ZeroMq(bind="tcp://127.0.0.1:*", curve=curve), tmp_path)
    sink = opened(ZeroMq(bind="tcp://127.0.0.1:*"), tmp_path)
    with pytest.raises(BindError, match=r"^publish\.zeromq\.bind: "):
        opened(ZeroMq(bind=sink.endpoint), tmp_path)
    sink.close()
