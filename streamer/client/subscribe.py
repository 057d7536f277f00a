"""Hears the events that a running streamer publishes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import ceil
from types import TracebackType
from typing import Final, Generic, Literal, TypeVar, cast, overload

import zmq

from streamer.errors import StreamerError
from streamer.events import (
    CAMERA_TOPICS,
    TOPICS,
    CameraEvent,
    FacesEvent,
    MalformedEvent,
    camera_topic,
    decode,
    decode_camera,
    topic,
)

_OPTIONS: Final = {
    zmq.RCVHWM: 1000,  # messages kept while the program is busy; then the newest are lost
    zmq.MAXMSGSIZE: 1024 * 1024,  # bytes; an event of 1000 faces has a quarter of it
    zmq.LINGER: 0,
    zmq.RECONNECT_IVL: 100,  # ms, doubled at each try up to the next
    zmq.RECONNECT_IVL_MAX: 2000,
    zmq.HEARTBEAT_IVL: 2000,  # ms between pings, so that a publisher that died unseen is let go
    zmq.HEARTBEAT_TIMEOUT: 6000,
    zmq.TCP_KEEPALIVE: 1,
}


class CannotSubscribe(StreamerError, ValueError):
    """The endpoint is not one that can be connected to."""


class NothingHeard(StreamerError, TimeoutError):
    """No event came within the time given. The text names the endpoint."""


_CAMERA = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


E = TypeVar("E", bound=FacesEvent | CameraEvent)


class Subscription(Iterator[E], Generic[E]):
    """Events as they come; made by :func:`subscribe`. Use it as a context, in one thread.

    Iterating waits for the next event, across restarts of the publisher, and ends after
    :meth:`close`. Ctrl-C breaks the waiting as it breaks anything else.
    """

    def __init__(self, endpoint: str, topics: Sequence[bytes], *, timeout_s: float | None) -> None:
        """Connect; use :func:`subscribe`."""
        self._endpoint = endpoint
        self._timeout_ms = None if timeout_s is None else ceil(timeout_s * 1000)
        self._malformed = 0
        self._context = zmq.Context()
        try:
            self._socket = self._context.socket(zmq.SUB)
            for option, value in _OPTIONS.items():
                self._socket.setsockopt(option, value)
            self._socket.setsockopt(zmq.IPV6, int(endpoint.startswith("tcp://[")))
            for prefix in topics:
                self._socket.subscribe(prefix)
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._context.destroy(linger=0)
            shown = endpoint.rpartition("@")[2]  # whatever stands before an @ may be a password
            raise CannotSubscribe(
                f"cannot connect to {shown} ({zmq.strerror(error.errno or 0)}); "
                "write tcp://HOST:PORT or ipc:///path/to/socket"
            ) from None

    @property
    def malformed(self) -> int:
        """Messages that were not events and were passed over. Above 0, ask who publishes there."""
        return self._malformed

    def __next__(self) -> E:
        """The next event.

        Raises ``StopIteration`` once closed, and :class:`NothingHeard` when no event came within
        ``timeout_s`` (by ZeroMQ's own clock, anew for each message).
        """
        while not self._context.closed:
            if not self._socket.poll(self._timeout_ms):
                raise NothingHeard(
                    f"nothing came from {self._endpoint} within {self._timeout_ms} ms; "
                    "check that streamer runs there and that the camera's name is right"
                )
            parts = self._socket.recv_multipart()
            try:
                heard_topic, body = parts
                event = _event(heard_topic, body)
            except ValueError:  # a MalformedEvent is one, and so is a wrong number of parts
                self._malformed += 1
            else:
                return cast("E", event)  # the topics that were asked for decide
        raise StopIteration

    def close(self) -> None:
        """Disconnect, at once; iterating then ends. Called twice it does nothing more."""
        if not self._context.closed:
            self._socket.close(linger=0)
            self._context.term()

    def __enter__(self) -> Subscription[E]:
        """The subscription itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _event(heard_topic: bytes, body: bytes) -> FacesEvent | CameraEvent:
    """The event in a message. Raises ``ValueError`` when topic and body do not fit."""
    if heard_topic.startswith(CAMERA_TOPICS):
        change = decode_camera(body)
        fits = heard_topic == camera_topic(change.camera)
        event: FacesEvent | CameraEvent = change
    else:
        event = decode(body)
        fits = heard_topic == topic(event.camera)
    if not fits:
        raise MalformedEvent("the topic names another camera than the event")
    return event


@overload
def subscribe(
    endpoint: str,
    cameras: Sequence[str] | None = None,
    *,
    timeout_s: float | None = None,
    changes: Literal[False] = False,
) -> Subscription[FacesEvent]: ...


@overload
def subscribe(
    endpoint: str,
    cameras: Sequence[str] | None = None,
    *,
    timeout_s: float | None = None,
    changes: Literal[True],
) -> Subscription[FacesEvent | CameraEvent]: ...


def subscribe(
    endpoint: str,
    cameras: Sequence[str] | None = None,
    *,
    timeout_s: float | None = None,
    changes: bool = False,
) -> Subscription[FacesEvent] | Subscription[FacesEvent | CameraEvent]:
    """Hear the events of ``cameras``, or of all cameras when it is None.

    ``endpoint`` is where streamer publishes, as ``tcp://127.0.0.1:5555``. It need not be there
    yet: connecting goes on in the background, and what was published before is not heard.
    ``timeout_s`` bounds the wait for each message, seconds; None waits for ever. With ``changes``
    it also gives a :class:`streamer.events.CameraEvent` whenever a camera is lost, is live again
    or otherwise does something else than before. Raises ``ValueError`` for names that cannot be a
    camera's and :class:`CannotSubscribe` for an endpoint that cannot be one.
    """
    if isinstance(cameras, str) or (cameras is not None and not cameras):
        raise ValueError("cameras must be a list of names such as ['door'], or None for all")
    for camera in cameras or ():
        if not _CAMERA.fullmatch(camera):
            raise ValueError(f"{camera!r} cannot be a camera's name; see the configuration")
    topics = [TOPICS] if cameras is None else [topic(camera) for camera in cameras]
    if changes:
        topics += [CAMERA_TOPICS] if cameras is None else [camera_topic(c) for c in cameras]
        return Subscription[FacesEvent | CameraEvent](endpoint, topics, timeout_s=timeout_s)
    return Subscription[FacesEvent](endpoint, topics, timeout_s=timeout_s)
