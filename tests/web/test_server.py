from __future__ import annotations

import errno
import gc
import socket
import ssl
import threading
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import streamer.web.connection
from streamer.errors import BindError, ConfigError, Exposed
from streamer.web.access import Access
from streamer.web.connection import Socket
from streamer.web.live import LiveView
from streamer.web.server import HttpServer, TlsFiles
from tests.web.clients import (
    ended,
    hello,
    open_files,
    parts,
    picture,
    serve,
    stalled,
    watch,
)
from tests.web.synthetic import CAMERAS, Playing, outcome, until


def test_close_is_in_time_with_viewers_of_every_kind_and_leaves_nothing(machine):
    gc.collect()
    fds = open_files()
    threads = set(threading.enumerate())
    live = LiveView(CAMERAS)
    server = serve(live, machine)
    server.start()
    assert server.running
    port = int(server.address.rsplit(":", 1)[1])
    url = f"http://{server.address}/api/v1/cameras/door/live.mjpg"
    with (
        Playing(live, fps=50, width=1280, height=720),
        watch(server) as reading,
        watch(server) as silent,
        stalled(server),
        socket.create_connection(("127.0.0.1", port)) as half,
        httpx.stream("GET", url, timeout=10) as stream,
    ):
        hello(reading, 1280)
        half.sendall(b"GET / HT")
        pictures = parts(stream)
        next(pictures)
        picture(reading)
        until(lambda: server.viewers == 4)
        began = time.monotonic()
        server.close()
        assert time.monotonic() - began < 8.0
        assert not server.running
        server.close()
        for viewer in (reading, silent):
            with pytest.raises(ConnectionClosed):
                while True:
                    viewer.recv(timeout=10)
        for _ in pictures:
            pass  # it ends
    gc.collect()
    until(lambda: set(threading.enumerate()) <= threads)
    assert open_files() <= fds
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


def test_closing_a_server_that_never_started_frees_its_port(live, machine):
    first = serve(live, machine)
    first.close()
    assert not first.running
    with HttpServer(first.address, live=live, status=machine.status, metrics=machine.metrics):
        pass


def test_the_page_that_asks_while_it_ends_is_not_kept_waiting(live, machine):
    started = threading.Event()
    go_on = threading.Event()

    def slow_metrics(accept):
        started.set()
        go_on.wait(30)
        return b"", "text/plain"

    server = HttpServer("127.0.0.1:0", live=live, status=machine.status, metrics=slow_metrics)
    server.start()
    refused = []

    def ask():
        with pytest.raises(httpx.HTTPError) as error:
            httpx.get(f"http://{server.address}/metrics", timeout=20)
        refused.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert started.wait(10)
    began = time.monotonic()
    server.close()
    assert time.monotonic() - began < 8.0
    asking.join(10)
    assert refused
    go_on.set()


@pytest.mark.parametrize(
    "bind",
    ["", "8080", ":8080", "localhost", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000",
     "127.0.0.1:-1", "http://127.0.0.1:80x", "no.such.host.invalid:80", "127.0.0.1:²",
     "192.0.2.1:8080", "a" * 80 + ":80", "[::1:80", "::1:80",
     "user@localhost:80", "[]:80", "127.0.0.1:80\n"],
)  # fmt: skip
def test_a_bad_address_is_one_sentence(live, machine, bind):
    with pytest.raises(BindError) as error:
        serve(live, machine, bind=bind, insecure=True)
    assert "\n" not in str(error.value)
    assert any(word in str(error.value) for word in ("write one like", "use 127.0.0.1"))


def test_a_taken_address_is_one_sentence(server, live, machine):
    with pytest.raises(BindError, match=r"another program listens there; stop it or"):
        HttpServer(server.address, live=live, status=machine.status, metrics=machine.metrics)


def test_a_port_that_is_not_permitted_is_one_sentence(live, machine, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    class Refusing(socket.socket):
        bind = refuse

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(BindError, match="this user may not; choose a port above 1023"):
        HttpServer("127.0.0.1:80", live=live, status=machine.status, metrics=machine.metrics)


def test_ipv6_and_every_address(live, machine):
    for bind in ("[::1]:0", "0.0.0.0:0", "localhost:0"):
        with serve(live, machine, bind=bind, insecure=True) as server:
            port = server.address.rsplit(":", 1)[1]
            host = "[::1]" if bind.startswith("[") else "127.0.0.1"
            assert httpx.get(f"http://{host}:{port}/healthz").status_code == 200
            if bind.startswith("["):
                assert server.address == f"[::1]:{port}"


def test_nobody_else_is_let_in_by_accident(live, machine):
    for bind in ("0.0.0.0:0", "[::]:0"):
        with pytest.raises(Exposed, match=r"http\.tokens, listen on 127\.0\.0\.1, or say"):
            serve(live, machine, bind=bind)
    access = Access(read=["r" * 24], wall_clock=time.time)
    for options in ({"access": access}, {"insecure": True}):
        with serve(live, machine, bind="0.0.0.0:0", **options) as server:
            port = server.address.rsplit(":", 1)[1]
            assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200


def test_tls_by_certificate_files(live, machine, tls_files):
    with serve(live, machine, tls=tls_files) as server:
        port = server.address.rsplit(":", 1)[1]
        trusting = ssl.create_default_context(cafile=str(tls_files.certificate))
        assert httpx.get(f"https://localhost:{port}/healthz", verify=trusting).status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://localhost:{port}/healthz")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://localhost:{port}/healthz")
        with connect(f"wss://localhost:{port}/ws/live", ssl=trusting) as viewer:
            hello(viewer)
            live.write(outcome("door"))
            assert picture(viewer)[0]["camera"] == "door"


def test_a_handshake_that_does_not_come_is_not_waited_for(live, machine, tls_files, monkeypatch):
    monkeypatch.setattr(streamer.web.connection, "_HANDSHAKE_LIMIT_S", 0.3)
    with serve(live, machine, tls=tls_files) as server:
        host, port = server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=10) as tcp:
            assert ended(tcp)


def test_certificates_that_are_none_are_one_sentence(live, machine, tls_files, tmp_path):
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    for files, says in (
        (TlsFiles(tls_files.key, tls_files.key), "no PEM certificate"),
        (TlsFiles(wrong, tls_files.key), "no PEM certificate"),
        (TlsFiles(tmp_path / "gone.pem", tls_files.key), "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=says):
            serve(live, machine, tls=files)


def test_a_viewer_that_is_closing_does_not_keep_the_server_from_it(server, monkeypatch):
    """Its goodbye has come and is being answered at the moment the server ends."""
    failures = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    with watch(server) as viewer:
        hello(viewer)
        until(lambda: server.viewers == 1)
        (connection,) = [
            one for one in server._server.server_state.connections if isinstance(one, Socket)
        ]
        goodbye = b"\x88\x80\0\0\0\0"
        server._server._loop.call_soon_threadsafe(connection.conn.receive_data, goodbye)
        server.close()
    assert failures == []
    assert not server.running
