"""One HTTP request after the other to a web server, on a connection that is kept; all bounded.

``http.client`` of Python is enough: it follows no redirect and obeys no proxy of the environment.
It bounds neither how long an answer takes nor how often it says that more is to come; that is here.
"""

from __future__ import annotations

import http.client
import io
import selectors
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

PIECE_S: Final = 10.0
"""Longest wait to connect, and for room to send each piece of a request, seconds."""

EXCHANGE_S: Final = 30.0
"""Longest exchange, from the first byte that is sent to the last that is read, seconds.

Looking up the name of the server comes before, with the bounds of the system's resolver.
"""

ANSWER_BYTES: Final = 256 * 1024
"""Bytes of a whole answer, head and all."""

_BODY_BYTES: Final = 65536  # of an answer's body; a connection with more is not kept


class Answer(NamedTuple):
    """The status of an answer, and its ``Retry-After`` as it came; empty without."""

    status: int
    retry_after: str


class Posting:
    """Posts to ``host``, over TLS if ``https`` (``tls``: what to trust, else the system's).

    For one thread; only :meth:`hang_up` is for others.
    """

    def __init__(
        self, host: str, port: int | None, *, https: bool, tls: ssl.SSLContext | None = None
    ) -> None:
        """Connect to nothing yet."""
        self._host = host
        self._port = port or (443 if https else 80)
        self._tls = (tls or ssl.create_default_context()) if https else None
        self._kept: tuple[http.client.HTTPConnection, _Line] | None = None
        self._sock: socket.socket | None = None
        self._ended = False

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post ``body`` and give what is answered. Raises ``OSError`` and ``HTTPException``.

        A kept connection that the server closes meanwhile is nobody's fault: where no byte of an
        answer came, the same request is sent once more, at once, on a new one.
        """
        ends_at = time.monotonic() + EXCHANGE_S
        if self._sock is not None and not _is_quiet(self._sock):
            self.close()
        kept = self._kept
        try:
            return self._exchange(path, body, headers, ends_at)
        except TimeoutError:
            raise  # it may have taken the request and be busy with it
        except (OSError, http.client.HTTPException):
            if kept is None or kept[1].heard or self._ended:
                raise
        return self._exchange(path, body, headers, ends_at)

    def _exchange(
        self, path: str, body: bytes, headers: Mapping[str, str], ends_at: float
    ) -> Answer:
        keep = False
        try:
            self._kept = connection, line = self._kept or self._connect()
            line.begin(ends_at)
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            try:
                answer.read(_BODY_BYTES)
                keep = answer.isclosed() and not answer.will_close
            except (OSError, http.client.HTTPException):
                pass  # the head says all that counts
            return Answer(answer.status, answer.getheader("Retry-After", ""))
        finally:
            if not keep:
                self.close()

    def _connect(self) -> tuple[http.client.HTTPConnection, _Line]:
        made: http.client.HTTPConnection
        if self._tls is None:
            made = http.client.HTTPConnection(self._host, self._port)
        else:
            made = http.client.HTTPSConnection(self._host, self._port, context=self._tls)
        one = socket.create_connection((self._host, self._port), PIECE_S)
        try:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                one = self._tls.wrap_socket(
                    one, server_hostname=self._host, do_handshake_on_connect=False
                )
            self._sock = one  # from here on it can be hung up
            if self._ended:
                raise ConnectionAbortedError("it was hung up")
            if isinstance(one, ssl.SSLSocket):
                one.do_handshake()
        except BaseException:
            self._sock = None
            one.close()
            raise
        line: Any = _Line(one)
        made.sock = line
        return made, line

    def close(self) -> None:
        """Close the connection, if there is one; the next request makes another."""
        one, self._sock, self._kept = self._sock, None, None
        if one is not None:
            one.close()

    def hang_up(self) -> None:
        """End what the other thread waits for, for good. From any thread."""
        self._ended = True
        one = self._sock
        if one is not None:
            try:
                socket.socket.shutdown(one, socket.SHUT_RDWR)  # TLS's own is for its thread only
            except OSError:
                pass  # it ended by itself


def _is_quiet(one: socket.socket) -> bool:
    """Nothing came since the last answer: neither an end nor what nobody asked for."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ)
        return not selector.select(0)


class _Line:
    """What ``http.client`` uses of a socket, within the bounds of an exchange."""

    def __init__(self, one: socket.socket) -> None:
        self._one = one
        self._ends_at = 0.0
        self.heard = 0
        """Bytes of this exchange's answer so far."""

    def begin(self, ends_at: float) -> None:
        self._ends_at, self.heard = ends_at, 0

    def _bound(self, most_s: float = EXCHANGE_S) -> None:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"no whole answer within {EXCHANGE_S:g} s")
        self._one.settimeout(min(most_s, left_s))

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._bound(PIECE_S)
            rest = rest[self._one.send(rest) :]

    def read_into(self, room: memoryview) -> int:
        if self.heard >= ANSWER_BYTES:
            raise OSError(f"its answer is longer than {ANSWER_BYTES // 1024} KB")
        self._bound()
        count = self._one.recv_into(room)
        self.heard += count
        return count

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Nothing: there may be an answer to read yet. :class:`Posting` closes."""


class _Reader(io.RawIOBase):
    def __init__(self, line: _Line) -> None:
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        return self._line.read_into(memoryview(room))
