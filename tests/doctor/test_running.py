"""Who uses a port: a streamer is recognised by what it says of its health, and nobody else is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamer.config import parse_config
from streamer.doctor.checks import _ports
from streamer.doctor.running import streamer_answers

OK = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{"status":"ok","provider":"cpu"}'


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A port where each who calls gets ``answer``, a byte at a time when it has no end."""

    def serve() -> None:
        while True:
            try:
                line, _ = server.accept()
            except OSError:
                return
            with line:
                if not answer:  # drips for ever
                    while not ended.wait(0.05):
                        try:
                            line.sendall(b"x")
                        except OSError:
                            return
                line.recv(4096)
                line.sendall(answer)

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_streamer_is_known(host: str) -> None:
    with answering(OK) as port:
        assert streamer_answers(f"{host}:{port}", tls=False)
    stuck = OK.replace(b"200 OK", b"503 X").replace(b'ok","provider"', b'stuck","detail"')
    with answering(stuck) as port:
        assert streamer_answers(f"{host}:{port}", tls=False)


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-x\r\n", b'HTTP/1.1 200 OK\r\n\r\n{"status":"ok"}', b"HTTP/1.1 200 OK\r\n\r\n[]",
     b"HTTP/1.1 404 Not Found\r\n\r\n", b"\xff" * 99_999],
)  # fmt: skip
def test_others_are_not(answer: bytes, free_port: int) -> None:
    with answering(answer) as port:
        assert not streamer_answers(f"127.0.0.1:{port}", tls=False)
        assert not streamer_answers(f"127.0.0.1:{port}", tls=True, ask_s=0.5)
    assert not streamer_answers(f"127.0.0.1:{free_port}", tls=False)


def test_who_drips_for_ever_is_not_waited_for() -> None:
    began = time.monotonic()
    with answering(b"") as port:
        assert not streamer_answers(f"127.0.0.1:{port}", tls=False, ask_s=0.3)
    assert time.monotonic() - began < 5


def test_the_doors_of_a_streamer_that_runs_are_good(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as events:
        bind = f"tcp://127.0.0.1:{events.getsockname()[1]}"

        def verdicts(http: int) -> list[str]:
            values = {
                "cameras": {"a": {"source": "demo:"}},
                "http": {"bind": f"127.0.0.1:{http}"},
                "publish": {"zeromq": {"bind": bind}},
            }
            return [found.verdict for found in _ports(parse_config(values, {}))]

        with answering(OK) as port:
            assert verdicts(port) == ["good", "good"]
        with answering(b"SSH-2.0-x\r\n") as port:
            assert verdicts(port) == ["bad", "bad"]
