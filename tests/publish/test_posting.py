"""Posting against servers that close, dawdle and never end: real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException

import pytest

from streamer.publish import posting as module
from streamer.publish.posting import Posting
from streamer.publish.webhook import WebhookSink
from tests.publish.news import change

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[[socket.socket], None]


def hear(one: socket.socket) -> bytes:
    """One request; empty where the other side closed."""
    said = b""
    while b"\r\n\r\n" not in said:
        more = one.recv(65536)
        if not more:
            return b""
        said += more
    head, _, body = said.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += one.recv(65536)
    return head + body


class Server:
    """Serves each connection by the next of ``ways``, the last one for ever."""

    def __init__(self, ways: list[Serve]) -> None:
        self.ways, self.taken = ways, 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.closed = threading.Semaphore(0)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                one, _ = self.listening.accept()
            except OSError:
                return
            way = self.ways[min(self.taken, len(self.ways) - 1)]
            self.taken += 1
            with one:
                try:
                    way(one)
                except OSError:
                    pass  # the other side has hung up
            self.closed.release()

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def made(*ways: Serve) -> Server:
        servers.append(Server(list(ways)))
        return servers[-1]

    yield made
    for server in servers:
        server.close()


@pytest.fixture
def post() -> Iterator[Callable[[Server], int]]:
    made: dict[int, Posting] = {}

    def posted(server: Server) -> int:
        one = made.setdefault(server.port, Posting("127.0.0.1", server.port, https=False))
        return one.post("/", b"{}", {}).status

    yield posted
    for one in made.values():
        one.close()


def one_answer(one: socket.socket) -> None:
    """As if it kept the connection; then it closes."""
    hear(one)
    one.sendall(OK)


def many_answers(one: socket.socket) -> None:
    while hear(one):
        one.sendall(OK)


def closes_at_the_second(one: socket.socket) -> None:
    one_answer(one)
    hear(one)


def test_a_connection_is_kept(serve: Callable[..., Server], post: Callable[[Server], int]) -> None:
    server = serve(many_answers)
    assert [post(server) for _ in range(5)] == [200] * 5
    assert server.taken == 1


def test_what_the_server_said_meanwhile_is_no_answer(
    serve: Callable[..., Server], post: Callable[[Server], int]
) -> None:
    answered, said = threading.Event(), threading.Event()

    def takes_leave(one: socket.socket) -> None:
        one_answer(one)
        assert answered.wait(30)
        one.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        said.set()
        hear(one)

    server = serve(takes_leave, many_answers)
    assert post(server) == 200
    answered.set()
    assert said.wait(30)
    assert post(server) == 200
    assert server.taken == 2


def test_a_kept_connection_that_fails_is_made_anew_once(
    serve: Callable[..., Server], post: Callable[[Server], int]
) -> None:
    server = serve(closes_at_the_second, many_answers)
    assert [post(server) for _ in range(3)] == [200] * 3
    assert server.taken == 2
    never = serve(one_answer, lambda one: None)
    assert post(never) == 200
    with pytest.raises(OSError):
        post(never)
    assert never.closed.acquire(timeout=30)
    assert never.closed.acquire(timeout=30)
    assert never.taken == 2


def test_where_an_answer_began_the_request_is_not_sent_again(
    serve: Callable[..., Server], post: Callable[[Server], int]
) -> None:
    def begins(one: socket.socket) -> None:
        one_answer(one)
        hear(one)
        one.sendall(b"HTTP/1.1 2")

    server = serve(begins, many_answers)
    assert post(server) == 200
    with pytest.raises((OSError, HTTPException)):
        post(server)
    assert server.taken == 1


@pytest.mark.parametrize(
    "more", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X-More: " + b"x" * 60000 + b"\r\n"]
)
def test_an_answer_without_end_is_given_up(
    serve: Callable[..., Server], post: Callable[[Server], int], more: bytes
) -> None:
    def endless(one: socket.socket) -> None:
        hear(one)
        one.sendall(b"" if more.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n")
        while True:
            one.sendall(more * (1 + 65536 // len(more)))

    with pytest.raises(OSError, match="its answer is longer than 256 KB"):
        post(serve(endless))


def test_an_answer_that_dawdles_is_given_up(
    serve: Callable[..., Server], post: Callable[[Server], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXCHANGE_S", 0.4)  # each piece may take ten seconds

    def dawdles(one: socket.socket, head: bytes = b"HTTP/1.1 200 OK\r\nX: ") -> None:
        hear(one)
        one.sendall(head)
        while True:
            one.sendall(b"x")
            time.sleep(0.02)

    with pytest.raises(TimeoutError):
        post(serve(dawdles))
    # The head is all that counts: what was taken is not posted again.
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"
    assert post(serve(lambda one: dawdles(one, long))) == 200


def test_an_answer_may_take_as_long_as_is_said_and_is_not_asked_for_again(
    serve: Callable[..., Server], post: Callable[[Server], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE_S", 0.05)

    def thinks_then_is_silent(one: socket.socket) -> None:
        hear(one)
        time.sleep(0.3)
        one.sendall(OK)
        hear(one)
        hear(one)  # until it is hung up

    server = serve(thinks_then_is_silent, many_answers)
    assert post(server) == 200
    monkeypatch.setattr(module, "EXCHANGE_S", 0.3)
    with pytest.raises(TimeoutError):
        post(server)
    assert server.taken == 1


def test_a_server_that_closes_after_each_answer_is_not_called_down(
    serve: Callable[..., Server],
) -> None:
    server = serve(one_answer)
    sink = WebhookSink(f"http://127.0.0.1:{server.port}/", boot_id="b", model="m", version="9")
    try:
        for number in range(1, 6):
            sink.write_change(change(f"c{number}"))
            assert server.closed.acquire(timeout=30)
        give_up_at = time.monotonic() + 30
        while sink.link.delivered < 5:
            assert time.monotonic() < give_up_at
            time.sleep(0.005)
        status = sink.link
        assert (status.connects, status.retries, status.lost) == (1, 0, {})
    finally:
        sink.close()
