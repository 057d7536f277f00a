from __future__ import annotations

import errno
import gc
import json
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import streamer.web.connection
import streamer.web.live
from streamer.errors import BindError
from streamer.status import SourceState
from streamer.web.guard import AllowedHosts
from streamer.web.live import LiveView
from streamer.web.server import HttpServer
from tests.web.synthetic import CAMERAS, Machine, Playing, outcome, split, until


def watch(server, **options):
    return connect(f"ws://{server.address}/ws/live", open_timeout=10, **options)


def hello(socket_, width=320, **more):
    socket_.send(json.dumps({"width": width, **more}))


def picture(socket_, camera=None):
    """The next picture (of ``camera``): header and JPEG."""
    while True:
        message = socket_.recv(timeout=10)
        if isinstance(message, bytes):
            header, jpeg = split(message)
            if camera in (None, header["camera"]):
                return header, jpeg


def serve(live, machine, **options):
    return HttpServer(
        "127.0.0.1:0", live=live, status=machine.status, metrics=machine.metrics, **options
    )


def raw(server, data, limit_s=10.0):
    """All the server answers to these bytes until it closes."""
    host, port = server.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=limit_s) as tcp:
        tcp.sendall(data)
        answer = b""
        while chunk := tcp.recv(65536):
            answer += chunk
        return answer


@pytest.fixture
def encodes(monkeypatch):
    made = []
    real = streamer.web.live.encode
    monkeypatch.setattr(
        streamer.web.live, "encode", lambda image, q: (made.append(1), real(image, q))[1]
    )
    return made


# ---- what people ask for -------------------------------------------------------------------


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


# ---- the WebSocket -------------------------------------------------------------------------


def test_pictures_of_all_cameras_arrive_and_change(server, live):
    with Playing(live), watch(server) as viewer:
        hello(viewer)
        first = {}
        later = {}
        while len(later) < len(CAMERAS):
            header, jpeg = picture(viewer)
            if header["camera"] not in first:
                first[header["camera"]] = header, jpeg
            elif header["frame"] > first[header["camera"]][0]["frame"]:
                later[header["camera"]] = header, jpeg
        for camera in CAMERAS:
            header, jpeg = later[camera]
            assert jpeg != first[camera][1]
            image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert image.shape == (header["height"], header["width"], 3) == (180, 320, 3)
            assert header["status"] == "live"
            assert header["age_ms"] < 3000
            assert header["faces"] == (2 if camera == "yard" else 1)


def test_the_status_of_all_cameras_comes_every_second_and_is_read_once_for_all(server, machine):
    with watch(server) as one, watch(server) as two:
        hello(one)
        hello(two)
        came = [[json.loads(viewer.recv(timeout=10)) for _ in range(3)] for viewer in (one, two)]
    assert [message["type"] for message in came[0]] == ["status"] * 3
    assert [camera["name"] for camera in came[0][0]["cameras"]] == list(CAMERAS)
    assert came[0][0]["stale_after_s"] == 3.0
    assert machine.readings <= 5, "two viewers, three messages each, are about three readings"


def test_old_and_failed_pictures_are_told_as_such(server, live):
    live.write(outcome("door", 1, at=time.monotonic() - 60))
    live.write(outcome("yard", 2, failed=True))
    with watch(server) as viewer:
        hello(viewer)
        old, _ = picture(viewer, "door")
        failed, _ = picture(viewer, "yard")
    assert old["status"] == "stale"
    assert old["age_ms"] >= 60_000
    assert failed["status"] == "failed"
    assert failed["faces"] is None, "nobody looked: that is not zero faces"


def test_the_viewer_chooses_the_width_and_may_change_its_mind():
    live = LiveView(["door"])
    with (
        serve(live, Machine(("door",))) as server,
        Playing(live, width=640, height=360),
        watch(server) as viewer,
    ):
        hello(viewer, 160)
        assert picture(viewer)[0]["width"] == 160
        hello(viewer, 480)
        until(lambda: picture(viewer)[0]["width"] == 480)


def test_ten_viewers_cause_one_encode_for_each_picture(server, live, encodes):
    with ExitStack() as stack:
        viewers = [stack.enter_context(watch(server)) for _ in range(10)]
        for viewer in viewers:
            hello(viewer)
        for index in range(5):
            live.write(outcome("door", index))
            frames = [picture(viewer)[0]["frame"] for viewer in viewers]
            assert frames == [index] * 10
    assert len(encodes) == 5


def test_nothing_is_encoded_or_woken_without_viewers(server, live, encodes):
    with watch(server) as viewer:
        hello(viewer)
        live.write(outcome("door"))
        picture(viewer)
    until(lambda: server.viewers == 0)
    live.write(outcome("door", 1))  # rings the bell that the last viewer left behind
    until(lambda: not live._bells)
    made = len(encodes)
    with Playing(live, fps=200) as playing:
        until(lambda: playing.written > 100)
        assert not live._bells
    assert len(encodes) == made


def test_a_viewer_that_tells_what_it_drew_gets_no_more_than_it_can_draw(server, live):
    with Playing(live, fps=50), watch(server) as viewer:
        hello(viewer, in_flight=2)
        assert [picture(viewer)[0]["sequence"] for _ in range(2)] == [1, 2]
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            message = viewer.recv(timeout=10)
            assert isinstance(message, str), "two pictures are on the way already"
        viewer.send(json.dumps({"drawn": 2}))
        header, _ = picture(viewer)
        assert header["sequence"] == 3
        assert header["age_ms"] < 1000, "the newest, not what was newest when it stopped drawing"


def stalled(server, hello_text='{"width": 1920}'):
    """A viewer that shakes hands, says hello and never reads again."""
    host, port = server.address.rsplit(":", 1)
    tcp = socket.socket()
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    tcp.connect((host, int(port)))
    tcp.sendall(
        f"GET /ws/live HTTP/1.1\r\nHost: {server.address}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert tcp.recv(12) == b"HTTP/1.1 101"
    data = hello_text.encode()
    tcp.sendall(bytes([0x81, 0x80 | len(data)]) + bytes(4) + data)
    return tcp


def noise(count=8):
    """Pictures that compress badly: they fill buffers soon."""
    random = np.random.default_rng(1)
    return [random.integers(0, 255, (1080, 1920, 3), np.uint8) for _ in range(count)]


def test_who_does_not_read_is_cut_off_and_delays_nobody(machine):
    from streamer.vision.picture import ArrayPicture

    live = LiveView(["door"])
    pictures = [ArrayPicture(image) for image in noise()]
    with serve(live, machine, read_limit_s=1.5) as server, watch(server, max_size=None) as fast:
        hello(fast, 1920)
        slow = stalled(server)
        try:
            until(lambda: server.viewers == 2)
            worst = 0.0
            index = 0
            end = time.monotonic() + 30
            while server.viewers == 2 and time.monotonic() < end:
                index += 1
                live.write(outcome("door", index, picture=pictures[index % 8]))
                began = time.monotonic()
                assert picture(fast)[0]["frame"] == index
                worst = max(worst, time.monotonic() - began)
            assert server.viewers == 1, "the one that did not read is gone"
            assert worst < 1.4, "the other never waited for it"
            live.write(outcome("door", index + 1, picture=pictures[0]))
            assert picture(fast)[0]["frame"] == index + 1
        finally:
            slow.close()


def test_the_thirty_third_viewer_is_told_to_come_later(live, machine):
    with serve(live, machine) as server, ExitStack() as stack:
        for _ in range(31):
            stack.enter_context(watch(server))
        with watch(server):
            until(lambda: server.viewers == 32)
            with watch(server) as late, pytest.raises(ConnectionClosed) as closed:
                late.recv(timeout=10)
            assert closed.value.rcvd.code == 1013
            assert "32 watch already" in closed.value.rcvd.reason
            url = f"http://{server.address}/api/v1/cameras/door/live.mjpg"
            refused = httpx.get(url)
            assert refused.status_code == 503
            assert "try again later" in refused.json()["error"]
            assert httpx.get(f"http://{server.address}/healthz").status_code == 200
        until(lambda: server.viewers == 31)
        with watch(server) as welcome:
            hello(welcome)
            assert json.loads(welcome.recv(timeout=10))["type"] == "status"


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ("hello", 1008, "must be JSON"),
        ("[]", 1008, "JSON object"),
        ('{"width": 159}', 1008, "from 160 to 1920"),
        ('{"width": 1921}', 1008, "from 160 to 1920"),
        ('{"width": "640"}', 1008, "whole number"),
        ('{"width": true}', 1008, "whole number"),
        ('{"width": 640.5}', 1008, "whole number"),
        ('{"width": NaN}', 1008, "whole number"),
        ('{"width": ' + "9" * 900 + "}", 1008, "from 160 to 1920"),
        ('{"in_flight": 0}', 1008, "from 1 to 64"),
        ('{"drawn": 1}', 1008, "from 0 to 0"),
        ("[" * 1024, 1008, "must be JSON"),
        (b"\x00\x01", 1003, "text"),
        ("x" * 2000, 1009, ""),
    ],
)
def test_nonsense_ends_the_connection_with_a_sentence(server, message, code, words):
    with watch(server) as viewer:
        viewer.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                viewer.recv(timeout=10)
        assert closed.value.rcvd.code == code
        assert words in closed.value.rcvd.reason
    until(lambda: server.viewers == 0)


def test_a_flood_of_messages_ends_the_connection(server):
    with watch(server) as viewer, pytest.raises(ConnectionClosed) as closed:
        for _ in range(3000):
            viewer.send('{"width": 320}')
        while True:
            viewer.recv(timeout=10)
    assert closed.value.rcvd.code == 1008
    until(lambda: server.viewers == 0)


def test_bytes_that_are_no_websocket_frames_end_the_connection(server):
    tcp = stalled(server)
    until(lambda: server.viewers == 1)
    tcp.sendall(b"\xff" * 64)
    until(lambda: server.viewers == 0)
    tcp.close()


def test_viewers_that_vanish_are_forgotten(server, live):
    gone = [stalled(server, '{"width": 160}') for _ in range(20)]
    until(lambda: server.viewers == 20)
    with Playing(live):
        for tcp in gone:  # reset, as when a process is killed with data unread
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            tcp.close()
        until(lambda: server.viewers == 0)


# ---- MJPEG ---------------------------------------------------------------------------------


def parts(stream):
    """The JPEGs of a multipart stream, each as soon as its end is seen."""
    buffer = b""
    for chunk in stream.iter_raw():
        buffer += chunk
        while True:
            head = buffer.find(b"\r\n\r\n")
            if head < 0:
                break
            length = int(buffer[:head].rsplit(b"Content-Length: ", 1)[1])
            if len(buffer) < head + 4 + length:
                break
            yield buffer[head + 4 : head + 4 + length]
            buffer = buffer[head + 4 + length :]


def test_mjpeg_shows_each_new_picture_and_says_when_it_goes_stale(machine):
    live = LiveView(["door"], stale_after_s=0.5)
    with serve(live, machine) as server:
        url = f"http://{server.address}/api/v1/cameras/door/live.mjpg"
        assert httpx.head(url).headers["content-type"].startswith("multipart/x-mixed-replace")
        assert server.viewers == 0
        live.write(outcome("door", 1))
        with httpx.stream("GET", url, params={"width": 320}, timeout=10) as stream:
            assert stream.headers["content-type"].startswith("multipart/x-mixed-replace")
            pictures = parts(stream)
            first = next(pictures)
            live.write(outcome("door", 2))
            second = next(pictures)
            third = next(pictures)  # nothing new was written: the second has gone stale
        until(lambda: server.viewers == 0)
    bright = [
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean()
        for jpeg in (first, second, third)
    ]
    assert first != second
    assert bright[1] > 0.9 * bright[0]
    assert bright[2] < 0.7 * bright[1]


def test_mjpeg_that_nobody_reads_is_cut_off(machine):
    from streamer.vision.picture import ArrayPicture

    live = LiveView(["door"])
    pictures = [ArrayPicture(image) for image in noise(2)]
    with serve(live, machine, read_limit_s=0.5) as server:
        host, port = server.address.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as tcp:
            request = "GET /api/v1/cameras/door/live.mjpg?width=1920 HTTP/1.1"
            tcp.sendall(f"{request}\r\nHost: {server.address}\r\n\r\n".encode())
            until(lambda: server.viewers == 1)
            index = 0

            def cut_off():
                nonlocal index
                index += 1
                live.write(outcome("door", index, picture=pictures[index % 2]))
                return server.viewers == 0

            until(cut_off, 20)


# ---- the end -------------------------------------------------------------------------------


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


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


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


# ---- addresses -----------------------------------------------------------------------------


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


# ---- the hostile ---------------------------------------------------------------------------


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


def ended(tcp):
    try:
        return tcp.recv(100) == b""
    except ConnectionError:
        return True


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


def _answers(server):
    try:
        return httpx.get(f"http://{server.address}/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def test_a_fault_of_ours_is_logged_and_answered_without_detail(live, machine, caplog):
    def broken(accept):
        raise KeyError("hush")

    with HttpServer("127.0.0.1:0", live=live, status=machine.status, metrics=broken) as server:
        answer = httpx.get(f"http://{server.address}/metrics")
        assert answer.status_code == 500
        assert "hush" not in answer.text
        until(lambda: "bug in streamer" in caplog.text)
        assert httpx.get(f"http://{server.address}/healthz").status_code == 200


def test_a_picture_that_cannot_be_converted_harms_only_itself(server, live, caplog):
    class Broken:
        width, height = 320, 180

        def bgr(self, width=None, height=None):
            raise OSError("rtsp://user:hush@camera failed")

    with watch(server) as viewer:
        hello(viewer)
        live.write(outcome("door", 1, picture=Broken()))
        live.write(outcome("yard", 2))
        assert picture(viewer)[0]["camera"] == "yard"
        live.write(outcome("door", 3))
        assert picture(viewer)[0]["frame"] == 3
    assert "a picture cannot be shown" in caplog.text
    assert "hush" not in caplog.text


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
