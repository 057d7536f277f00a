"""Options that FFmpeg is told; that each of them acts is seen here or in test_pyav_live.py."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.capture.ffmpeg import PROTOCOLS, Tls, file_options, live_options
from streamer.capture.pyav import PyAvSource
from streamer.errors import SourceLost
from streamer.types import SourceUrl


def test_live_options_name_what_is_allowed() -> None:
    for scheme in PROTOCOLS:
        options = live_options(
            scheme, transport="udp", socket_timeout_s=1.5, max_pixels=99, tls=Tls()
        )
        allowed = options["protocol_whitelist"].split(",")
        assert not {"file", "concat", "data", "subfile", "pipe", "ftp"} & set(allowed)
        assert options["max_pixels"] == "99"
        if scheme.startswith("rtsp"):
            assert options["timeout"] == "1500000"
            assert options["rtsp_transport"] == "udp"
    assert file_options(99) == {"max_pixels": "99", "protocol_whitelist": "file"}


def test_certificates_are_checked_unless_told_otherwise(tmp_path: Path) -> None:
    assert Tls().options()["tls_verify"] == "1"
    assert Tls(verify=False).options() == {"tls_verify": "0"}
    assert Tls(ca_file=tmp_path / "a.pem").options()["ca_file"] == str(tmp_path / "a.pem")


def certificate(folder: Path, address: str) -> tuple[Path, Path]:
    key, pem = folder / f"{address}.key", folder / f"{address}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=camera", "-addext", f"subjectAltName=IP:{address}",
         "-keyout", key, "-out", pem],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, pem


class TlsCamera:
    """Takes TLS connections, notes what it was told and hangs up."""

    def __init__(self, key: Path, pem: Path) -> None:
        self.heard: list[bytes] = []
        self._over = threading.Event()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.settimeout(5)
            with connection:
                if self._over.is_set():
                    return
                try:
                    with self._context.wrap_socket(connection, server_side=True) as spoken:
                        self.heard.append(spoken.recv(4096))
                except OSError:  # the other end did not like the certificate
                    pass

    def close(self) -> None:
        self._over.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(10)
        self._listener.close()


@pytest.fixture(params=["127.0.0.1", "127.0.0.2"])
def tls_camera(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[TlsCamera, Path]]:
    key, pem = certificate(tmp_path, request.param)
    camera = TlsCamera(key, pem)
    yield camera, pem
    camera.close()


@pytest.mark.parametrize("scheme", ["rtsps", "https"])
def test_a_password_goes_to_trusted_cameras_only(
    scheme: str, tls_camera: tuple[TlsCamera, Path]
) -> None:
    camera, pem = tls_camera
    right_name = pem.stem == "127.0.0.1"
    url = SourceUrl(f"{scheme}://cam:hunter2@127.0.0.1:{camera.port}/x")

    def heard(tls: Tls) -> bool:
        camera.heard.clear()
        with pytest.raises(SourceLost) as lost:
            list(
                PyAvSource(url, camera="a", live=True, open_timeout_s=3, tls=tls).frames(
                    threading.Event()
                )
            )
        spoken = any(camera.heard)
        assert ("certificate" in str(lost.value)) is not spoken
        return spoken

    assert not heard(Tls())  # nobody vouches for it
    assert heard(Tls(ca_file=pem)) is right_name
    assert heard(Tls(verify=False))
