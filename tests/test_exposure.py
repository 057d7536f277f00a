"""What others could reach without a lock is refused, and what they could not is not."""

from __future__ import annotations

from typing import Any

import pytest

from streamer.config import Config, parse_config
from streamer.errors import Exposed
from streamer.exposure import refuse_exposure


def config(**zeromq: Any) -> Config:
    return parse_config({"cameras": {"a": {"source": "demo:"}}, "publish": {"zeromq": zeromq}}, {})


@pytest.mark.parametrize(
    "bind",
    ["tcp://*:5555", "tcp://0.0.0.0:5555", "tcp://192.168.1.5:5555", "tcp://eth0:5555",
     "tcp://[::]:5555", "tcp://camera-server:5555", "tcp://[2001:db8::1]:5555", "ipc://@streamer"],
)  # fmt: skip
def test_others_could_listen(bind: str) -> None:
    keys = {"server_key": "s.key_secret", "clients": "clients"}
    for key, address in (("bind", {"bind": bind}), ("replay", {"replay": bind})):
        with pytest.raises(Exposed, match=rf"^publish\.zeromq\.{key}: .*insecure: true") as caught:
            refuse_exposure(config(**address))
        assert "\n" not in str(caught.value)
        refuse_exposure(config(**address, curve=keys))
        refuse_exposure(config(**address, insecure=True))


@pytest.mark.parametrize(
    "bind",
    ["tcp://127.0.0.1:5555", "tcp://127.8.9.1:5555", "tcp://localhost:5555", "tcp://[::1]:5555",
     "ipc:///run/streamer/events"],
)  # fmt: skip
def test_nobody_else_could(bind: str) -> None:
    refuse_exposure(config(bind=bind, replay=bind))


def test_nothing_is_published() -> None:
    refuse_exposure(
        parse_config({"cameras": {"a": {"source": "demo:"}}, "publish": {"zeromq": None}}, {})
    )
