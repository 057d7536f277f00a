"""The part of `streamer doctor` that asks who uses a port: a streamer that runs is no fault."""

from __future__ import annotations

import json
import socket
import ssl
import time
from typing import Final

ASK_S: Final = 3.0
"""A streamer has so long to answer; it takes a few milliseconds."""

_MOST: Final = 16 << 10
_ASKED: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def streamer_answers(bind: str, *, tls: bool, ask_s: float = ASK_S) -> bool:
    """Whether what listens at ``bind`` ("host:port") says of its health what a streamer says.

    It is asked without a token, over TLS where ``tls`` is true, within ``ask_s`` seconds for the
    connection and as many for the answer.
    """
    host, _, port = bind.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host).strip("[]")  # noqa: S104
    try:
        with (
            socket.create_connection((host, int(port)), ask_s) as plain,
            _encrypted(plain) if tls else plain as line,
        ):
            answer = _answer(line, time.monotonic() + ask_s)
        head, _, body = answer.partition(b"\r\n\r\n")
        told = json.loads(body)
    except (OSError, ValueError):
        return False
    known = isinstance(told, dict) and told.get("status") in ("ok", "stuck")
    return known and head.startswith(b"HTTP/1.1 ") and bool({"provider", "detail"} & set(told))


def _encrypted(line: socket.socket) -> socket.socket:
    context = ssl.create_default_context()
    context.check_hostname = False  # nothing is told to it; it need not prove who it is
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(line)


def _answer(line: socket.socket, until: float) -> bytes:
    """All that comes until the end, at most :data:`_MOST` bytes. Raises OSError when too late."""
    line.sendall(_ASKED)
    answer = b""
    while len(answer) < _MOST:
        line.settimeout(max(0.001, until - time.monotonic()))
        if not (more := line.recv(4096)):
            break
        answer += more
    return answer
