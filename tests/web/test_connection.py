"""The limits of one TCP connection."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import httpx
import pytest

import streamer.web.connection
import streamer.web.live
from tests.web.clients import connections, ended, parts, serve, watch
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


def test_connections_that_ask_nothing_shut_nobody_out(monkeypatch, live, machine):
    monkeypatch.setattr(streamer.web.connection, "MAX_CONNECTIONS", 5)
    with serve(live, machine) as server, ExitStack() as stack:
        host, port = server.address.rsplit(":", 1)

        def idle(source):
            where = (host, int(port)), 10, (source, 0)
            return stack.enter_context(socket.create_connection(*where))

        one = idle("127.0.0.3")  # the oldest, of an address that has no more
        held = [idle("127.0.0.2") for _ in range(4)]
        half = b"GET / HTTP/1.1\r\nHost: loc"
        held[1].sendall(half)
        until(lambda: connections(server) == 5)
        for _ in range(3):
            assert httpx.get(f"http://{server.address}/healthz").status_code == 200
        assert ended(held[0]), "the oldest of the address that has the most"
        one.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert one.recv(12) == b"HTTP/1.1 200"


def test_more_connections_than_may_be_are_closed_at_once_where_all_are_in_use(
    monkeypatch, live, machine
):
    monkeypatch.setattr(streamer.web.connection, "MAX_CONNECTIONS", 5)
    live.write(outcome("door"))
    with serve(live, machine) as server:
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(watch(server))
            url = f"http://{server.address}/api/v1/cameras/door/live.mjpg"
            streams = [
                parts(stack.enter_context(httpx.stream("GET", url, timeout=10))) for _ in range(2)
            ]
            for pictures in streams:
                next(pictures)
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"http://{server.address}/healthz")
            assert server.viewers == 5
        until(lambda: _answers(server))
