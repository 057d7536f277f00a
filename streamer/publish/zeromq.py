"""Publishes outcomes over ZeroMQ: the door to ``zmq`` for publishing.

A PUB socket never waits for a subscriber: what one cannot take in time is lost to that one
alone, and the gap in ``seq`` tells it so. Subscriptions are input from strangers, so what a
subscriber may send is bounded too.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import zmq

from streamer.errors import BindError, StreamerError
from streamer.events import (
    MAX_MESSAGE_BYTES,
    Attached,
    Format,
    camera_event,
    camera_topic,
    encode,
    faces_event,
    topic,
)
from streamer.expected import with_expected
from streamer.flow.stage import Stage
from streamer.heartbeat_events import HEARTBEAT_TOPIC, heartbeat_event
from streamer.publish.attach import Attachments
from streamer.publish.endpoint import bad_address_why, check_address
from streamer.publish.gate import Curve, Gate
from streamer.publish.history import History
from streamer.publish.peers import Allowance, Peers
from streamer.publish.replay import Replay
from streamer.publish.selection import Selection, When
from streamer.track_events import track_event, track_topic
from streamer.types import Beat, CameraChange, Outcome, TrackChange

_OPTIONS: Final = {
    zmq.SNDHWM: 1000,  # messages kept for one slow subscriber; then its newest are lost
    zmq.LINGER: 500,  # ms that closing waits for what is still to be sent
    # Bytes a peer may send at once: the longest topic has 71, and a handshake some 400.
    # Without it one subscription of 10 MB costs 1.1 GB of memory.
    zmq.MAXMSGSIZE: 1024,
    zmq.RCVBUF: 65536,  # bytes a peer may send ahead of us
    zmq.HANDSHAKE_IVL: 5000,  # ms a peer has to finish its greeting
    # The kernel lets go of a peer that died unseen or takes nothing for 6 s. Never ZeroMQ's own
    # pings: libzmq 4.3.5 aborts the process ("Assertion failed: !_io_error") where one is due to a
    # peer that has gone while what it sent waits for room. A stranger may ping us, so there has to
    # be room: what peers may send is bounded in bytes, below, and not in messages.
    zmq.RCVHWM: 0,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 2,
    zmq.TCP_KEEPALIVE_INTVL: 2,
    zmq.TCP_KEEPALIVE_CNT: 2,
    zmq.TCP_MAXRT: 6000,
}

_ALLOWANCE: Final = Allowance(burst=256 * 1024, per_s=64, together=4 * 2**20, peers=256, unread=128)
"""What subscribers may send: the topics of 1000 cameras, each by name, are 220 KB; pings of
older clients and answers have 16 bytes each two seconds, some 100 with keys."""

BURSTS_APART_S: Final = 0.004
"""Seconds between bursts. With 600 results a second to 10 subscribers publishing takes 0.49 of the
processor that it took, for 2.1 ms of a result's age; with 3 ms it would be 0.57, for 1.5 ms."""

_TOGETHER: Final = 8192  # bytes that libzmq sends at once to a subscriber; more need not wait
_MORE: Final = int(zmq.SNDMORE | zmq.NOBLOCK)  # flags of an enum take longer than sending does
_LAST: Final = int(zmq.NOBLOCK)


class ZeroMqSink:
    """A :class:`streamer.protocols.ChangeSink` that publishes all there is to tell: [topic, event].

    ``bind`` is ``tcp://HOST:PORT`` (port 0 or ``*``: any free one, see :attr:`endpoint`) or
    ``ipc://PATH``, which only this user may connect to. ``boot_id`` names this run and ``model``
    what found the faces. With ``curve`` only peers with an allowed key connect,
    to ``replay`` too. ``form`` is how events are written and ``when``
    says which outcomes are; with ``expected`` each face says where it is by then, too; ``attach``
    makes pictures of outcomes, where they still have theirs. ``final`` gives what the last
    heartbeat, at the end, is to say. ``clock`` is the one that stamped the frames, seconds.

    ``seq`` of each topic is contiguous from 1. Nothing here blocks: a subscriber that is slow
    or stopped loses messages and disturbs nobody. It is a :class:`streamer.protocols.BurstSink`,
    for each message sent alone costs a system call for each subscriber. Made in any thread, then
    written to and closed by one thread. Raises :class:`streamer.errors.BindError`, and
    :class:`streamer.keys.BadKey` for keys that cannot be read.
    """

    def __init__(
        self,
        bind: str,
        *,
        boot_id: str,
        model: str,
        replay: str | None = None,
        history_bytes: int = 64 * 2**20,
        history_s: float = 300.0,
        curve: Curve | None = None,
        form: Format = "json",
        when: When = "all",
        expected: bool = False,
        attach: Attachments | None = None,
        final: Callable[[], Beat] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Listen on ``bind``, and on ``replay`` where it is given."""
        self._boot_id = boot_id
        self._model = model
        self._clock = clock
        self._format: Format = form
        self._selection = Selection(when)
        self._expected = expected
        self._attach = attach
        self._written = 0
        self._beats = 0
        self._final = final
        self._seqs: dict[bytes, int] = {}
        self._gathers = False
        self._held: list[tuple[bytes, bytes]] = []
        self._held_bytes = 0
        self._history: History | None = None
        self.replay: Replay | None = None
        path = check_address(bind)
        self._peers = Peers(_ALLOWANCE)
        self._gate = Gate(curve) if curve is not None else None
        self._context = zmq.Context()
        try:
            self._socket = self._context.socket(zmq.PUB)
            if self._gate is not None:
                self._gate.guard(self._context, self._socket, self._peers)
            else:
                self._peers.guard(self._context, self._socket)
            for option, value in _OPTIONS.items():
                self._socket.setsockopt(option, value)
            self._socket.setsockopt(zmq.IPV6, int(bind.startswith("tcp://[")))
            self._socket.bind(bind)
        except zmq.ZMQError as error:
            if self._gate is not None:
                self._gate.close()
            self._peers.close()
            self._context.destroy(linger=0)
            number = error.errno or errno.EINVAL
            why = bad_address_why(number, zmq.strerror(number))
            raise BindError(f"cannot publish on {bind}: {why}") from None
        self._path = path
        if path is not None:
            path.chmod(0o600)
        self._endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        if replay is not None:
            self._history = History(max_bytes=history_bytes, max_age_s=history_s)
            try:
                self.replay = Replay(
                    replay, self._history, boot_id=boot_id, curve=curve, clock=clock
                )
            except StreamerError:
                self.close()
                raise

    @property
    def endpoint(self) -> str:
        """The address really listened on, with the port that was given out."""
        return self._endpoint

    @property
    def written(self) -> int:
        """How many messages were handed to ZeroMQ. It may be read from any thread."""
        return self._written

    @property
    def connected(self) -> dict[str, int]:
        """Connections now, by socket (``events``, ``replay``). It may be read from any thread."""
        peers = {"events": self._peers}
        if self.replay is not None:
            peers["replay"] = self.replay.peers
        return {socket: each.connected for socket, each in peers.items()}

    @property
    def refused(self) -> dict[tuple[str, str], int]:
        """Connections refused or ended, by socket (``events`` or ``replay``) and reason.

        Those of keys are there only with keys. It may be read from any thread.
        """
        sockets = {"events": (self._peers, self._gate)}
        if self.replay is not None:
            sockets["replay"] = (self.replay.peers, self.replay.gate)
        return {
            (socket, reason): count
            for socket, (peers, gate) in sockets.items()
            for counts in (peers.let_go, gate.refused if gate is not None else {})
            for reason, count in counts.items()
        }

    @property
    def apart_s(self) -> float:
        """See :class:`streamer.protocols.BurstSink`."""
        return BURSTS_APART_S

    @contextmanager
    def burst(self) -> Iterator[None]:
        """What is written within it is sent at its end, or sooner where it is much."""
        self._gathers = True
        try:
            yield
        finally:
            self._gathers = False
            self._flush()

    def write(self, outcome: Outcome) -> None:
        """Publish one outcome, at once, where it is wanted.

        Raises ``ValueError`` when it has no honest JSON.
        """
        if not self._selection.wants(outcome):
            return
        to = topic(outcome.frame.camera)
        seq = self._seqs.get(to, 0) + 1
        pictures = () if self._attach is None else self._attach.of(outcome)
        now_at = self._clock()  # after them, for the age counts the time that they take
        body = self._faces(outcome, seq, now_at, pictures)
        if pictures and len(body) > MAX_MESSAGE_BYTES:  # no subscriber would take it
            body = self._faces(outcome, seq, now_at, ())
        self._send(to, seq, body)

    def _faces(
        self, outcome: Outcome, seq: int, now_at: float, pictures: tuple[Attached, ...]
    ) -> bytes:
        event = faces_event(
            outcome, seq=seq, boot_id=self._boot_id, model=self._model, now_at=now_at,
            pictures=pictures,
        )  # fmt: skip
        if self._expected:
            event = with_expected(event, outcome, now_at)
        return encode(event, self._format)

    def write_change(self, change: CameraChange) -> None:
        """Publish what a camera does from now on, at once.

        While it is not live, who comes late is not given its newest result, and the first after
        that is published whatever it says, so that he has the next.
        """
        live = change.state == "live"
        if live:
            self._selection.forget(change.camera)
        if self._history is not None:
            self._history.show(topic(change.camera), live)
        to = camera_topic(change.camera)
        seq = self._seqs.get(to, 0) + 1
        event = camera_event(change, seq=seq, boot_id=self._boot_id, now_at=self._clock())
        self._send(to, seq, encode(event, self._format))

    def write_track(self, change: TrackChange) -> None:
        """Publish that a face appeared, looks better than before, or left, at once."""
        to = track_topic(change.camera)
        seq = self._seqs.get(to, 0) + 1
        event = track_event(change, seq=seq, boot_id=self._boot_id, now_at=self._clock())
        self._send(to, seq, encode(event, self._format))

    def write_again(self, to: bytes, fields: Mapping[str, Any]) -> None:
        """Publish an event of another run on the topic ``to``, as one of this run.

        ``fields`` are those of the event, as JSON has them; ``boot_id`` and ``seq`` are replaced.
        """
        seq = self._seqs.get(to, 0) + 1
        self._send(to, seq, encode({**fields, "boot_id": self._boot_id, "seq": seq}, self._format))

    def write_beat(self, beat: Beat) -> None:
        """Say that streamer is there, and the last ``seq`` of each topic. It is not replayed."""
        self._selection.keep(beat.cameras)
        self._say(beat)

    def _say(self, beat: Beat, *, ended: bool = False) -> None:
        last = {to.decode(): seq for to, seq in self._seqs.items()}
        event = heartbeat_event(
            beat, last=last, seq=self._beats + 1, boot_id=self._boot_id, ended=ended
        )
        self._hold(HEARTBEAT_TOPIC, encode(event, self._format))
        self._beats += 1

    def stages(self) -> list[Stage]:
        """What runs beside the sink: the answers to who missed something, where there are any."""
        if self.replay is None:
            return []
        return [Stage("publish:replay", self.replay.serve, vital=False)]

    def _send(self, to: bytes, seq: int, body: bytes) -> None:
        if self._history is not None:  # first: who hears of a message may ask for those before it
            self._history.add(to, seq, body, self._clock())
        self._hold(to, body)
        self._seqs[to] = seq
        self._written += 1

    def _hold(self, to: bytes, body: bytes) -> None:
        self._held.append((to, body))
        self._held_bytes += len(body)
        if not self._gathers or self._held_bytes >= _TOGETHER:
            self._flush()

    def _flush(self) -> None:
        send = self._socket.send
        for to, body in self._held:
            send(to, _MORE)
            send(body, _LAST)
        self._held.clear()
        self._held_bytes = 0
        self._peers.drained()  # before it sends, libzmq takes what subscribers said

    def close(self) -> None:
        """Say that this is the end, send what is left, for half a second, and stop listening."""
        if self._context.closed:
            return
        if self._beats and self._final is not None:
            self._say(self._final(), ended=True)
        if self.replay is not None:
            self.replay.close()
        if self._gate is not None:
            self._gate.close()
        self._peers.close()
        self._socket.close()
        self._context.term()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
