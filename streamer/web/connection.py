"""One TCP connection to the HTTP door, with the limits uvicorn does not set."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

MAX_CONNECTIONS: Final = 256
"""More are closed at once: file descriptors are for cameras too."""
_REQUEST_LIMIT_S: Final = 10.0
_UNSENT_LIMIT: Final = 64 * 1024


class Connection(H11Protocol):
    """HTTP/1.1 by uvicorn and h11; the request must be complete 10 seconds after it began.

    The transport travels in the scope's state as ``transport``, so that a viewer that does not
    read can be cut off: closing politely would wait for it to read.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Set the limits of a new connection."""
        super().connection_made(transport)
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
            transport.abort()
            return
        self._watch_request()

    def data_received(self, data: bytes) -> None:
        """Read on; a request that has begun must end in time."""
        super().data_received(data)
        self._watch_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_request(self) -> None:
        """Run the timer while a request is awaited or half read, and only then."""
        upgraded = self.transport.get_protocol() is not self
        half_read = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        if upgraded or not half_read:
            self._stop_watching()
        elif self._too_late is None:
            self._too_late = self.loop.call_later(_REQUEST_LIMIT_S, self.transport.abort)

    def _stop_watching(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None


class Socket(WebSocketsSansIOProtocol):
    """A WebSocket by uvicorn; the end of the server does not stumble over one that is closing."""

    def shutdown(self) -> None:
        """Say goodbye, unless both sides are saying it already."""
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()
