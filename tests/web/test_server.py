from __future__ import annotations

import errno
import gc
import socket
import threading
import time

import cv2
import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

from streamer.errors import BindError
from streamer.status import SourceState
from streamer.web.live import LiveView
from streamer.web.server import HttpServer
from tests.web.clients import (
    hello,
    open_files,
    parts,
    picture,
    serve,
    stalled,
    watch,
)
from tests.web.synthetic import CAMERAS, Playing, outcome, until


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/app.js", "text/javascript; charset=utf-8"),
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"),
        ("/healthz", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/api/v1/status", "application/json"),
        ("/api/v1/cameras/door/snapshot.jpg", "image/jpeg"),
    ],
)
def test_every_path_answers_get_and_head_with_safe_headers(server, live, path, kind):
    live.write(outcome("door"))
    got = httpx.get(f"http://{server.address}{path}")
    assert got.status_code == 200
    assert got.headers["content-type"] == kind
    head = httpx.head(f"http://{server.address}{path}")
    assert head.status_code == 200
    assert head.content == b""
    for answer in (got, head):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def test_the_page_asks_no_other_host(server):
    for path in ("/", "/static/app.js", "/static/style.css"):
        text = httpx.get(f"http://{server.address}{path}").text
        assert "http://" not in text.replace("http://www.w3.org/", "")
        assert "https://" not in text
        assert "innerHTML" not in text, "names of cameras are text, never markup"


def test_metrics_gets_the_accept_header(server):
    answer = httpx.get(
        f"http://{server.address}/metrics", headers={"accept": "application/openmetrics-text"}
    )
    assert answer.text == "# EOF\n"
    assert answer.headers["content-type"].startswith("application/openmetrics-text")


def test_status_tells_everything_and_no_secret(server, machine):
    machine.changes["door"] = {
        "url": "rtsp://admin:s3cret@10.0.0.7/a?token=hush",
        "source": SourceState("backing_off", time.monotonic() - 9, "auth", "rtsp://a:s3cret@x"),
        "latency_p50_s": None,
        "newest_age_s": float("inf"),
    }
    answer = httpx.get(f"http://{server.address}/api/v1/status")
    assert "s3cret" not in answer.text
    assert "hush" not in answer.text
    door = answer.json()["cameras"][0]
    assert door["state"] == "backing_off"
    assert door["reason"] == "auth"
    assert 9 <= door["for_s"] < 19
    assert door["latency_p50_s"] is None
    assert door["newest_age_s"] is None
    assert door["ledger"]["captured"] == 1234
    assert door["ledger"]["dropped"] == [{"stage": "infer", "reason": "queue_full", "frames": 12}]
    assert door["ledger"]["imbalance"] == 0
    assert answer.json()["stages"]["infer"] == {"count": 6, "sum_s": 0.9, "mean_s": 0.15}


def test_a_snapshot_says_what_it_is(server, live):
    url = f"http://{server.address}/api/v1/cameras/door/snapshot.jpg"
    missing = httpx.get(url)
    assert missing.status_code == 503
    assert "no picture yet" in missing.json()["error"]
    live.write(outcome("door", 7, width=640, height=360))
    fresh = httpx.get(url, params={"width": 480})
    assert fresh.headers["x-streamer-status"] == "live"
    assert fresh.headers["x-streamer-frame"] == "7"
    assert int(fresh.headers["x-streamer-age-ms"]) < 3000
    image = cv2.imdecode(np.frombuffer(fresh.content, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (270, 480, 3)
    live.write(outcome("door", 8, at=time.monotonic() - 60, width=640, height=360))
    stale = httpx.get(url, params={"width": 480})
    assert stale.headers["x-streamer-status"] == "stale"
    assert int(stale.headers["x-streamer-age-ms"]) >= 60_000
    dark = cv2.imdecode(np.frombuffer(stale.content, np.uint8), cv2.IMREAD_COLOR)
    assert dark.mean() < 0.7 * image.mean(), "its pixels say so too"


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
        assert time.monotonic() - began < 3.0
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
    assert time.monotonic() - began < 3.5
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
        HttpServer(bind, live=live, status=machine.status, metrics=machine.metrics)
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
        with HttpServer(bind, live=live, status=machine.status, metrics=machine.metrics) as server:
            port = server.address.rsplit(":", 1)[1]
            host = "[::1]" if bind.startswith("[") else "127.0.0.1"
            assert httpx.get(f"http://{host}:{port}/healthz").status_code == 200
            if bind.startswith("["):
                assert server.address == f"[::1]:{port}"
