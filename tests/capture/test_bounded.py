"""The addresses of cameras added over HTTP, at the dial: what is not allowed hears nothing."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

import pytest

from streamer.capture.pyav import PyAvSource
from streamer.capture.reach import Reach
from streamer.capture.resolve import Resolver
from streamer.errors import SourceLost
from streamer.types import SourceUrl

LOOPBACK = Reach((ip_network("127.0.0.0/8"),))


@contextmanager
def canary() -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """A web server that notes each path and Host it is asked for, and sends /on on to /off."""
    heard: list[tuple[str, str]] = []

    class Asked(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append((self.path, self.headers["Host"]))
            if self.path == "/on":
                self.send_response(302)
                self.send_header("Location", "/off")
            elif self.path == "/list.m3u8":
                self.send_response(200)
                self.send_header("Content-Type", "application/vnd.apple.mpegurl")
                self.end_headers()
                here = f"http://127.0.0.1:{self.server.server_address[1]}"
                self.wfile.write(
                    f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{here}/off.ts\n#EXT-X-ENDLIST\n".encode()
                )
                return
            else:
                self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield server.server_address[1], heard
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def lost(url: str, reach: Reach | None) -> SourceLost:
    source = PyAvSource(SourceUrl(url), camera="a", live=True, reach=reach)
    with pytest.raises(SourceLost) as error:
        next(iter(source.frames(threading.Event())))
    return error.value


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1"])
def test_an_address_that_is_not_allowed_hears_nothing(scheme: str, host: str) -> None:
    with canary() as (port, heard):
        said = lost(f"{scheme}://u:secret@{host}:{port}/x", Reach())
    assert said.reason == "unreachable"
    assert "docs/http.md" in str(said)
    assert "secret" not in str(said)
    assert heard == []


def test_the_address_that_was_looked_at_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    # A name that changes its meaning between the look and the dial: FFmpeg would ask again.
    monkeypatch.setattr(Resolver, "require", lambda *_: None)
    monkeypatch.setattr(Resolver, "addresses", ["127.0.0.1"])
    with canary() as (port, heard):
        lost(f"http://rebinding.invalid:{port}/x", LOOPBACK)
    assert heard == [("/x", f"127.0.0.1:{port}")]


@pytest.mark.parametrize(("path", "beyond"), [("/on", "/off"), ("/list.m3u8", "/off.ts")])
def test_nobody_is_sent_on_to_another_address(path: str, beyond: str) -> None:
    with canary() as (port, heard):
        bounded = str(lost(f"http://127.0.0.1:{port}{path}", LOOPBACK))
        assert "sends streamer on by a redirect or a playlist" in bounded
        assert [asked for asked, _ in heard] == [path]
        heard.clear()
        # Of the configuration file: it may.
        assert "docs/http.md" not in str(lost(f"http://127.0.0.1:{port}{path}", None))
        assert beyond in [asked for asked, _ in heard]
