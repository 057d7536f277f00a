"""What strangers may send, row by row, to the real program: each gets one exact answer.

No answer and no line of the log holds a secret; no source that is refused is dialled; and after
all of it the cameras are looked at as before.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from streamer.app import App
from streamer.config import parse_config
from tests.web.pictures import form, jpeg, png_head
from tests.web.synthetic import until

ROOT = Path(__file__).resolve().parents[2]
CANARY = "Kanarienvogel7"
CONTROL = f"control-{CANARY}-token"
READ = f"read-{CANARY}-token"


@dataclass
class Row:
    """One request and the status it gets. ``raw`` is everything; else it is made of the rest."""

    name: str
    status: int
    method: str = "GET"
    path: str = "/api/v1/status"
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    token: str | None = CONTROL
    raw: bytes = b""
    length: bool = True

    def request(self, address: str, port: int) -> bytes:
        if self.raw:
            return self.raw.replace(b"{address}", address.encode()).replace(
                b"{token}", CONTROL.encode()
            )
        lines = [f"{self.method} {self.path} HTTP/1.1"]
        headers = {"Host": address, "Connection": "close", **self.headers}
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        body = self.body.replace(b"{port}", str(port).encode())
        if body and self.length:
            headers.setdefault("Content-Length", str(len(body)))
        door = address.rpartition(":")[2]
        lines += [f"{name}: {value.replace('{door}', door)}" for name, value in headers.items()]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def source(text: str, status: int = 403, name: str = "") -> Row:
    """A camera whose source is ``text``; {port} is where the canary listens."""
    body = json.dumps({"source": text}).encode()
    return Row(f"source {name or text}", status, "POST", "/api/v1/cameras/z", body, dict(JSON))


def camera(name: str, body: bytes, status: int, **headers: str) -> Row:
    """A body that is to make a camera."""
    return Row(f"camera {name}", status, "POST", "/api/v1/cameras/z", body, {**JSON, **headers})


def named(name: Any, status: int = 422) -> Row:
    """A camera of this name."""
    body = json.dumps({"name": name, "source": "demo:"}).encode()
    return Row(f"name {str(name)[:20]!r}", status, "POST", "/api/v1/cameras", body, dict(JSON))


def picture(name: str, data: bytes, status: int, kind: str = "image/jpeg") -> Row:
    """A picture that is sent."""
    return Row(f"picture {name}", status, "POST", "/detect", data, {"Content-Type": kind})


def path(text: str, status: int, **more: Any) -> Row:
    return Row(f"path {text[:60]}", status, path=text, **more)


def raw(name: str, text: bytes, status: int) -> Row:
    return Row(f"raw {name}", status, raw=text)


JSON = {"Content-Type": "application/json"}
HEAD = b"GET /api/v1/status HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n"
POST = b"POST /detect HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n"
END = b"Connection: close\r\n\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
FORM = "multipart/form-data; boundary=x"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>'
BMP = b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 60_000, 60_000, 1, 24, 0) + bytes(20)
WEBP = b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f" + b"\xff\xff\xff\x0f" + bytes(8)
GIANT_JPEG = b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x22\0\2\x11\1\3\x11\1" + bytes(50)
EXIF = b"\xff\xe1\xff\xfeExif\0\0MM\0*\0\0\0\x08" + b"\xff" * 65518
EXIF_BOMB = jpeg()[:2] + EXIF + jpeg()[2:]
CHUNKED = b"Transfer-Encoding: chunked\r\n" + END
PREFLIGHT = {"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"}
FORGED = {"Cookie": "streamer_session_{door}=9999999999." + "0" * 64}

ROWS = [
    # Sources that would make streamer read what it should not, or speak to whom it should not.
    source("file:///etc/passwd"),
    source("/etc/passwd"),
    source("../../etc/passwd"),
    source("x.m3u8"),
    source("x.ffconcat"),
    source("x.sdp"),
    source("webcam:0"),
    source("/dev/video0"),
    source("/dev/mem"),
    source("concat:/etc/hosts|/etc/passwd", 422),
    source("subfile,,start,0,end,0,,:/x", 403),  # a file of that odd name: FFmpeg is told so
    source("async:file:/x", 422),
    source("cache:file:/x", 422),
    source("crypto:file:/x", 422),
    source("data:text/plain;base64,AAAA", 422),
    source("pipe:0", 422),
    source("fd:", 422),
    source("unix:/var/run/docker.sock", 422),
    source("gopher://127.0.0.1:{port}/", 422),
    source("ftp://127.0.0.1:{port}/", 422),
    source("rtmp://127.0.0.1:{port}/", 422),
    source("srt://127.0.0.1:{port}", 422),
    source("udp://@:9", 422),
    source("tcp://127.0.0.1:{port}", 422),
    source("tls://127.0.0.1:{port}", 422),
    source("lavfi:testsrc", 422),
    source("tee:a", 422),
    source("md5:", 422),
    source("ipfs://a", 422),
    source("satip://127.0.0.1:{port}", 422),
    source("http://169.254.169.254/latest/meta-data"),
    source("RTSP://127.0.0.1:{port}/"),
    source("rtsp:127.0.0.1:{port}/x", 422),
    source("rtsp:/127.0.0.1:{port}/x", 422),
    source("rtsp://127.0.0.1:{port},evil/x", 422),
    source("rtsp://cam.example:554@127.0.0.1:{port}/x"),
    source("rtsp://127.0.0.1:{port}#@cam.example/", 422),
    source("rtsp://127.0.0.1:{port}?@cam.example/", 422),
    source("rtsp://127.0.0.1:{port}\\@cam.example/", 422),
    source("rtsp://a@b@127.0.0.1:{port}/"),
    source("rtsp://127.1:{port}/"),
    source("rtsp://2130706433:{port}/"),
    source("rtsp://0x7f000001:{port}/"),
    source("rtsp://0177.0.0.1:{port}/"),
    source("rtsp://0:{port}/"),
    source("rtsp://localhost:{port}/"),
    source("rtsp://[::1]:{port}/"),
    source("rtsp://[::ffff:127.0.0.1]:{port}/"),
    source("rtsp://[fe80::1%25eth0]/", 422),
    source("rtsp://127.0.0.1:{port}/x?listen"),
    source("http://127.0.0.1:{port}/x?multicast"),
    source("rtsp://224.0.0.1/"),
    source("rtsp://255.255.255.255/"),
    source("rtsp://127.0.0.1:0/", 422),
    source("rtsp://127.0.0.1:65536/", 422),
    source("rtsp://127.0.0.1:-1/", 422),
    source("rtsp:///x", 422),
    source("rtsp://", 422),
    source("rtsp://\uff4c\uff4f\uff43\uff41\uff4c/", 422),
    source("rtsp://\u043a\u0430\u043c.example/", 422),
    source("rtsp://127.0.0.1/x\r\nX: y", 422, "with a line end"),
    source("rtsp://127.0.0.1/x\0", 422, "with NUL"),
    source("rtsp://127.0.0.1/\tx", 422, "with a tab"),
    source("rtsp://127.0.0.1:{port}/%0d%0aX:%20y"),
    source(f"rtsp://u:{CANARY}@127.0.0.1:99999/x", 422, "with a password and no port"),
    source(f"rtsp://u:{CANARY}@127.0.0.1:{{port}}/x", 403, "with a password"),
    source("rtsp://10.0.0.1/" + "a" * 60_000, 422, "of 60 kB"),
    source("", 422, "empty"),
    source("${PATH}"),
    # Names.
    *map(named, (None, 7, "", "../x", "a/b", "a b", "A", "ä", "__proto__", "a\n", "a" * 64)),
    *map(named, ([], {})),
    named("well", 409),
    # Bodies of JSON.
    camera("nested too deep", b"[" * 60_000, 400),
    camera("nested objects", b'{"a":' * 10_000, 400),
    camera("number of 5000 digits", b'{"every": ' + b"9" * 5000 + b"}", 400),
    camera("NaN", b'{"source": "demo:", "max_fps": NaN}', 400),
    camera("Infinity", b'{"source": "demo:", "max_fps": Infinity}', 400),
    camera("1e999", b'{"source": "demo:", "max_fps": 1e999}', 400),
    camera("a key twice", b'{"source": "demo:", "source": "file:///etc/passwd"}', 400),
    camera("not UTF-8", b'{"source": "\xff"}', 400),
    camera("UTF-16", '{"source": "demo:"}'.encode("utf-16"), 400),
    camera("lone surrogate", b'{"source": "\\ud800"}', 400),
    camera("nothing", b"", 400),
    camera("null", b"null", 400),
    camera("a list", b"[]", 400),
    camera("a text", b'"demo:"', 400),
    camera("null source", b'{"source": null}', 422),
    camera("a number as text", b'{"source": "demo:", "every": "2"}', 422),
    camera("a truth as number", b'{"source": "demo:", "every": true}', 422),
    camera("an unknown key", b'{"source": "demo:", "constructor": 1}', 422),
    camera("a file by the way", b'{"source": "rtsps://10.0.0.1/x", "ca_file": "/etc/shadow"}', 403),
    camera("an input size of 4 GB", b'{"source": "demo:", "input_size": 65536}', 422),
    camera("a negative rate", b'{"source": "demo:", "max_fps": -1}', 422),
    camera("another type", b'{"source": "demo:"}', 415, **{"Content-Type": "text/plain"}),
    camera("of a form", b"source=demo:", 415, **{"Content-Type": "multipart/form-data"}),
    camera("70 kB", b" " * 70_000, 413),
    camera("from another site's page", b"{}", 403, Origin="http://evil.example"),
    camera("from nowhere", b"{}", 403, Origin="null"),
    camera("across sites", b"{}", 403, **{"Sec-Fetch-Site": "cross-site"}),
    # Pictures.
    picture("of nothing", b"", 400),
    picture("a PNG bomb", png_head(20_000, 20_000), 413),
    picture("a PNG of 2^31", png_head(2**31 - 1, 2**31 - 1), 413),
    picture("a PNG without pixels", png_head(100, 100), 400),
    picture("a PNG of no size", png_head(0, 100), 415),
    picture("a JPEG of 65535x65535", GIANT_JPEG, 413),
    picture("a BMP of 60000x60000", BMP, 413),
    picture("a WebP of 16384x16384", WEBP, 413),
    picture("a JPEG cut off", jpeg()[:-300], 400),
    picture("a JPEG's first bytes", jpeg()[:40], 415),
    picture("random JPEG", b"\xff\xd8\xff" + bytes(range(256)) * 20, 415),
    picture("EXIF without end", EXIF_BOMB, 200),
    picture("SVG", SVG, 415, "image/svg+xml"),
    picture("GIF", b"GIF89a\xff\xff\xff\xff" + bytes(100), 415),
    picture("TIFF", b"II*\0\x08\0\0\0" + bytes(100), 415),
    picture("HEIC", b"\0\0\0\x18ftypheic" + bytes(100), 415),
    picture("a zip", b"PK\3\4" + bytes(100), 415),
    picture("HTML that begins like one", b"BM<script>" + bytes(10), 415),
    picture("JSON", b"{}", 415, "application/json"),
    picture("text", jpeg(), 415, "text/plain"),
    # Multipart.
    picture("multipart without boundary", form(jpeg())[0], 400, "multipart/form-data"),
    picture("multipart with another boundary", form(jpeg())[0], 400, FORM[:-1] + "y"),
    picture("multipart with a long boundary", form(jpeg())[0], 400, FORM + "x" * 100),
    picture("multipart of 10 000 parts", PART * 10_000, 400, FORM),
    picture("multipart with a header of 1 MB", b"--x\r\nA: " + b"a" * (1 << 20), 400, FORM),
    picture("multipart with a huge preamble", b"a" * (1 << 20) + form(jpeg())[0], 400, FORM),
    picture("multipart cut off", form(jpeg())[0][:-9], 400, FORM),
    picture("multipart of nothing", b"--x--\r\n", 400, FORM),
    picture("multipart twice", PART + jpeg() + b"\r\n" + form(jpeg())[0], 400, FORM),
    picture("multipart in base64", form(b"/9j/4AAQ")[0], 415, FORM),
    picture("multipart of another name", form(jpeg(), "file")[0], 400, FORM),
    # Length and framing.
    raw("100 MB", POST + b"Content-Length: 104857600\r\n" + END, 413),
    raw("a length of 10^30", POST + b"Content-Length: 1" + b"0" * 30 + b"\r\n" + END, 400),
    raw("a negative length", POST + b"Content-Length: -1\r\n" + END, 400),
    raw("a length with a sign", POST + b"Content-Length: +5\r\n" + END + b"hello", 400),
    raw("a length in hex", POST + b"Content-Length: 0x5\r\n" + END + b"hello", 400),
    raw("two lengths", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n" + END + b"hello", 400),
    raw("length and chunks", POST + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n", 400),
    raw("another encoding", POST + b"Transfer-Encoding: gzip, chunked\r\n" + END, 400),
    raw("a chunk without size", POST + CHUNKED + b"zz\r\n", 400),
    raw("a chunk of 2^84", POST + CHUNKED + b"f" * 21 + b"\r\n", 400),
    raw("a body for a page", HEAD + b"Content-Length: 5\r\n" + END + b"hello", 413),
    raw("chunks for a page", HEAD + b"Transfer-Encoding: chunked\r\n" + END, 413),
    # Headers.
    raw("no Host", b"GET / HTTP/1.1\r\n" + END, 400),
    raw("two Hosts", HEAD + b"Host: evil.example\r\n" + END, 400),
    raw("two tokens", HEAD + b"Authorization: Bearer x\r\n" + END, 400),
    raw("a header of 20 kB", HEAD + b"X: " + b"a" * 20_000 + b"\r\n" + END, 431),
    raw("200 headers", HEAD + b"X: aaaaaaaaa\r\n" * 200 + END, 431),
    raw("NUL in a header", HEAD + b"X: a\0b\r\n" + END, 400),
    raw("a space before the colon", HEAD + b"X : a\r\n" + END, 400),
    raw("a lone line feed", HEAD + b"X: a\rb\r\n" + END, 400),
    raw("no HTTP", b"\x16\x03\x01\x02\0\x01\0\r\n\r\n", 400),
    raw("HTTP/9.9", b"GET / HTTP/9.9\r\nHost: {address}\r\n" + END, 401),
    raw("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    Row("another host", 421, headers={"Host": "evil.example"}),
    Row("a host that only begins well", 421, headers={"Host": "127.0.0.1.evil.example"}),
    Row("a forwarded host", 200, headers={"X-Forwarded-Host": "evil.example"}),
    Row("a forwarded address", 401, token=None, headers={"X-Forwarded-For": "127.0.0.1"}),
    Row("a range", 200, headers={"Range": "bytes=0-0,0-0,0-0,0-0"}),
    Row("a preflight", 405, "OPTIONS", headers=PREFLIGHT),
    # Tokens.
    Row("no token", 401, token=None),
    Row("an empty token", 401, token=""),
    Row("a wrong token", 401, token="x" * 24),
    Row("half a token", 401, token=CONTROL[:-1]),
    Row("a token of 10 kB", 401, token="x" * 10_000),
    Row("a token that is no text", 401, token="\xff" * 24),
    Row("a token by another scheme", 401, headers={"Authorization": f"Basic {CONTROL}"}),
    Row("a token in the address", 401, token=None, path=f"/api/v1/status?token={CONTROL}"),
    Row("a forged cookie", 401, token=None, headers=FORGED),
    Row("a reader who removes", 403, "DELETE", "/api/v1/cameras/well", token=READ),
    Row("a reader who adds", 403, "POST", "/api/v1/cameras/z", b"{}", dict(JSON), token=READ),
    Row("a reader who pauses", 403, "POST", "/api/v1/cameras/well/pause", token=READ),
    Row("a method to override", 405, "POST", headers={"X-HTTP-Method-Override": "GET"}),
    # Methods and paths.
    Row("TRACE", 405, "TRACE"),
    Row("CONNECT", 405, "CONNECT"),
    Row("a method of 20 kB", 405, "A" * 20_000),
    Row("PATCH", 405, "PATCH", "/api/v1/cameras/well"),
    Row("GET that would change", 405, path="/api/v1/cameras/well/pause"),
    path("/static/..%2f..%2fetc/passwd", 404),
    path("/static/%2e%2e/server.py", 404),
    path("/static/../server.py", 404),
    path("/static//etc/passwd", 404),
    path("//etc/passwd", 404),
    path("/api/v1/../../etc/passwd", 404),
    path("/static/app.js%00.html", 400),
    path("@evil.example/", 400),
    path("evil", 400),
    path("*", 400),
    path("http://evil.example/", 421),
    path("http://evil.example@127.0.0.1/", 421),
    path("http:///", 400),
    path("http://127.0.0.1/static/../server.py", 404),
    path("/" + "a" * 20_000, 431),
    path("/api/v1/cameras/..%2fx", 404),
    path("/api/v1/cameras/%3Cscript%3E", 404),
    path("/api/v1/cameras/well/snapshot.jpg?width=99999", 422),
    path("/api/v1/cameras/well/snapshot.jpg?width=NaN", 422),
    path("/api/v1/cameras/well/live.mjpg?fps=1e999", 422),
    path("/api/v1/events?kind=secrets", 422),
    path("/api/v1/events?camera=../x", 422),
    path("/api/v1/events?" + "&".join(["camera=a"] * 100), 422),
    path("/ws/live", 404),
    path("/.env", 404),
    path("/docs/../api/v1/status", 404),
]  # fmt: skip


@pytest.fixture(scope="module")
def program(model_path: Path) -> Iterator[tuple[App, int, list[bytes]]]:
    """The whole program with tokens, a camera that is well, one with a secret, and a canary."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def listen() -> None:
        while True:
            try:
                tcp, _ = listener.accept()
            except OSError:
                return
            heard.append(b"dialled")
            tcp.close()

    canary = threading.Thread(target=listen, daemon=True)
    canary.start()
    config = parse_config(
        {
            "cameras": {
                "well": {"source": "synthetic:?fps=5&size=320x192", "input_size": 320},
                "secret": {"source": f"rtsp://u:{CANARY}@127.0.0.1:1/x"},
            },
            "model": {"input_size": 320},
            "device": "cpu",
            "publish": {"zeromq": None},
            "http": {
                "bind": "127.0.0.1:0",
                "requests_per_s": 100_000,
                "tokens": {"control": CONTROL, "read": READ},
            },
        },
        {},
    )
    app = App(config, base_folder=ROOT, environ={})
    runner = threading.Thread(target=app.run)
    runner.start()
    try:
        until(lambda: bool(detected(app)), 60)
        assert app.http is not None
        parts = (
            app.http._pool,
            app.http._changing._changing,
            app.http._changing._fitting,
        )  # type: ignore[union-attr]
        for pool in parts:  # their threads are there from the beginning and no test's fault
            list(pool.map(time.sleep, [0.1] * pool._max_workers))
        app.http._detecting._decoding.submit(lambda: None).result(10)  # type: ignore[union-attr]
        yield app, port, heard
        before = detected(app)
        until(lambda: detected(app) > before, 60)
        assert [camera.name for camera in app.status().cameras] == ["secret", "well"]
        assert heard == [], "a source that was refused was dialled"
    finally:
        app.stop()
        runner.join(20)
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        canary.join(5)
    assert not runner.is_alive()
    assert all(camera.ledger.closes for camera in app.status().cameras)


def detected(app: App) -> int:
    well = next(camera for camera in app.status().cameras if camera.name == "well")
    return well.ledger.settled.get("detected", 0)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: re.sub(r"[^ -~]", "?", row.name)[:60])
def test_every_row_gets_its_answer(
    program: tuple[App, int, list[bytes]], row: Row, capfd: pytest.CaptureFixture[str]
) -> None:
    app, port, _ = program
    assert app.http is not None
    app.http._guard._guesses._each._left.clear()  # many rows are wrong tokens of one address
    host, number = app.http.address.rsplit(":", 1)
    with socket.create_connection((host, int(number)), timeout=15) as tcp:
        try:
            tcp.sendall(row.request(app.http.address, port))
        except ConnectionError:
            pass  # it had said no before it had heard all
        answer = b""
        try:
            while chunk := tcp.recv(65536):
                answer += chunk
        except ConnectionError:
            pass
    assert answer.startswith(b"HTTP/1.1 %d " % row.status), answer[:400]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert CANARY.encode() not in answer
    assert b"access-control-allow" not in head.lower()
    assert b"Traceback" not in answer
    assert b"evil" not in answer
    if row.status >= 400 and head.count(b"application/json"):
        sentence = json.loads(body)["error"]
        assert sentence
        assert "\n" not in sentence
        assert "/etc" not in sentence
    printed = capfd.readouterr()
    assert CANARY not in printed.out + printed.err
    assert "bug in streamer" not in printed.out + printed.err


def test_there_are_enough_rows_and_no_two_are_one() -> None:
    assert len(ROWS) >= 150
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_more_cameras_than_may_be_are_refused(
    program: tuple[App, int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _, _ = program
    assert app.http is not None
    monkeypatch.setattr("streamer.roster.MAX_CAMERAS", 2)
    refused = httpx.post(
        f"{app.http.url}api/v1/cameras/third",
        json={"source": "synthetic:"},
        headers={"authorization": f"Bearer {CONTROL}"},
    )
    assert refused.status_code == 409


def test_headers_that_never_end_are_cut_off(
    program: tuple[App, int, list[bytes]], monkeypatch
) -> None:  # type: ignore[no-untyped-def]
    app, _, _ = program
    assert app.http is not None
    monkeypatch.setattr("streamer.web.connection._REQUEST_LIMIT_S", 0.3)
    host, number = app.http.address.rsplit(":", 1)
    with socket.create_connection((host, int(number)), timeout=15) as tcp:
        tcp.sendall(b"GET / HTTP/1.1\r\nHost: ")
        began = time.monotonic()
        assert tcp.recv(100) == b""
        assert time.monotonic() - began < 10
