"""A live view, hand-made readings and a real server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from streamer.web.live import LiveView
from streamer.web.server import HttpServer, TlsFiles
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


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A certificate for localhost that nobody vouches for."""
    folder = tmp_path_factory.mktemp("tls")
    files = TlsFiles(folder / "certificate.pem", folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=us", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(files.key), "-out", str(files.certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return files
