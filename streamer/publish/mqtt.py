"""Tells an MQTT broker, and Home Assistant behind it, what the cameras see: the door to ``paho``.

Each connection is a client of its own, so that nothing of an old one is sent over newer state.
Everything is QoS 1 and counted as delivered when the broker confirms it. State is retained and
told anew at each connection; results are not kept for a broker that is away.
"""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from streamer.errors import MissingDependency
from streamer.publish.link import Link, pause_s
from streamer.publish.messages import Message, Messages
from streamer.publish.mqtt_board import Board
from streamer.publish.pace import When
from streamer.status import LinkStatus
from streamer.types import Beat, CameraChange, Outcome, TrackChange

if TYPE_CHECKING:
    from paho.mqtt.client import Client

MOST_WAITING: Final = 256
"""Messages that wait for the broker to confirm them; what is beyond waits or is dropped."""

_CONNECT_S: Final = 3.0  # to reach the broker, and again to be let in
_KEEPALIVE_S: Final = 20
_FAREWELL_S: Final = 1.0  # for the last messages to be confirmed
_END_S: Final = 2 * _CONNECT_S


class MqttSink:
    """A sink of results, changes, tracks and beats that publishes below ``base`` on one broker.

    ``tls`` is what encrypts, None for none. ``when`` and ``max_per_s`` choose the results that go
    to ``BASE/CAMERA/faces``; with ``tracks`` faces that appear and leave go to ``…/tracks``; see
    :class:`Board` for the rest, and docs/bridges.md. ``clock`` is the one that stamped the frames,
    seconds. The broker need not be there yet. Raises :class:`streamer.errors.MissingDependency`.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        boot_id: str,
        model: str,
        version: str,
        base: str = "streamer",
        client_id: str | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        discovery: str | None = "homeassistant",
        when: When = "changes",
        max_per_s: float = 2.0,
        tracks: bool = True,
        off_delay_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to connect, in the background."""
        try:
            from paho.mqtt import client as paho
        except ImportError:
            raise MissingDependency(
                "publish.mqtt needs paho-mqtt; install it with: pip install 'streamer[mqtt]'"
            ) from None
        self._paho: Any = paho
        self._host, self._port = host, port
        self._client_id = client_id or f"streamer-{boot_id[:12]}"
        self._login = (username, password)
        self._tls = tls
        self._base = base
        self._clock = clock
        self._link = Link("mqtt")
        self._messages = Messages(
            boot_id=boot_id, model=model, when=when, max_per_s=max_per_s, tracks=tracks
        )
        self._board = Board(
            base, boot_id=boot_id, off_delay_s=off_delay_s, pause_s=1.0 / max_per_s,
            discovery=discovery, version=version,
        )  # fmt: skip
        self._lock = threading.Lock()  # the board, the client and what waits
        self._client: Client | None = None
        self._unconfirmed: set[int] = set()
        # What paho's thread tells: a client, and the number of a message that was confirmed or why
        # the connection ended; None: stop. Its callbacks hold locks of paho's and must take none.
        self._told: queue.SimpleQueue[tuple[object, int | str] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publish:mqtt-link", daemon=True)
        self._thread.start()

    @property
    def link(self) -> LinkStatus:
        """What the broker does. From any thread."""
        return self._link.status()

    def write(self, outcome: Outcome) -> None:
        """Tell what is new in ``outcome``. It never waits for the broker."""
        now = self._clock()
        with self._lock:
            self._board.outcome(outcome, now)
            self._pass_on(self._messages.faces(outcome, now), "faces")
            self._flush()

    def write_track(self, change: TrackChange) -> None:
        """Tell that a face appeared or left."""
        with self._lock:
            self._pass_on(self._messages.track(change, self._clock()), "tracks")

    def write_change(self, change: CameraChange) -> None:
        """Tell what a camera does from now on."""
        with self._lock:
            self._board.change(change, self._clock())
            self._flush()

    def write_beat(self, beat: Beat) -> None:
        """Tell what came of the time that passed."""
        with self._lock:
            self._board.beat(beat, self._clock())
            self._messages.keep(beat.cameras)
            self._flush()

    def _pass_on(self, message: Message | None, suffix: str) -> None:
        """Send an event now or never: of yesterday nobody wants it. The lock is held."""
        if message is None:
            return
        if self._client is None:
            self._link.lost("not_connected")
        elif len(self._unconfirmed) >= MOST_WAITING:
            self._link.lost("queue_full")
        else:
            name = f"{self._base}/{message.camera}/{suffix}"
            self._send(self._client, name, message.body, retain=False)

    def close(self) -> None:
        """Say goodbye and disconnect, within a few seconds whatever the broker does."""
        self._stopping.set()
        self._told.put(None)
        self._thread.join(_END_S)

    def _flush(self) -> None:
        """Publish what is new on the board, as far as there is room. The lock is held."""
        if self._client is not None:
            for name, value in self._board.take(MOST_WAITING - len(self._unconfirmed)):
                self._send(self._client, name, value, retain=True)

    def _send(self, client: Client, name: str, value: bytes, *, retain: bool) -> None:
        sent = client.publish(name, value, qos=1, retain=retain)
        if sent.rc in (self._paho.MQTT_ERR_SUCCESS, self._paho.MQTT_ERR_NO_CONN):
            self._unconfirmed.add(sent.mid)  # without a connection it is lost with the client
        else:
            self._link.lost("refused")
        self._link.waiting(len(self._unconfirmed))

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began_at = self._clock()
            try:
                trouble = self._live()
            except Exception as error:  # noqa: BLE001 - it goes on, whatever a library raises
                trouble = f"it failed in an unexpected way ({type(error).__name__}: {error})"
            if trouble is None:
                return
            self._link.down(f"{self._host}:{self._port}: {trouble}")
            failures = 1 if self._clock() - began_at > _KEEPALIVE_S else failures + 1
            self._stopping.wait(pause_s(failures))

    def _live(self) -> str | None:
        """One connection, from its beginning to its end; why it ended, or None at a stop."""
        client = self._paho.Client(
            self._paho.CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_S
        client.max_queued_messages_set(2 * MOST_WAITING)
        if self._login[0] is not None:
            client.username_pw_set(*self._login)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.will_set(f"{self._base}/status", b"offline", qos=1, retain=True)

        def connected(_client: object, _data: object, _flags: object, code: Any, _: object) -> None:
            refused = f"the broker does not let us in ({code}); check user and password"
            self._told.put((client, refused if code.is_failure else 0))

        def ended(_client: object, _data: object, _flags: object, code: Any, _: object) -> None:
            why = "" if str(code) == "Unspecified error" else f" ({code})"
            self._told.put((client, f"the connection was lost{why}"))

        def confirmed(_client: object, _data: object, mid: int, _code: Any, _: object) -> None:
            self._told.put((client, mid))

        client.on_connect, client.on_disconnect, client.on_publish = connected, ended, confirmed
        try:
            client.connect(self._host, self._port, keepalive=_KEEPALIVE_S)
        except (OSError, ValueError) as error:  # ssl's errors are OSErrors
            return f"it cannot be reached ({_why(error)})"
        client.loop_start()
        try:
            return self._converse(client)
        finally:
            with self._lock:
                self._client = None
                self._link.lost("unconfirmed", len(self._unconfirmed))
                self._unconfirmed.clear()
                self._link.waiting(0)
            client.disconnect()
            client.loop_stop()

    def _converse(self, client: Client) -> str | None:
        """From being let in to the end; why it ended, or None at a stop."""
        said = self._hear(client, _CONNECT_S)
        if said is None or isinstance(said, str):
            return said
        self._link.up()
        with self._lock:
            self._client = client
            self._send(client, f"{self._base}/status", b"online", retain=True)
            self._board.again()
            self._flush()
        while (said := self._hear(client)) is not None:
            if isinstance(said, str):
                return said
            self._confirm(said)
        with self._lock:
            self._flush()
            self._send(client, f"{self._base}/status", b"offline", retain=True)
            self._client = None
        give_up_at = time.monotonic() + _FAREWELL_S
        while self._unconfirmed and (left_s := give_up_at - time.monotonic()) > 0:
            said = self._hear(client, left_s)
            if not isinstance(said, int):
                break
            self._confirm(said)
        return None

    def _hear(self, client: Client, wait_s: float | None = None) -> int | str | None:
        """What ``client`` tells next, or that it tells nothing in time; None at a stop."""
        while True:
            try:
                told = self._told.get(timeout=wait_s)
            except queue.Empty:
                return "it does not answer as an MQTT broker"
            if told is None:
                return None
            if told[0] is client:
                return told[1]

    def _confirm(self, number: int) -> None:
        with self._lock:
            if number in self._unconfirmed:
                self._unconfirmed.remove(number)
                self._link.delivered()
            self._link.waiting(len(self._unconfirmed))
            self._flush()


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    return str(getattr(error, "strerror", None) or error)
