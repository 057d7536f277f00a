"""Who may connect to a socket that publishes: CURVE with a list of keys. A door to ``zmq``.

libzmq asks through a socket inside the process (ZAP, rfc.zeromq.org/spec/27) about every peer
that knows the server's key; a thread answers by the list. Whoever is not on it, speaks without
CURVE or believes in another server key is refused, and counted by what libzmq's monitor tells.
Without an answer nobody gets in: ``ZAP_ENFORCE_DOMAIN`` makes the gate fail shut.
"""

from __future__ import annotations

import socket as sockets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from streamer.keys import MAX_KEYS, BadKey, read_allowed, read_pair
from streamer.log import get_logger
from streamer.publish.peers import Peers

_log = get_logger("gate")

RECHECK_S: Final = 1.0
"""Seconds after which the list is looked at again, when somebody knocks."""

_ZAP: Final = "inproc://zeromq.zap.01"
_MONITOR: Final = "inproc://gate.monitor"
_DOMAIN: Final = "streamer"
_REFUSALS: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
REASONS: Final = ("not_allowed", "wrong_server_key", "no_key", "broken")
"""Why a connection was refused: its key is not on the list; it believes in another server key;
it speaks without CURVE; it went, or spoke something else, before it was known."""

_REASONS: Final[dict[int, str]] = {
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "wrong_server_key",
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "no_key",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """Where the keys are.

    ``server_key`` is the server's ``NAME.key_secret``; ``clients`` is a folder or a file, as
    :func:`streamer.keys.read_allowed` has it.
    """

    server_key: Path
    clients: Path


class Allowed:
    """The keys that may connect; what changes on the disk is seen, at most every ``recheck_s``.

    Raises :class:`streamer.keys.BadKey` when the list cannot be read at the start. One that
    cannot be read later lets nobody in until it is mended, which the log says.
    """

    def __init__(
        self,
        path: Path,
        *,
        recheck_s: float = RECHECK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the list."""
        self._path = path
        self._recheck_s = recheck_s
        self._clock = clock
        self._checked_at = clock()
        self._mark = _mark(path)
        self._keys: Mapping[bytes, str] = read_allowed(path)

    def __len__(self) -> int:
        """How many keys are allowed."""
        return len(self._keys)

    def __contains__(self, key: bytes) -> bool:
        """Whether ``key``, 40 bytes of Z85, may connect now."""
        now = self._clock()
        if now - self._checked_at >= self._recheck_s:
            self._checked_at = now
            mark = _mark(self._path)
            if mark != self._mark:
                self._mark = mark
                self._keys = self._again()
        return key in self._keys

    def _again(self) -> Mapping[bytes, str]:
        try:
            keys = read_allowed(self._path)
        except BadKey as error:
            _log.error("clients_unreadable", problem=str(error), allowed=0)
            return {}
        _log.info("clients_changed", allowed=len(keys))
        return keys


def _mark(path: Path) -> object:
    """What differs when the list does: names, sizes and times of its files."""
    try:
        files = sorted(path.glob("*.key"))[: MAX_KEYS + 1] if path.is_dir() else [path]
        return [(str(file), (s := file.stat()).st_mtime_ns, s.st_size, s.st_ino) for file in files]
    except OSError:
        return None


class Gate:
    """Guards one socket, from :meth:`guard` to :meth:`close`.

    ``recheck_s`` is as :class:`Allowed` has it. Raises :class:`streamer.keys.BadKey`.
    """

    def __init__(self, curve: Curve, *, recheck_s: float = RECHECK_S) -> None:
        """Read the keys; nothing is opened."""
        self._secret = read_pair(curve.server_key).secret
        self._allowed = Allowed(curve.clients, recheck_s=recheck_s)
        if _others_may_read(curve.server_key):
            _log.warning(
                "secret_key_readable", file=str(curve.server_key), remedy="chmod 600 that file"
            )
        if not len(self._allowed):
            _log.warning("nobody_allowed", clients=str(curve.clients))
        self._refused = dict.fromkeys(REASONS, 0)
        self._end: Callable[[], None] | None = None

    @property
    def refused(self) -> Mapping[str, int]:
        """Connections refused, by each of :data:`REASONS`. It may be read from any thread."""
        return dict(self._refused)

    def guard(
        self, context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes], peers: Peers
    ) -> None:
        """Let only peers with an allowed key connect to ``socket``. Once, before it is bound.

        ``peers`` is told who comes and goes, and asked to look at them.
        """
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._secret)
        socket.setsockopt_string(zmq.ZAP_DOMAIN, _DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        socket.monitor(_MONITOR, _REFUSALS | peers.EVENTS)
        asked = context.socket(zmq.REP)
        asked.bind(_ZAP)
        monitor = context.socket(zmq.PAIR)
        # Without a bound: a full monitor would stop the thread that sends. It is read at once.
        monitor.setsockopt(zmq.RCVHWM, 0)
        monitor.connect(_MONITOR)
        stopped, stopping = sockets.socketpair()
        thread = threading.Thread(
            target=self._serve,
            args=(asked, monitor, stopped, peers),
            name="publish:gate",
            daemon=True,
        )
        thread.start()

        def end() -> None:
            # First: libzmq would wait without end to tell what happens to one who has gone.
            socket.monitor(None, 0)
            stopping.close()
            thread.join()
            asked.close(linger=0)
            monitor.close(linger=0)
            stopped.close()

        self._end = end

    def close(self) -> None:
        """End the thread and let go of everything: before the socket. Who knocks is not let in."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def _serve(
        self,
        asked: zmq.Socket[bytes],
        monitor: zmq.Socket[bytes],
        stopped: sockets.socket,
        peers: Peers,
    ) -> None:
        poller = zmq.Poller()
        for readable in (asked, monitor, stopped.fileno()):
            poller.register(readable, zmq.POLLIN)
        try:
            while stopped.fileno() not in (ready := dict(poller.poll(peers.look_ms()))):
                if asked in ready:
                    asked.send_multipart(self._answer(asked.recv_multipart()))
                if monitor in ready and not self._count(monitor.recv_multipart(), peers):
                    poller.unregister(monitor)
        except Exception as error:  # noqa: BLE001 - nobody gets in from here on: it must be said
            _log.error("gate_failed", exc_info=error)

    def _answer(self, request: list[bytes]) -> list[bytes]:
        """What ZAP says to ``request``: version, id, domain, address, identity, mechanism, key."""
        number = request[1] if len(request) > 1 else b""
        allowed = (
            len(request) == 7
            and request[0] == b"1.0"
            and request[2] == _DOMAIN.encode()
            and request[5] == b"CURVE"
            and len(request[6]) == 32
            and z85.encode(request[6]) in self._allowed
        )
        status, text = (b"200", b"OK") if allowed else (b"400", b"this key is not allowed")
        return [b"1.0", number, status, text, b"", b""]

    def _count(self, message: list[bytes], peers: Peers) -> bool:
        """Count what the monitor tells; False when it tells nothing more."""
        told = parse_monitor_message(message)
        event, value = told["event"], told["value"]
        if event == zmq.EVENT_MONITOR_STOPPED:
            return False
        if event & peers.EVENTS:
            peers.take(event, value)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._refused["not_allowed"] += 1
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._refused[_REASONS.get(value, "broken")] += 1
        else:
            self._refused["broken"] += 1
        return True


def _others_may_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:
        return False
