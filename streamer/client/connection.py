"""The two sockets of a subscription: one that hears, one that asks. Nothing here waits.

It belongs to one thread. Who waits, and how, is for :mod:`streamer.client.subscribe`,
:mod:`streamer.client.asynchronous` and :mod:`streamer.client.latest` to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import zmq

from streamer.client.handshake import Handshake, Keys, NotAdmitted
from streamer.client.sequence import Ask, Sequences
from streamer.client.wire import (
    MAX_PREFIXES,
    Elsewhere,
    Event,
    Messages,
    ask_messages,
    ask_newest,
    read_answer,
    read_live,
)
from streamer.errors import StreamerError
from streamer.events import MAX_MESSAGE_BYTES
from streamer.heartbeat_events import HEARTBEAT_TOPIC, HeartbeatEvent

MAX_WAITING: Final = 16 * 2**20
"""Bytes of what is held back while something before it is asked for."""

AWAY_S: Final = 0.3
"""Who comes back so much later than he said was busy, or was stopped."""

_FIRST_STATE: Final = 2**40  # questions for state are numbered from here, the others from 1
_STATE_RETRY_S: Final = 1.0
_UNCONNECTED_RETRY_S: Final = 0.1

_OPTIONS: Final = {
    zmq.MAXMSGSIZE: MAX_MESSAGE_BYTES,
    zmq.LINGER: 0,
    zmq.RECONNECT_IVL: 100,  # ms, doubled at each try up to the next
    zmq.RECONNECT_IVL_MAX: 2000,
    # The kernel lets go of a publisher that died unseen for 6 s. Never ZeroMQ's own pings: libzmq
    # 4.3.5 aborts the process ("Assertion failed: !_io_error") where one is due to a publisher that
    # has gone while what it sent waits for room, because the program is busy.
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 2,
    zmq.TCP_KEEPALIVE_INTVL: 2,
    zmq.TCP_KEEPALIVE_CNT: 2,
    zmq.TCP_MAXRT: 6000,
}
_HEARING: Final = {zmq.RCVHWM: 1000}  # messages kept while the program is busy; then newest go
_ASKING: Final = {
    zmq.RCVHWM: 16,  # answers, of a quarter of a MB each
    zmq.IMMEDIATE: 1,  # who is not connected cannot ask, and so knows it
}


class CannotSubscribe(StreamerError, ValueError):
    """The endpoint is not one that can be connected to."""


class Connection:
    """Hears ``prefixes`` from ``endpoint`` and asks ``replay`` for what is missing, if given.

    With ``fills`` False what is missing is not asked for, only the state at the beginning.
    With ``tells_heartbeats`` those that are heard are among what is ready.
    With ``keys`` both are encrypted. ``clock`` gives monotonic seconds. Raises
    :class:`CannotSubscribe`.
    """

    def __init__(
        self,
        endpoint: str,
        prefixes: Sequence[bytes],
        *,
        replay: str | None,
        heartbeats: bool,
        tells_heartbeats: bool = False,
        fills: bool = True,
        keys: Keys | None = None,
        max_waiting: int = MAX_WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect, in the background; neither need be there yet."""
        self._clock = clock
        self._tells_heartbeats = tells_heartbeats
        self._malformed = 0
        now = clock()
        self._back_by = self._attentive_since = now
        beginnings = tuple(prefixes)
        self._sequences: Sequences[Event | HeartbeatEvent] = Sequences(
            lambda topic: topic.startswith(beginnings),
            replays=replay is not None and fills,
            max_waiting=max_waiting,
            now=now,
        )
        self._context = zmq.Context()
        self._keys = keys
        self._handshakes: list[Handshake] = []
        self._refusal: str | None = None
        self._asking: zmq.Socket[bytes] | None = None
        self._state: list[Sequence[bytes]] = []  # still to be asked for: topics
        self._state_after = b""
        self._state_number = _FIRST_STATE
        self._state_due_at = now
        try:
            # Heartbeats are subscribed to last: when one is heard, all others are heard too.
            topics = [*prefixes, HEARTBEAT_TOPIC] if heartbeats else prefixes
            self._hearing = self._connect(zmq.SUB, endpoint, _HEARING)
            for prefix in topics:
                self._hearing.subscribe(prefix)
            if replay is not None:
                self._asking = self._connect(zmq.DEALER, replay, _ASKING)
                self._state = [
                    prefixes[at : at + MAX_PREFIXES] for at in range(0, len(prefixes), MAX_PREFIXES)
                ]
        except CannotSubscribe:
            self._context.destroy(linger=0)
            raise

    def _connect(
        self, kind: int, endpoint: str, options: dict[zmq.SocketOption, int]
    ) -> zmq.Socket[bytes]:
        try:
            made = self._context.socket(kind)
            for option, value in (_OPTIONS | options).items():
                made.setsockopt(option, value)
            made.setsockopt(zmq.IPV6, int(endpoint.startswith("tcp://[")))
            self._handshakes.append(Handshake(self._context, made, endpoint, self._keys))
            made.connect(endpoint)
        except zmq.ZMQError as error:
            shown = endpoint.rpartition("@")[2]  # whatever stands before an @ may be a password
            raise CannotSubscribe(
                f"cannot connect to {shown} ({zmq.strerror(error.errno or 0)}); "
                "write tcp://HOST:PORT or ipc:///path/to/socket"
            ) from None
        return made

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return bool(self._context.closed)

    @property
    def sockets(self) -> list[zmq.Socket[bytes]]:
        """What to wait for."""
        own = [self._hearing] if self._asking is None else [self._hearing, self._asking]
        return own + [one.monitor for one in self._handshakes]

    @property
    def sequences(self) -> Sequences[Event | HeartbeatEvent]:
        """What was heard, in order."""
        return self._sequences

    @property
    def malformed(self) -> int:
        """Messages and answers that were none."""
        return self._malformed

    def pump(self) -> float | None:
        """Take what came, until something is ready or nothing is left.

        Gives the seconds after which to come again though nothing came; None for never. What is
        ready is in ``sequences.ready``.
        """
        now = self._clock()
        told = any(handshake.told for handshake in self._handshakes)
        said = [handshake.look(now) for handshake in self._handshakes]
        if not told:  # what keeps one out keeps both out: it is said once
            self._refusal = next(filter(None, said), self._refusal)
        if now > self._back_by + AWAY_S:
            self._attentive_since = now
        sequences = self._sequences
        while True:
            came = self._asking is not None and self._take_answer(self._asking)
            came |= not sequences.ready and self._take_live(now)
            self._send(sequences.asks(now))
            if sequences.ready or not came:
                break
            now = self._clock()
        self._send(sequences.overdue(now, self._attentive_since))
        if not sequences.ready:
            sequences.watch(now, self._attentive_since)
        self._ask_state(now)
        wake_at = sequences.wake_at(self._attentive_since)
        if self._state:
            wake_at = min(self._state_due_at, wake_at or self._state_due_at)
        for handshake in self._handshakes:
            if handshake.again_at is not None:
                wake_at = min(handshake.again_at, wake_at or handshake.again_at)
        wait_s = None if wake_at is None else max(0.0, wake_at - now)
        self._back_by = now if sequences.ready else now + (60.0 if wait_s is None else wait_s)
        return wait_s

    def refusal(self) -> NotAdmitted | None:
        """What is to be raised because the other end does not let us in, given once."""
        said, self._refusal = self._refusal, None
        return None if said is None else NotAdmitted(said)

    def close(self) -> None:
        """Disconnect, at once. Called twice it does nothing more."""
        if not self._context.closed:
            for one in self.sockets:
                one.close(linger=0)
            self._context.term()

    def _take_live(self, now: float) -> bool:
        try:
            parts = self._hearing.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        try:
            heard = read_live(parts)
        except ValueError:  # a MalformedEvent is one, and so is a wrong number of parts
            self._malformed += 1
            return True
        if heard is None:
            return True
        if isinstance(heard, HeartbeatEvent):
            last = {topic.encode(): seq for topic, seq in heard.last.items()}
            self._sequences.beat(heard.boot_id, last, now, ended=heard.ended)
            if self._tells_heartbeats:
                self._sequences.ready.append(heard)
        else:
            event = heard.event
            self._sequences.heard(
                heard.topic, event.boot_id, event.seq, event, heard.size, now
            )  # fmt: skip
        return True

    def _take_answer(self, asking: zmq.Socket[bytes]) -> bool:
        try:
            parts = asking.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        try:
            said = read_answer(parts)
        except ValueError:
            self._malformed += 1
            return True
        if isinstance(said, Messages):
            self._sequences.answered(said.number, said.boot_id, said.first_seq, said.events)
        elif isinstance(said, Elsewhere):
            self._sequences.answered(said.number, said.boot_id, 1, [])
        elif self._state and said.number == self._state_number:
            for topic, seq, event in said.heard:
                self._sequences.state(said.boot_id, topic, seq, event)
            self._state_due_at = self._clock()
            if said.boot_id != self._sequences.boot_id:  # the run before, or another streamer's
                self._state_due_at += _STATE_RETRY_S
                self._state_after = b""
            elif said.more and said.heard:
                self._state_after = said.heard[-1][0]
            else:
                self._state_after = b""
                del self._state[0]
        return True

    def _send(self, asks: Iterable[Ask]) -> None:
        for ask in asks:
            if self._asking is not None:
                _try_send(self._asking, ask_messages(ask))

    def _ask_state(self, now: float) -> None:
        if not self._state or self._asking is None or now < self._state_due_at:
            return
        self._state_number += 1
        question = ask_newest(self._state_number, self._state_after, self._state[0])
        sent = _try_send(self._asking, question)
        self._state_due_at = now + (_STATE_RETRY_S if sent else _UNCONNECTED_RETRY_S)


def _try_send(asking: zmq.Socket[bytes], parts: list[bytes]) -> bool:
    """Send; False when nobody is connected. What is not sent is asked again when it is overdue."""
    try:
        asking.send_multipart(parts, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True
