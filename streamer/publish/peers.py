"""Lets go of peers that send too much. A door to ``zmq``.

What a subscriber sends is input from a stranger, and libzmq bounds the length of one message and
no more: it keeps what peers subscribe to, some hundred bytes of memory for each byte, without
end, and the thread that publishes does nothing else while it takes that in (measured: 14 s, and
865 MB, from one peer in 5 s). A subscriber has little to say. So the kernel's count of the bytes
that came from each connection is looked at, and who sent too many is disconnected, which frees
what it had subscribed to. An honest one connects again by itself and asks for what it missed.
"""

from __future__ import annotations

import ctypes
import os
import socket as sockets
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from streamer.log import get_logger

_log = get_logger("peers")

LOOK_S: Final = 0.02
"""How often connections are looked at while there are any, seconds."""

LOG_S: Final = 10.0
"""How often the log says that peers were let go, at most, seconds."""

_libc: Final = ctypes.CDLL(None, use_errno=True)

_MONITOR: Final = "inproc://peers.monitor"
_RECEIVED_AT: Final = 128  # offset of tcpi_bytes_received in Linux's struct tcp_info


@dataclass(frozen=True, slots=True)
class Allowance:
    """What peers of one socket may send.

    ``burst`` bytes, and ``per_s`` bytes a second besides, which are for the pings; ``together``
    bounds the sum of what all that are connected have sent beyond those. ``peers``: connections
    at a time, and ``unread``: that come before all that came was read (:meth:`Peers.drained`), for
    what those sent who have gone waits in memory too.
    """

    burst: int
    per_s: int
    together: int
    peers: int
    unread: int


@dataclass(slots=True)
class _Peer:
    socket: sockets.socket  # only looks through the descriptor, which belongs to libzmq
    name: Any
    since: float
    sent: float = 0.0  # beyond what is for the pings, bytes


class Peers:
    """The TCP connections of one listening socket, as its monitor tells of them.

    :meth:`guard` runs it on a thread of its own, where nobody else has a monitor; else who reads
    the monitor calls :meth:`take` and :meth:`look_ms`, from one thread. Connections that are not
    TCP are not bounded: a Unix socket is open to this user alone.
    """

    EVENTS: Final = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED
    """What a monitor of the socket has to tell of."""

    def __init__(
        self, allowance: Allowance, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nobody is connected."""
        self._allowance = allowance
        self._clock = clock
        self._peers: dict[int, _Peer] = {}
        self._local: set[int] = set()  # connections of a Unix socket
        self._let_go = {"too_many": 0, "too_much": 0}
        self._unread = 0
        self._look_at = 0.0
        self._log_at = 0.0
        self._end: Callable[[], None] | None = None

    @property
    def let_go(self) -> Mapping[str, int]:
        """Connections ended here, by reason: ``too_many`` of them, or it sent ``too_much``.

        It may be read from any thread.
        """
        return dict(self._let_go)

    @property
    def connected(self) -> int:
        """How many are connected now, whatever for. It may be read from any thread."""
        return len(self._peers) + len(self._local)

    @property
    def flooded(self) -> bool:
        """Whether so many came since all was read that no more are let in. From any thread."""
        return self._unread > self._allowance.unread

    def drained(self) -> None:
        """All that came until now was read: to be said by who reads, from any thread."""
        self._unread = 0

    def take(self, event: int, descriptor: int) -> None:
        """Take what the monitor tells."""
        if event == zmq.EVENT_DISCONNECTED:
            self._forget(descriptor)
        elif event == zmq.EVENT_ACCEPTED:
            self._forget(descriptor)
            try:
                came = sockets.socket(fileno=descriptor)
            except OSError:
                return  # it has gone already
            try:
                name = came.getpeername()
            except OSError:
                name = None
            if name is None or came.family not in (sockets.AF_INET, sockets.AF_INET6):
                came.detach()
                self._local.add(descriptor)
                return
            self._peers[descriptor] = _Peer(came, name, self._clock())
            self._unread += 1
            if len(self._peers) > self._allowance.peers or self.flooded:
                self._hang_up(descriptor, "too_many")

    def look_ms(self) -> int | None:
        """Let go of who sent too much. Gives the ms until the next look; None: no need."""
        if not self._peers:
            return None
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            for descriptor, peer in list(self._peers.items()):
                try:
                    received = _received(peer.socket)
                except OSError:
                    self._forget(descriptor)
                    continue
                peer.sent = received - self._allowance.per_s * (now - peer.since)
                if peer.sent > self._allowance.burst:
                    self._hang_up(descriptor, "too_much")
            while sum(max(0.0, one.sent) for one in self._peers.values()) > (
                self._allowance.together
            ):
                self._hang_up(max(self._peers, key=lambda d: self._peers[d].sent), "too_much")
        return max(1, round((self._look_at - now) * 1000))

    def guard(self, context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes]) -> None:
        """Watch ``socket``'s peers from a thread, until :meth:`close`. Before it is bound."""
        socket.monitor(_MONITOR, self.EVENTS)
        monitor = context.socket(zmq.PAIR)
        # Without a bound: a full monitor would stop the thread that sends. It is read at once.
        monitor.setsockopt(zmq.RCVHWM, 0)
        monitor.connect(_MONITOR)
        thread = threading.Thread(
            target=self._serve, args=(monitor,), name="publish:peers", daemon=True
        )
        thread.start()

        def end() -> None:
            socket.monitor(None, 0)  # the last that it tells is that it stops
            thread.join()
            monitor.close(linger=0)

        self._end = end

    def close(self) -> None:
        """End the thread, before the socket is closed. Who else reads the monitor ends first."""
        end, self._end = self._end, None
        if end is not None:
            end()
        for descriptor in list(self._peers):
            self._forget(descriptor)

    def _serve(self, monitor: zmq.Socket[bytes]) -> None:
        while True:
            if not monitor.poll(self.look_ms()):
                continue
            told = parse_monitor_message(monitor.recv_multipart())
            if told["event"] == zmq.EVENT_MONITOR_STOPPED:
                return
            self.take(told["event"], told["value"])

    def _forget(self, descriptor: int) -> None:
        self._local.discard(descriptor)
        peer = self._peers.pop(descriptor, None)
        if peer is not None:
            peer.socket.detach()  # libzmq closes it

    def _hang_up(self, descriptor: int, reason: str) -> None:
        peer = self._peers[descriptor]
        self._forget(descriptor)
        try:
            # Of one's own descriptor one knows whose it is, and that it stays so.
            with sockets.socket(fileno=os.dup(descriptor)) as own:
                if own.getpeername() != peer.name:
                    return
                _reset(own)
        except OSError:
            return  # it has gone already
        self._let_go[reason] += 1
        now = self._clock()
        if now >= self._log_at:
            self._log_at = now + LOG_S
            _log.warning("peer_let_go", reason=reason, peer=peer.name[0], **self._let_go)


def _reset(connection: sockets.socket) -> None:
    """End a connection at once, what came and was not read included. Raises ``OSError``.

    A shutdown would leave who has much to send waiting for us to read it. To connect to nowhere
    (connect(2), AF_UNSPEC) resets.
    """
    if _libc.connect(connection.fileno(), bytes(16), 16):
        raise OSError(ctypes.get_errno(), "cannot reset")


def _received(connection: sockets.socket) -> int:
    """Bytes that came over a connection since it began. Raises ``OSError`` when it has gone."""
    told = connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _RECEIVED_AT + 8)
    return int.from_bytes(told[_RECEIVED_AT:], sys.byteorder)
