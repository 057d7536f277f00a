"""Answers subscribers who missed something: the door to ``zmq`` for replaying.

A ROUTER socket. A question and its answer are several parts of plain text, as docs/client.md has
them; the subscriber's end is :mod:`streamer.client.wire`. Questions come from strangers: each is
read as bytes and whole numbers of bounded length, nothing is parsed beyond that, and an answer's
size is bounded before anything is copied.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import zmq

from streamer.errors import BindError, StreamerError
from streamer.publish.endpoint import bad_address_why, check_address
from streamer.publish.gate import Curve, Gate
from streamer.publish.history import History
from streamer.publish.peers import Allowance, Peers

PROTOCOL: Final = b"streamer.replay/1"
"""First part of every question and answer."""

MAX_PARTS: Final = 70
"""Parts of one question, its envelope left out: 64 topics and what goes before them."""

ANSWER_BYTES: Final = 256 * 1024
"""Bytes of messages in one answer; a single longer message is an answer of its own."""

ANSWER_COUNT: Final = 1024
"""Messages in one answer."""

MAX_SEQ: Final = 2**53 - 1
"""Largest number of a message, as the wire has it."""

QUESTIONS_PER_S: Final = 2000
"""Questions answered in one second, of all peers together. The rest waits at those who ask, so
that one who asks without end does not take the processor from the cameras."""

_OPTIONS: Final = {
    zmq.SNDHWM: 4,  # answers kept for a peer that does not read: 1 MB
    zmq.ROUTER_MANDATORY: 1,  # an answer that finds no room is counted, not lost in silence
    zmq.LINGER: 0,
    zmq.MAXMSGSIZE: 1024,  # bytes of one part of a question
    zmq.HANDSHAKE_IVL: 5000,  # ms a peer has to finish its greeting
    # As for events (zeromq.py), and for the same reasons.
    zmq.RCVHWM: 0,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 2,
    zmq.TCP_KEEPALIVE_INTVL: 2,
    zmq.TCP_KEEPALIVE_CNT: 2,
    zmq.TCP_MAXRT: 6000,
    zmq.RCVBUF: 65536,  # bytes a peer may send ahead of us
}

_ALLOWANCE: Final = Allowance(burst=64 * 1024, per_s=0, together=2**20, peers=256, unread=64)
"""What peers may send: some 600 questions, which bring 150 MB. Then an honest one has to connect
again, which costs it nothing; one message of parts without end ends there. All of it may wait
here, where a part of no bytes, which is 2 on the way, takes 64."""


class _Refused(StreamerError, ValueError):
    """A question that is none; the text says why."""


class Replay:
    """Gives subscribers what is still there of ``history``, on ``bind`` (as a publisher's).

    ``boot_id`` names this run: who asks about another one is told so. Made in any thread;
    :meth:`serve` runs in a thread of its own until :meth:`close`, which any thread may call.
    ``clock`` is the one that ``history`` is given, seconds. With ``curve`` only peers with an
    allowed key connect. Raises :class:`streamer.errors.BindError`, and
    :class:`streamer.keys.BadKey` for keys that cannot be read.
    """

    def __init__(
        self,
        bind: str,
        history: History,
        *,
        boot_id: str,
        curve: Curve | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Listen on ``bind``; nothing is answered before :meth:`serve`."""
        self._history = history
        self._boot_id = boot_id.encode()
        self._clock = clock
        self._answered = self._refused = self._unsent = 0
        self._lock = threading.Lock()
        self._serving = False
        self._path = check_address(bind)
        self.peers = Peers(_ALLOWANCE)
        self.gate = Gate(curve) if curve is not None else None
        self._context = zmq.Context()
        try:
            self._socket = self._context.socket(zmq.ROUTER)
            if self.gate is not None:
                self.gate.guard(self._context, self._socket, self.peers)
            else:
                self.peers.guard(self._context, self._socket)
            for option, value in _OPTIONS.items():
                self._socket.setsockopt(option, value)
            self._socket.setsockopt(zmq.IPV6, int(bind.startswith("tcp://[")))
            self._socket.bind(bind)
        except zmq.ZMQError as error:
            if self.gate is not None:
                self.gate.close()
            self.peers.close()
            self._context.destroy(linger=0)
            number = error.errno or errno.EINVAL
            why = bad_address_why(number, zmq.strerror(number))
            raise BindError(f"cannot replay on {bind}: {why}") from None
        if self._path is not None:
            self._path.chmod(0o600)
        self._endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._stopped, self._stopping = socket.socketpair()

    @property
    def endpoint(self) -> str:
        """The address really listened on, with the port that was given out."""
        return self._endpoint

    @property
    def answered(self) -> int:
        """Questions that were answered. This and the next two may be read from any thread."""
        return self._answered

    @property
    def refused(self) -> int:
        """Questions that were none. Above 0, somebody speaks another version or is a stranger."""
        return self._refused

    @property
    def unsent(self) -> int:
        """Answers that their peer had no room for, or was not there any more to take."""
        return self._unsent

    def serve(self) -> None:
        """Answer until :meth:`close`, then let go of the address. Called once."""
        with self._lock:
            if self._context.closed:
                return
            self._serving = True
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stopped.fileno(), zmq.POLLIN)
        only_stop = zmq.Poller()
        only_stop.register(self._stopped.fileno(), zmq.POLLIN)
        began_at, count = self._clock(), 0
        try:
            while True:
                ready = dict(poller.poll(0))
                if not ready:
                    self.peers.drained()
                    ready = dict(poller.poll())
                if self._stopped.fileno() in ready:
                    return
                now = self._clock()
                if now - began_at >= 1.0:
                    began_at, count = now, 0
                elif count >= QUESTIONS_PER_S and self.peers.flooded:
                    self._throw_away()
                    continue
                elif count >= QUESTIONS_PER_S:
                    if only_stop.poll(max(1, round((began_at + 1.0 - now) * 1000))):
                        return
                    continue
                count += 1
                self._serve_one(now)
        finally:
            self._let_go()

    def close(self) -> None:
        """Have :meth:`serve` end, at once; where it never ran, let go of the address here.

        Safe from any thread, more than once.
        """
        with self._lock:
            if not self._serving:
                self._let_go()
                return
        try:
            self._stopping.send(b".", socket.MSG_DONTWAIT)
        except OSError:
            pass  # it has ended, or was told often enough

    def _let_go(self) -> None:
        if self._context.closed:
            return
        if self.gate is not None:
            self.gate.close()
        self.peers.close()
        self._socket.close(linger=0)
        self._context.term()
        self._stopped.close()
        self._stopping.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _throw_away(self) -> None:
        """Read without answering: it is a flood, and most of those who asked have gone."""
        try:
            for _ in range(1000):
                self._socket.recv_multipart(zmq.NOBLOCK)
                self._refused += 1
        except zmq.Again:
            pass

    def _serve_one(self, now: float) -> None:
        try:
            parts = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return  # the peer went before it had finished
        # A REQ socket puts an empty part before what it says, and wants it back.
        envelope = 2 if len(parts) > 1 and not parts[1] else 1
        question = parts[envelope:]
        try:
            said = self._answer(question, now)
            self._answered += 1
        except _Refused as reason:
            self._refused += 1
            number = question[1] if len(question) > 1 and len(question[1]) <= 16 else b""
            said = [PROTOCOL, number, b"refused", str(reason).encode()]
        try:
            self._socket.send_multipart([*parts[:envelope], *said], zmq.NOBLOCK)
        except zmq.ZMQError:  # no room there (EAGAIN), or nobody (EHOSTUNREACH)
            self._unsent += 1

    def _answer(self, question: Sequence[bytes], now: float) -> list[bytes]:
        """The answer's parts. Raises :class:`_Refused`."""
        if len(question) < 4 or question[0] != PROTOCOL:
            raise _Refused(f"not a question of {PROTOCOL.decode()}; see docs/client.md")
        if len(question) > MAX_PARTS:
            raise _Refused("too many parts; ask for at most 64 topics at a time")
        number, kind, *rest = question[1:]
        if len(number) > 16:
            raise _Refused("the question's number is too long; use at most 16 bytes")
        if kind == b"messages" and len(rest) == 4:
            topic, boot_id, first, last = rest[0], rest[1], _seq(rest[2]), _seq(rest[3])
            if last < first:
                raise _Refused("the last message is before the first; ask the other way round")
            if boot_id != self._boot_id:
                return [PROTOCOL, number, b"elsewhere", self._boot_id]
            passage = self._history.read(
                topic, first, last, now=now, max_bytes=ANSWER_BYTES, max_count=ANSWER_COUNT
            )
            return [
                PROTOCOL, number, kind, self._boot_id, topic, b"%d" % passage.first_seq,
                b"%d" % passage.newest_seq, *passage.bodies,
            ]  # fmt: skip
        if kind == b"newest" and len(rest) >= 2:
            found, more = self._history.newest(
                rest[1:], after=rest[0], max_bytes=ANSWER_BYTES, max_count=ANSWER_COUNT
            )
            said = [PROTOCOL, number, kind, self._boot_id, b"%d" % more]
            for one in found:
                said += (one.topic, b"%d" % one.seq, one.body)
            return said
        raise _Refused("not a question that can be answered; see docs/client.md")


def _seq(text: bytes) -> int:
    """A number from 1 to 2^53 - 1. Raises :class:`_Refused`."""
    if not text.isdigit() or len(text) > 16 or not 1 <= int(text) <= MAX_SEQ:
        raise _Refused(f"the number of a message is a whole number from 1 to {MAX_SEQ}")
    return int(text)
