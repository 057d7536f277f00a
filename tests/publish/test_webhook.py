"""Webhooks against a real web server: signed, again after failures, and never in the way."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from streamer.publish import webhook as module
from streamer.publish.link import pause_s
from streamer.publish.webhook import WebhookSink
from tests.publish.news import change, result, track

SECRET = "canary-5ecret"


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pause_s", lambda failures: pause_s(failures, longest_s=0.05))


class Hook:
    """A web server; ``answers`` are given one after the other, then 200 for ever."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.open = threading.Event()
        self.open.set()
        hook = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.open.wait(30)
                hook.requests.append((self.path, dict(self.headers), body))
                status, headers, said = hook.answers.pop(0) if hook.answers else (200, {}, b"ok")
                self.send_response(status)
                for name, value in {"Content-Length": str(len(said)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(said)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.server.daemon_threads = True
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def events(self) -> list[dict[str, Any]]:
        return [event for _, _, body in self.requests for event in json.loads(body)["events"]]

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


@pytest.fixture
def begin() -> Iterator[Callable[..., WebhookSink]]:
    sinks: list[WebhookSink] = []

    def made(port: int, path: str = "/hook?key=canary", **options: Any) -> WebhookSink:
        defaults: dict[str, Any] = {"boot_id": "b", "model": "m", "version": "9"}
        scheme = "https" if "tls" in options else "http"
        url = f"{scheme}://127.0.0.1:{port}{path}"
        sinks.append(WebhookSink(url, **{**defaults, "max_per_s": 1e9, **options}))
        return sinks[-1]

    yield made
    for sink in sinks:
        sink.close()


def wait(enough: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 30
    while not enough():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def test_events_are_posted_signed(hook: Hook, begin: Callable[..., WebhookSink]) -> None:
    sink = begin(hook.port, secret=SECRET, bearer="t0ken", wall_clock=lambda: 1_700_000_000.4)
    sink.write_change(change("door"))
    sink.write_track(track("door"))
    sink.write(result("door", [1]))  # not wanted by default
    sink.write_track(track("door", "left"))
    wait(lambda: sink.link.delivered == 3)
    assert [event["schema"] for event in hook.events()] == [
        "streamer.camera/1", "streamer.track/1", "streamer.track/1",
    ]  # fmt: skip
    for path, headers, body in hook.requests:
        assert path == "/hook?key=canary"
        assert headers["Content-Type"] == "application/json"
        assert headers["Authorization"] == "Bearer t0ken"
        assert headers["Streamer-Timestamp"] == "1700000000"
        mac = hmac.new(SECRET.encode(), b"1700000000." + body, hashlib.sha256).hexdigest()
        assert headers["Streamer-Signature"] == f"v1={mac}"
        assert json.loads(body)["schema"] == "streamer.webhook/1"
    assert sink.link.connected
    assert sink.link.lost == {}


def test_results_are_posted_where_asked_for_and_what_waits_goes_together(
    hook: Hook, begin: Callable[..., WebhookSink]
) -> None:
    sink = begin(hook.port, when="all", tracks=False, cameras=False)
    hook.open.clear()
    for index in range(100):
        sink.write(result("door", [1], index))
    sink.write_change(change("door"))
    hook.open.set()
    wait(lambda: sink.link.delivered == 100)
    assert [event["seq"] for event in hook.events()] == list(range(1, 101))
    assert 100 / module.BATCH <= len(hook.requests) < 20


def test_failures_are_tried_again_with_the_same_delivery(
    hook: Hook, begin: Callable[..., WebhookSink]
) -> None:
    hook.answers = [(500, {}, b""), (503, {}, b"busy"), (429, {"Retry-After": "nonsense"}, b"")]
    sink = begin(hook.port)
    sink.write_change(change("door"))
    wait(lambda: sink.link.delivered == 1)
    assert len(hook.requests) == 4
    assert len({headers["Streamer-Delivery"] for _, headers, _ in hook.requests}) == 1
    assert len({body for _, _, body in hook.requests}) == 1
    assert sink.link.retries == 3
    sink.write_change(change("yard"))
    wait(lambda: sink.link.delivered == 2)
    assert hook.requests[-1][1]["Streamer-Delivery"] != hook.requests[0][1]["Streamer-Delivery"]


def test_a_wait_that_the_server_asks_for_is_kept(
    hook: Hook, begin: Callable[..., WebhookSink]
) -> None:
    hook.answers = [(503, {"Retry-After": "1"}, b"")]
    sink = begin(hook.port)
    sink.write_change(change("door"))
    wait(lambda: len(hook.requests) == 1)
    began_at = time.monotonic()
    wait(lambda: sink.link.delivered == 1)
    assert time.monotonic() - began_at > 0.8  # 0.05 at most without


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410])
def test_what_is_refused_for_good_is_counted_and_the_next_is_posted(
    hook: Hook, begin: Callable[..., WebhookSink], status: int
) -> None:
    hook.answers = [(status, {"Location": f"http://127.0.0.1:{hook.port}/other"}, b"no")]
    sink = begin(hook.port)
    sink.write_change(change("door"))
    wait(lambda: sink.link.lost)
    assert sink.link.lost == {"refused": 1}
    assert f"answers {status}" in sink.link.trouble
    sink.write_change(change("yard"))
    wait(lambda: sink.link.delivered == 1)
    assert [path for path, _, _ in hook.requests] == ["/hook?key=canary"] * 2


def test_a_server_that_is_away_is_waited_for_and_the_oldest_goes(
    begin: Callable[..., WebhookSink], free_port: int
) -> None:
    sink = begin(free_port, keep=40)
    for index in range(100):
        sink.write_change(change(f"c{index}"))
    wait(lambda: sink.link.retries > 2)
    status = sink.link
    assert "cannot be reached" in status.trouble
    assert status.lost["queue_full"] == 60
    assert status.waiting == 40
    began_at = time.monotonic()
    sink.close()
    assert time.monotonic() - began_at < 20
    assert sink.link.lost == {"queue_full": 60, "ended": 40}


def test_a_server_that_never_ends_its_answer_holds_nobody_up(
    hook: Hook, begin: Callable[..., WebhookSink]
) -> None:
    hook.answers = [(200, {"Content-Length": str(10**9)}, b"x" * 100_000)]
    sink = begin(hook.port)
    sink.write_change(change("door"))
    wait(lambda: sink.link.delivered == 1)  # what it said first is enough
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stuck = begin(silent.getsockname()[1])
        stuck.write_change(change("door"))
        taken, _ = silent.accept()
        began_at = time.monotonic()
        stuck.close()
        assert time.monotonic() - began_at < 8  # ten seconds and more without hanging up
        assert stuck.link.lost == {"ended": 1}
        taken.close()


def test_a_certificate_that_is_not_good_is_refused_and_no_secret_is_told(
    tmp_path: Path, begin: Callable[..., WebhookSink], capsys: pytest.CaptureFixture[str]
) -> None:
    made = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem "
        "-out cert.pem -days 2 -subj /CN=hook -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(["openssl", *made.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    hook = Hook(context)
    try:
        strange = begin(hook.port, secret=SECRET, tls=ssl.create_default_context())
        strange.write_change(change("door"))
        wait(lambda: "certificate is not good" in strange.link.trouble)
        strange.close()  # it would dial while the server ends
        trusted = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        good = begin(hook.port, secret=SECRET, tls=trusted)
        good.write_change(change("door"))
        wait(lambda: good.link.delivered == 1)
        said = capsys.readouterr()
        assert "canary" not in said.out + said.err + repr((strange.link, good.link))
        assert len(hook.requests) == 1
    finally:
        hook.close()
