from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.capture.challenge import ASK_S, MOST_BYTES, login_words, unknown_digest
from tests.capture.scripted_rtsp import Script, ScriptedRtsp

HEAD = b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n"
MD5 = b'WWW-Authenticate: Digest realm="x", nonce="a", algorithm=MD5\r\n'
SHA = b'www-authenticate: digest realm="x", nonce="a", algorithm="SHA-256", qop="auth"\r\n'
BASIC = b'WWW-Authenticate: Basic realm="x"\r\n'


@pytest.mark.parametrize(
    ("lines", "asked"),
    [(MD5, None), (SHA, "SHA-256"), (BASIC, None), (b"", None), (SHA + MD5, None),
     (MD5 + SHA, "SHA-256"), (SHA + BASIC, "SHA-256"),
     (b'WWW-Authenticate: Digest realm="x", nonce="a"\r\n', None)],
)  # fmt: skip
def test_the_last_digest_decides(lines: bytes, asked: str | None) -> None:
    assert unknown_digest(HEAD + lines + b"\r\n") == asked


def test_only_the_head_is_read() -> None:
    assert unknown_digest(HEAD + b"\r\n" + SHA) is None


@given(st.binary(max_size=400))
def test_any_answer_will_do(answer: bytes) -> None:
    asked = unknown_digest(HEAD + b"WWW-Authenticate: Digest algorithm=" + answer)
    assert asked is None or (asked.isascii() and asked.isprintable() and len(asked) <= 24)


def test_it_asks_without_the_password() -> None:
    challenge = 'Digest realm="x", nonce="a", algorithm=SHA-512-256'
    with ScriptedRtsp(Script(status="401 Unauthorized", challenge=challenge)) as server:
        words = login_words(f"rtsp://cam:hunter2@127.0.0.1:{server.port}/live?x=1")
    assert "SHA-512-256" in words
    assert server.methods() == ["DESCRIBE"]
    assert server.requests[0].startswith(f"DESCRIBE rtsp://127.0.0.1:{server.port}/live?x=1 ")
    assert "hunter2" not in server.requests[0] + words


def test_without_a_password_it_asks_for_one() -> None:
    assert "write them into the address" in login_words("rtsp://127.0.0.1:1/x")


def test_others_are_not_asked() -> None:
    with ScriptedRtsp(Script()) as server:
        assert "check both" in login_words(f"rtsps://cam:x@127.0.0.1:{server.port}/x")
        assert "check both" in login_words(f"http://cam:x@127.0.0.1:{server.port}/x")
    assert server.requests == []


@pytest.fixture
def endless() -> Iterator[tuple[int, list[int]]]:
    """A camera that answers with a byte now and then, or with megabytes."""
    sent: list[int] = []
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            while not over.wait(0.02):
                try:
                    sent.append(connection.send(b"x" * (1 if len(sent) % 2 else 4096)))
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], sent
    over.set()
    thread.join(5)
    listener.close()


def test_no_answer_lasts_longer_than_a_second_or_is_longer_than_its_bound(
    endless: tuple[int, list[int]], free_port: int
) -> None:
    port, sent = endless
    begun_at = time.monotonic()
    assert "check both" in login_words(f"rtsp://cam:x@127.0.0.1:{port}/x")
    with ScriptedRtsp(Script(silent=True)) as server:
        assert "check both" in login_words(f"rtsp://cam:x@127.0.0.1:{server.port}/x")
    assert "check both" in login_words(f"rtsp://cam:x@127.0.0.1:{free_port}/x")
    assert time.monotonic() - begun_at < 2 * ASK_S + 6
    assert sum(sent) < MOST_BYTES + (1 << 20)
