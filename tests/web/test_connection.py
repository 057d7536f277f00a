"""The limits of one TCP connection."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

import streamer.web.connection
import streamer.web.live
from tests.web.clients import (
    ended,
    parts,
    serve,
)
from tests.web.synthetic import outcome, until


def _answers(server):
    try:
        return httpx.get(f"http://{server.address}/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def test_requests_that_never_end_are_ended(monkeypatch, live, machine):
    monkeypatch.setattr(streamer.web.connection, "_REQUEST_LIMIT_S", 0.3)
    with serve(live, machine) as server:
        host, port = server.address.rsplit(":", 1)
        for beginning in (b"", b"GET / HTTP/1.1\r\nHost: loc"):
            with socket.create_connection((host, int(port)), timeout=10) as tcp:
                tcp.sendall(beginning)
                assert ended(tcp)
        with httpx.Client() as client:  # a second request on the same connection is watched too
            assert client.get(f"http://{server.address}/healthz").status_code == 200
            assert client.get(f"http://{server.address}/healthz").status_code == 200
        live.write(outcome("door"))
        with httpx.stream(
            "GET", f"http://{server.address}/api/v1/cameras/door/live.mjpg", timeout=10
        ) as stream:
            pictures = parts(stream)
            next(pictures)
            time.sleep(0.5)  # longer than the limit: an answer may take as long as it likes
            live.write(outcome("door", 1))
            next(pictures)


def test_a_head_without_end_is_refused_early(server):
    host, port = server.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as tcp:
        tcp.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                tcp.sendall(b"a" * 16384)
    assert httpx.get(f"http://{server.address}/healthz").status_code == 200


def test_more_connections_than_may_be_are_closed_at_once(monkeypatch, live, machine):
    monkeypatch.setattr(streamer.web.connection, "MAX_CONNECTIONS", 5)
    with serve(live, machine) as server:
        host, port = server.address.rsplit(":", 1)
        held = [socket.create_connection((host, int(port)), timeout=10) for _ in range(5)]
        try:
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"http://{server.address}/healthz")
        finally:
            for tcp in held:
                tcp.close()
        until(lambda: _answers(server))
