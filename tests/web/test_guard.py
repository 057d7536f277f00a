from __future__ import annotations

import json
import socket

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from streamer.web.guard import AllowedHosts
from streamer.web.server import HttpServer
from tests.web.clients import (
    raw,
)
from tests.web.synthetic import outcome, until


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        ("GET / HTTP/1.1", "Host: evil.example", 421),
        ("GET / HTTP/1.1", "Host: evil.example:{port}", 421),
        ("GET / HTTP/1.1", "Host: localhost.evil.example", 421),
        ("GET / HTTP/1.1", "Host: 127.0.0.1.evil.example", 421),
        ("GET / HTTP/1.1", "Host: 10.1.2.3", 421),
        ("GET / HTTP/1.1", "Host: [::1", 421),
        ("GET / HTTP/1.1", "Host: user@evil.example", 421),
        ("GET / HTTP/1.1", "Host: ", 400),
        ("GET / HTTP/1.0", "X: y", 400),
        ("GET / HTTP/1.1", "X: y", 400),
        ("GET / HTTP/1.1", "Host: localhost\r\nHost: evil.example", 400),
        ("GET / HTTP/1.1", "Host: localhost", 200),
        ("GET / HTTP/1.1", "Host: LOCALHOST.:{port}", 200),
        ("GET / HTTP/1.1", "Host: [::1]:{port}", 200),
        ("GET / HTTP/1.1", "Host: 127.0.0.1:{port}\r\nX-Forwarded-Host: evil.example", 200),
        ("GET http://evil.example/ HTTP/1.1", "Host: localhost", 400),
        ("GET @evil.example HTTP/1.1", "Host: localhost", 400),
        ("GET evil HTTP/1.1", "Host: localhost", 400),
        ("GET //evil.example HTTP/1.1", "Host: localhost", 404),
        ("GET /static/..%2f..%2fetc/passwd HTTP/1.1", "Host: localhost", 404),
        ("GET /static/../server.py HTTP/1.1", "Host: localhost", 404),
        ("GET /static/%2e%2e/server.py HTTP/1.1", "Host: localhost", 404),
        ("GET /static//etc/passwd HTTP/1.1", "Host: localhost", 404),
        ("GET /static/ HTTP/1.1", "Host: localhost", 404),
        ("GET /static/app.js%00 HTTP/1.1", "Host: localhost", 400),
        ("GET /docs HTTP/1.1", "Host: localhost", 404),
        ("GET /openapi.json HTTP/1.1", "Host: localhost", 404),
        ("GET /healthz/ HTTP/1.1", "Host: localhost", 404),
        ("GET /ws/live HTTP/1.1", "Host: localhost", 404),
        ("GET /api/v1/cameras/attic/live.mjpg HTTP/1.1", "Host: localhost", 404),
        ("GET /api/v1/cameras/%3Cscript%3E/snapshot.jpg HTTP/1.1", "Host: localhost", 404),
        ("GET /api/v1/cameras/door/snapshot.jpg?width=0 HTTP/1.1", "Host: localhost", 422),
        ("GET /api/v1/cameras/door/snapshot.jpg?width=1e3 HTTP/1.1", "Host: localhost", 422),
        ("GET /api/v1/cameras/door/snapshot.jpg?width=99999 HTTP/1.1", "Host: localhost", 422),
        ("GET /api/v1/cameras/door/snapshot.jpg?width= HTTP/1.1", "Host: localhost", 422),
        ("GET /api/v1/cameras/door/live.mjpg?width=NaN HTTP/1.1", "Host: localhost", 422),
        ("POST / HTTP/1.1", "Host: localhost", 405),
        ("DELETE /api/v1/status HTTP/1.1", "Host: localhost", 405),
        ("POST / HTTP/1.1", "Host: localhost\r\nX-HTTP-Method-Override: GET", 405),
        (
            "OPTIONS /api/v1/status HTTP/1.1",
            "Host: localhost\r\nOrigin: http://evil.example\r\nAccess-Control-Request-Method: GET",
            405,
        ),
        ("POST / HTTP/1.1", "Host: localhost\r\nContent-Length: 104857600", 413),
        ("GET / HTTP/1.1", "Host: localhost\r\nTransfer-Encoding: chunked", 413),
        ("GET / HTTP/1.1", "Host: localhost\r\nContent-Length: -1", 400),
        ("GET / HTTP/1.1", "Host: localhost\r\nContent-Length: 1\r\nContent-Length: 2", 400),
        ("GET / HTTP/x", "Host: localhost", 400),
        ("GET / HTTP/1.1", "Host: evil.example\\@localhost", 421),
        ("\x16\x03\x01\x02", "", 400),
    ],
)  # fmt: skip
def test_hostile_requests_get_a_plain_refusal(server, live, request_line, headers, status):
    live.write(outcome("door"))
    headers = headers.replace("{port}", server.address.rsplit(":", 1)[1])
    data = f"{request_line}\r\n{headers}\r\nConnection: close\r\n\r\n".encode("latin-1")
    answer = raw(server, data)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"access-control-allow-origin" not in answer.lower()
    assert b"evil" not in answer, "what a client says is never said back"
    assert b"<script>" not in answer.split(b"\r\n\r\n", 1)[1]
    if status in (403, 404, 405, 413, 421, 422):
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
    assert httpx.get(f"http://{server.address}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://evil.example", "{address}", 403),
        ("null", "{address}", 403),
        ("", "{address}", 403),
        ("http://[", "{address}", 403),
        ("http://127.0.0.1:1", "{address}", 403),
        ("http://localhost:{port}", "{address}", 403),
        ("http://evil.example:{port}", "evil.example:{port}", 421),
        ("http://{address}", "{address}", 101),
        ("https://{address}", "{address}", 101),
        (None, "{address}", 101),
    ],
)
def test_only_our_own_page_may_open_the_websocket(server, origin, host, status):
    names = {"address": server.address, "port": server.address.rsplit(":", 1)[1]}
    origin_line = "" if origin is None else f"Origin: {origin.format(**names)}\r\n"
    host_name, port = server.address.rsplit(":", 1)
    with socket.create_connection((host_name, int(port)), timeout=10) as tcp:
        tcp.sendall(
            f"GET /ws/live HTTP/1.1\r\nHost: {host.format(**names)}\r\n{origin_line}"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert tcp.recv(4096).startswith(b"HTTP/1.1 %d " % status)


def test_a_websocket_elsewhere_is_refused(server):
    with pytest.raises(InvalidStatus), connect(f"ws://{server.address}/ws/other"):
        pass


def test_a_fault_of_ours_is_logged_and_answered_without_detail(live, machine, caplog):
    def broken(accept):
        raise KeyError("hush")

    with HttpServer("127.0.0.1:0", live=live, status=machine.status, metrics=broken) as server:
        answer = httpx.get(f"http://{server.address}/metrics")
        assert answer.status_code == 500
        assert "hush" not in answer.text
        until(lambda: "bug in streamer" in caplog.text)
        assert httpx.get(f"http://{server.address}/healthz").status_code == 200


@pytest.mark.parametrize(
    ("bound", "more", "host", "allowed"),
    [
        ("127.0.0.1", (), "localhost:8080", True),
        ("127.0.0.1", (), "127.8.9.1", True),
        ("127.0.0.1", (), "192.168.1.5", False),
        ("192.168.1.5", (), "192.168.1.5:8080", True),
        ("192.168.1.5", (), "192.168.1.6:8080", False),
        ("cam.example", (), "CAM.example", True),
        ("0.0.0.0", (), "192.168.1.5:8080", True),
        ("::", (), "[fe80::1]:8080", True),
        ("0.0.0.0", (), "evil.example", False),
        ("0.0.0.0", (), socket.gethostname(), True),
        ("0.0.0.0", ("streamer",), "streamer:8080", True),
        ("127.0.0.1", ("Wall.example",), "wall.example", True),
        ("127.0.0.1", (), "", False),
        ("127.0.0.1", (), "0x7f.1", False),
        ("127.0.0.1", (), "evil.example\\@localhost", False),
    ],
)  # fmt: skip
def test_which_hosts_are_ours(bound, more, host, allowed):
    assert AllowedHosts(bound, more).allows(host) is allowed
