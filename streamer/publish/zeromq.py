"""Publishes outcomes over ZeroMQ: the door to ``zmq`` for publishing.

A PUB socket never waits for a subscriber: what one cannot take in time is lost to that one
alone, and the gap in ``seq`` tells it so. Subscriptions are input from strangers, so what a
subscriber may send is bounded too.
"""

from __future__ import annotations

import errno
import re
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zmq

from streamer.errors import BindError
from streamer.events import camera_event, camera_topic, encode, faces_event, topic
from streamer.types import CameraChange, Outcome

_TCP = re.compile(r"tcp://(?P<host>.+):(?P<port>\*|[0-9]{1,5})")

_OPTIONS: Final = {
    zmq.SNDHWM: 1000,  # messages kept for one slow subscriber; then its newest are lost
    zmq.LINGER: 500,  # ms that closing waits for what is still to be sent
    # Bytes a peer may send at once. Without it one subscription of 10 MB costs 1.1 GB of memory.
    zmq.MAXMSGSIZE: 65536,
    zmq.HANDSHAKE_IVL: 5000,  # ms a peer has to finish its greeting
    zmq.HEARTBEAT_IVL: 2000,  # ms between pings, so that a peer that died unseen is let go
    zmq.HEARTBEAT_TIMEOUT: 6000,
    zmq.TCP_KEEPALIVE: 1,
}

_BAD_ADDRESS: Final = "it is not an address; write tcp://127.0.0.1:5555 or ipc:///path/to/socket"
_WHY: Final = {
    errno.EINVAL: _BAD_ADDRESS,
    errno.EADDRINUSE: "the address is in use; stop what uses it or choose another",
    errno.EACCES: "this user is not permitted to; choose a port above 1023 or another folder",
    errno.EPERM: "this user is not permitted to; choose a port above 1023 or another folder",
    errno.EADDRNOTAVAIL: "no network of this machine has this address; use 127.0.0.1 or *",
    errno.ENODEV: "no network of this machine has this address; use 127.0.0.1 or *",
    errno.ENOENT: "the folder does not exist; make it or choose another path",
    errno.ENAMETOOLONG: "the path is too long; choose one of at most 100 characters",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
}


class ZeroMqSink:
    """A :class:`streamer.protocols.ChangeSink` that publishes outcomes and changes: [topic, JSON].

    ``bind`` is ``tcp://HOST:PORT`` (port 0 or ``*``: any free one, see :attr:`endpoint`) or
    ``ipc://PATH``, which only this user may connect to. ``boot_id`` names this run and ``model``
    what found the faces. ``clock`` is the one that stamped the frames, seconds.

    ``seq`` of each topic is contiguous from 1. Nothing here blocks: a subscriber that is slow
    or stopped loses messages and disturbs nobody. Made in any thread, then written to and closed
    by one thread. Raises :class:`streamer.errors.BindError`.
    """

    def __init__(
        self,
        bind: str,
        *,
        boot_id: str,
        model: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Listen on ``bind``."""
        self._boot_id = boot_id
        self._model = model
        self._clock = clock
        self._written = 0
        self._seqs: dict[bytes, int] = {}
        path = _check(bind)
        self._context = zmq.Context()
        try:
            self._socket = self._context.socket(zmq.PUB)
            for option, value in _OPTIONS.items():
                self._socket.setsockopt(option, value)
            self._socket.setsockopt(zmq.IPV6, int(bind.startswith("tcp://[")))
            self._socket.bind(bind)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            number = error.errno or errno.EINVAL
            why = _WHY.get(number, f"{zmq.strerror(number)}; choose another address")
            raise BindError(f"cannot publish on {bind}: {why}") from None
        self._path = path
        if path is not None:
            path.chmod(0o600)
        self._endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    @property
    def endpoint(self) -> str:
        """The address really listened on, with the port that was given out."""
        return self._endpoint

    @property
    def written(self) -> int:
        """How many messages were handed to ZeroMQ. It may be read from any thread."""
        return self._written

    def write(self, outcome: Outcome) -> None:
        """Publish one outcome, at once. Raises ``ValueError`` when it has no honest JSON."""
        to = topic(outcome.frame.camera)
        seq = self._seqs.get(to, 0) + 1
        event = faces_event(
            outcome, seq=seq, boot_id=self._boot_id, model=self._model, now_at=self._clock()
        )
        self._send(to, seq, encode(event))

    def write_change(self, change: CameraChange) -> None:
        """Publish what a camera does from now on, at once."""
        to = camera_topic(change.camera)
        seq = self._seqs.get(to, 0) + 1
        event = camera_event(change, seq=seq, boot_id=self._boot_id, now_at=self._clock())
        self._send(to, seq, encode(event))

    def _send(self, to: bytes, seq: int, body: bytes) -> None:
        self._socket.send_multipart((to, body), flags=zmq.NOBLOCK)
        self._seqs[to] = seq
        self._written += 1

    def close(self) -> None:
        """Send what is left, for half a second at most, and stop listening."""
        if self._context.closed:
            return
        self._socket.close()
        self._context.term()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _check(bind: str) -> Path | None:
    """The path of an ipc address, None for tcp. Raises :class:`BindError` where libzmq does harm.

    Of itself libzmq takes port 99999 for 34463, deletes a file that is where the socket should
    be, and takes an ipc address away from a living publisher.
    """
    if bind.startswith("ipc://") and len(bind) > len("ipc://"):
        name = bind.removeprefix("ipc://")
        if name.startswith("@") or name == "*":
            return None
        path = Path(name)
        try:
            mode = path.stat().st_mode
        except OSError:
            return path  # nothing there, or nothing we may see: binding says which
        if not stat.S_ISSOCK(mode):
            raise BindError(f"cannot publish on {bind}: a file is there; choose another path")
        if _answers(path):
            raise BindError(f"cannot publish on {bind}: {_WHY[errno.EADDRINUSE]}")
        return path
    match = _TCP.fullmatch(bind)
    if match is None or (match["port"] != "*" and int(match["port"]) > 65535):
        raise BindError(f"cannot publish on {bind}: {_BAD_ADDRESS}")
    return None


def _answers(path: Path) -> bool:
    """Whether somebody listens on the Unix socket at ``path``."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
