"""One TCP connection to the HTTP door, with the limits uvicorn does not set."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from streamer.web.readings import to_bytes

MAX_CONNECTIONS: Final = 256
"""File descriptors are for cameras too: for one more, one that asks nothing has to go."""
_REQUEST_LIMIT_S: Final = 10.0
_HANDSHAKE_LIMIT_S: Final = 10.0
_UNSENT_LIMIT: Final = 64 * 1024


class Loop(asyncio.SelectorEventLoop):
    """One that gives a TLS handshake 10 seconds: uvicorn leaves asyncio's 60."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        """As any loop's."""
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = _HANDSHAKE_LIMIT_S
        return await super().create_server(*args, **options)


class Connection(H11Protocol):
    """HTTP/1.1 by uvicorn and h11; the request must be complete 10 seconds after it began.

    The transport travels in the scope's state as ``transport``, so that a viewer that does not
    read can be cut off: closing politely would wait for it to read.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Set the limits of a new connection."""
        super().connection_made(transport)
        self._made_at = self.loop.time()
        self.app_state: dict[str, Any] = {**self.app_state, "transport": transport}
        self._too_late: asyncio.TimerHandle | None = None
        tcp: socket.socket = transport.get_extra_info("socket")
        # A picture that waits in the kernel grows old unseen: keep little there.
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_LIMIT)
        # A viewer whose machine is gone says nothing: ask after 10 s, give up after 25 s.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        if len(self.connections) > MAX_CONNECTIONS:
            spared = self._to_spare()
            if spared is None:
                transport.abort()
                return
            spared.transport.abort()
        self._watch_request()

    def _to_spare(self) -> Connection | None:
        """The connection that goes for a new one: who opens many and asks nothing shuts nobody out.

        Of those whose request is not complete: the oldest of the address that has the most.
        """
        open_now = [c for c in self.connections if not c.transport.is_closing()]
        many = Counter(map(_address, open_now))
        spared, most = None, (0, 0.0)
        for c in open_now:
            if isinstance(c, Connection) and c is not self and c.half_read:
                how = many[_address(c)], -c._made_at
                if spared is None or how > most:
                    spared, most = c, how
        return spared

    @property
    def half_read(self) -> bool:
        """Whether a request is awaited or half read."""
        upgraded = self.transport.get_protocol() is not self
        return not upgraded and self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def data_received(self, data: bytes) -> None:
        """Read on; a request that has begun must end in time."""
        super().data_received(data)
        self._watch_request()

    def send_400_response(self, _: str) -> None:
        """Say that this is no HTTP, as JSON like every other refusal; then close."""
        body = to_bytes({"error": "this cannot be read as HTTP/1.1; send a request that can"})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else an answer has begun
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_request(self) -> None:
        """Run the timer while a request is awaited or half read, and only then."""
        if not self.half_read:
            self._stop_watching()
        elif self._too_late is None:
            self._too_late = self.loop.call_later(_REQUEST_LIMIT_S, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None


def _address(connection: object) -> str:
    """Where a connection comes from; "" where nobody knows."""
    client = getattr(connection, "client", None)
    return str(client[0]) if client else ""


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket by uvicorn; the end of the server does not stumble over one that is closing."""

    def shutdown(self) -> None:
        """Say goodbye, unless both sides are saying it already."""
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()
