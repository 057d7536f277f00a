"""Hears the events that a running streamer publishes."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from socket import socketpair
from types import TracebackType
from typing import Literal, overload

import zmq

from streamer.client.connection import CannotSubscribe, Connection
from streamer.client.handshake import NotAdmitted, keys_of
from streamer.client.notices import Notice
from streamer.client.reading import E, NothingHeard, Reading
from streamer.client.wire import Event
from streamer.events import CAMERA_TOPICS, TOPICS, FacesEvent, camera_topic, topic
from streamer.track_events import TRACK_TOPICS, track_topic

__all__ = [
    "CannotSubscribe",
    "NotAdmitted",
    "NothingHeard",
    "Subscription",
    "subscribe",
    "topics_of",
]


_CAMERA = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Subscription(Reading[E], Iterator[E]):
    """Events as they come; made by :func:`subscribe`. Use it as a context, in one thread.

    Iterating waits for the next event, across restarts of the publisher, and ends after
    :meth:`close`, which any thread may call. Ctrl-C breaks the waiting as it breaks anything else.
    """

    def __init__(
        self, endpoint: str, connection: Connection, *, timeout_s: float | None, notices: bool
    ) -> None:
        """Wait with ``connection``; use :func:`subscribe`."""
        super().__init__(endpoint, connection, timeout_s=timeout_s, notices=notices)
        self._poller = zmq.Poller()
        for socket in connection.sockets:
            self._poller.register(socket, zmq.POLLIN)
        self._pid = os.getpid()
        self._using = threading.RLock()  # held while it iterates
        self._iterating = self._ending = False
        self._stopped, self._stopping = socketpair()
        self._poller.register(self._stopped.fileno(), zmq.POLLIN)

    @property
    def waiting_bytes(self) -> int:
        """Memory of events that wait for what is before them to be replayed."""
        return self._connection.sequences.waiting_bytes

    def __next__(self) -> E:
        """The next event, or notice where they were asked for.

        Raises ``StopIteration`` once closed, and :class:`NothingHeard` when none came within
        ``timeout_s``, by a clock that never jumps. Raises :class:`NotAdmitted`, once, where the
        publisher wants a key, another key or none; it is dialled again all the same.
        """
        give_up_at = self._give_up_at()
        with self._using:
            self._iterating = True
            try:
                while not self._ending:
                    event, wait_s = self._step(give_up_at)
                    if event is not None:
                        return event
                    self._poller.poll(None if wait_s is None else ceil(wait_s * 1000))
            finally:
                self._iterating = False
                if self._ending:
                    self._let_go()
        raise StopIteration

    def close(self) -> None:
        """Disconnect, at once; iterating then ends. From any thread; twice does nothing more."""
        if os.getpid() != self._pid:  # a copy, after os.fork: all that it has is the parent's
            self._ending = True
            return
        if not self._ending:
            with suppress(OSError):  # another thread closed it meanwhile
                self._stopping.send(b".")
            self._ending = True
        with self._using:
            if not self._iterating:  # else it is a signal's handler, in the thread that iterates
                self._let_go()

    def _let_go(self) -> None:
        self._connection.close()
        self._stopped.close()
        self._stopping.close()

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


def topics_of(cameras: Sequence[str] | None, *, changes: bool, tracks: bool = False) -> list[bytes]:
    """The topics to subscribe to. Raises ``ValueError`` for names that cannot be a camera's."""
    if isinstance(cameras, str) or (cameras is not None and not cameras):
        raise ValueError("cameras must be a list of names such as ['door'], or None for all")
    for camera in cameras or ():
        if not _CAMERA.fullmatch(camera):
            raise ValueError(f"{camera!r} cannot be a camera's name; see the configuration")
    topics = [TOPICS] if cameras is None else [topic(camera) for camera in cameras]
    if changes:
        topics += [CAMERA_TOPICS] if cameras is None else [camera_topic(c) for c in cameras]
    if tracks:
        topics += [TRACK_TOPICS] if cameras is None else [track_topic(c) for c in cameras]
    return topics


@overload
def subscribe(
    endpoint: str,
    cameras: Sequence[str] | None = None,
    *,
    replay: None = None,
    changes: Literal[False] = False,
    tracks: Literal[False] = False,
    notices: Literal[False] | None = None,
    timeout_s: float | None = None,
    server_key: str | Path | None = None,
    key: str | Path | None = None,
) -> Subscription[FacesEvent]: ...


@overload
def subscribe(
    endpoint: str,
    cameras: Sequence[str] | None = None,
    *,
    replay: None = None,
    changes: bool = ...,
    tracks: bool = ...,
    notices: Literal[False] | None = None,
    timeout_s: float | None = None,
    server_key: str | Path | None = None,
    key: str | Path | None = None,
) -> Subscription[Event]: ...


@overload
def subscribe(
    endpoint: str,
    cameras: Sequence[str] | None = None,
    *,
    replay: str | None = None,
    changes: Literal[False] = False,
    tracks: Literal[False] = False,
    notices: bool | None = None,
    timeout_s: float | None = None,
    server_key: str | Path | None = None,
    key: str | Path | None = None,
) -> Subscription[FacesEvent | Notice]: ...


@overload
def subscribe(
    endpoint: str,
    cameras: Sequence[str] | None = None,
    *,
    replay: str | None = None,
    changes: bool = ...,
    tracks: bool = ...,
    notices: bool | None = None,
    timeout_s: float | None = None,
    server_key: str | Path | None = None,
    key: str | Path | None = None,
) -> Subscription[Event | Notice]: ...


def subscribe(
    endpoint: str,
    cameras: Sequence[str] | None = None,
    *,
    replay: str | None = None,
    changes: bool = False,
    tracks: bool = False,
    notices: bool | None = None,
    timeout_s: float | None = None,
    server_key: str | Path | None = None,
    key: str | Path | None = None,
) -> (
    Subscription[FacesEvent]
    | Subscription[Event]
    | Subscription[FacesEvent | Notice]
    | Subscription[Event | Notice]
):
    """Hear the events of ``cameras``, or of all cameras when it is None.

    ``endpoint`` is where streamer publishes, as ``tcp://127.0.0.1:5555``, and ``replay`` where it
    answers those who missed something. Neither need be there yet: connecting goes on in the
    background. With ``replay`` the last event of each topic comes first, and what is lost on the
    way is asked for and comes in its place; without, nothing published before is heard.

    ``notices`` says whether what could not be had is told too, as :class:`Gap`,
    :class:`Restarted`, :class:`Stale` and :class:`Resumed` among the events; None: where
    ``replay`` is given. With ``changes`` it also gives a :class:`streamer.events.CameraEvent`
    whenever a camera is lost, is live again or otherwise does something else than before, and
    with ``tracks`` a :class:`streamer.track_events.TrackEvent` whenever a face appears, looks
    better than before, or leaves. ``timeout_s`` bounds the wait for each event, seconds; None
    waits for ever.

    ``server_key`` (the publisher's ``NAME.key``, or the key itself) and ``key`` (the file of your
    own, ``NAME.key_secret``) are for a publisher with keys, made with ``streamer keys new``.

    Raises ``ValueError`` for names that cannot be a camera's, :class:`streamer.keys.BadKey` for
    keys that cannot be read, and :class:`CannotSubscribe` for an endpoint that cannot be one.
    """
    told = replay is not None if notices is None else notices
    topics = topics_of(cameras, changes=changes, tracks=tracks)
    connection = Connection(
        endpoint,
        topics,
        replay=replay,
        heartbeats=told or replay is not None,
        keys=keys_of(server_key, key),
    )
    return Subscription[Event | Notice](endpoint, connection, timeout_s=timeout_s, notices=told)
