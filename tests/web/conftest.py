"""A live view, hand-made readings and a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamer.web.live import LiveView
from streamer.web.server import HttpServer
from tests.web.synthetic import CAMERAS, Machine


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def live() -> LiveView:
    return LiveView(CAMERAS)


@pytest.fixture
def server(live: LiveView, machine: Machine) -> Iterator[HttpServer]:
    with HttpServer(
        "127.0.0.1:0", live=live, status=machine.status, metrics=machine.metrics
    ) as running:
        yield running
