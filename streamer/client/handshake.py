"""Whether the other end lets us in: the client's keys, and what libzmq's monitor tells of them.

Without it a wrong key looks like silence. libzmq does not dial again where it was refused, nor
where a message was too long for it, so :class:`Handshake` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from streamer.errors import StreamerError
from streamer.keys import BadKey, Pair, read_pair, read_public

AGAIN_S: Final = 2.0
"""Seconds after a connection that libzmq gave up until the address is dialled again."""

BROKEN: Final = 3
"""So many handshakes that broke off in a row are no accident."""

_EVENTS: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
)


class NotAdmitted(StreamerError, PermissionError):
    """The other end does not let us in: it wants a key, another key, or none."""


class Keys(NamedTuple):
    """The publisher's public key, and the client's own pair."""

    server: bytes
    own: Pair


def keys_of(server_key: str | Path | None, key: str | Path | None) -> Keys | None:
    """The keys to connect with; None where neither is given. Raises :class:`BadKey`."""
    if server_key is None and key is None:
        return None
    if server_key is None or key is None:
        raise BadKey(
            "server_key (the publisher's NAME.key) and key (your own NAME.key_secret) go together; "
            "give both or neither"
        )
    return Keys(read_public(server_key), read_pair(key))


class Handshake:
    """Watches how one socket is let in at ``endpoint``. Made before it connects."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        socket: zmq.Socket[bytes],
        endpoint: str,
        keys: Keys | None,
    ) -> None:
        """Give ``socket`` its keys and begin to watch."""
        self._socket = socket
        self._endpoint = endpoint
        self._keyed = keys is not None
        self._broken = 0
        self.told = False
        self.again_at: float | None = None
        if keys is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)
        address = f"inproc://handshake-{socket.fileno()}"
        socket.monitor(address, _EVENTS)
        self.monitor = context.socket(zmq.PAIR)
        # Without a bound of its own: a full monitor would stop the socket's own thread. It is
        # bounded by how often one dials.
        self.monitor.setsockopt(zmq.RCVHWM, 0)
        self.monitor.setsockopt(zmq.LINGER, 0)
        self.monitor.connect(address)

    def look(self, now: float) -> str | None:
        """Why we are not let in, said once until we are; None while nothing is wrong."""
        refusal = None
        while True:
            try:
                told = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                break
            refusal = self._hear(told["event"], told["value"], now) or refusal
        if self.again_at is not None and now >= self.again_at:
            self.again_at = None
            try:
                self._socket.disconnect(self._endpoint)
            except zmq.ZMQError:
                pass  # libzmq has forgotten the address itself
            self._socket.connect(self._endpoint)
        if refusal is None or self.told:
            return None
        self.told = True
        return refusal

    def _hear(self, event: int, value: int, now: float) -> str | None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._broken, self.told, self.again_at = 0, False, None
            return None
        if event == zmq.EVENT_DISCONNECTED:  # where libzmq goes on, the next is that it retries
            self.again_at = now + AGAIN_S
            return None
        if event == zmq.EVENT_CONNECT_RETRIED:
            self.again_at = None
            return None
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:  # the other end hung up; libzmq goes on
            self._broken += 1
            return self._broken_off() if self._broken >= BROKEN else None
        self.again_at = now + AGAIN_S
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return (
                f"the publisher at {self._endpoint} does not let this key in; add your NAME.key "
                "to its clients (publish.zeromq.curve.clients)"
            )
        if value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH and not self._keyed:
            return (
                f"the publisher at {self._endpoint} lets in only who has a key; "
                "give server_key and key, made with `streamer keys new`"
            )
        return self._broken_off()

    def _broken_off(self) -> str:
        if self._keyed:
            return (
                f"{self._endpoint} ended the connection while keys were exchanged: its key is not "
                "the server_key given here (compare `streamer keys show`), it has no keys (leave "
                "server_key and key out), or no streamer is there"
            )
        return (
            f"{self._endpoint} ended the connection before it was made: it lets in only who has a "
            "key, or no streamer publishes there; check the address"
        )
