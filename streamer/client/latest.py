"""For programs slower than the cameras: only what is newest, always."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from types import TracebackType

import zmq

from streamer.client.connection import Connection
from streamer.client.handshake import NotAdmitted, keys_of
from streamer.client.notices import Restarted, Resumed, Stale, Stopped
from streamer.client.reading import NothingHeard
from streamer.client.subscribe import topics_of
from streamer.client.wire import Event

_MAX_NOTICES = 16


class Latest(Iterator["Event | Restarted | Resumed | Stale | Stopped"]):
    """The newest event of each topic that was not taken yet; made by :func:`latest`.

    A thread of its own listens, so that what one takes is new however long one was busy. Topics
    take turns. Use it as a context; iterating ends after :meth:`close`.
    """

    def __init__(
        self, endpoint: str, connection: Connection, *, timeout_s: float | None, notices: bool
    ) -> None:
        """Begin to listen; use :func:`latest`."""
        self._endpoint = endpoint
        self._connection = connection
        self._timeout_s = timeout_s
        self._notices = notices
        self._told: deque[Restarted | Resumed | Stale | Stopped] = deque(maxlen=_MAX_NOTICES)
        self._newest: dict[tuple[type, str], Event] = {}
        self._skipped = 0
        self._failure: BaseException | None = None
        self._refusal: NotAdmitted | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._stopped, self._stopping = socket.socketpair()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._listen, name="client:latest", daemon=True)
        self._thread.start()

    @property
    def malformed(self) -> int:
        """Messages that were not events and were passed over. Above 0, ask who publishes there."""
        return self._connection.malformed

    @property
    def skipped(self) -> int:
        """Events that a newer one took the place of, and those lost on the way."""
        return self._skipped + self._connection.sequences.lost

    def __next__(self) -> Event | Restarted | Resumed | Stale | Stopped:
        """The newest event of the topic whose turn it is, or a notice where asked for.

        Raises ``StopIteration`` once closed, and :class:`NothingHeard` when none came within
        ``timeout_s``, by a clock that never jumps. Raises :class:`NotAdmitted`, once, where the
        publisher wants a key, another key or none; it is dialled again all the same.
        """
        with self._changed:
            if not self._changed.wait_for(self._anything, self._timeout_s):
                raise NothingHeard(self._endpoint, self._timeout_s or 0.0)
            if self._refusal is not None:
                refusal, self._refusal = self._refusal, None
                raise refusal
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise StopIteration
            if self._told:
                return self._told.popleft()
            return self._newest.pop(next(iter(self._newest)))

    def _anything(self) -> bool:
        wrong = self._failure is not None or self._refusal is not None
        return bool(self._told or self._newest or self._closed or wrong)

    def _listen(self) -> None:
        poller = zmq.Poller()
        for one in self._connection.sockets:
            poller.register(one, zmq.POLLIN)
        poller.register(self._stopped.fileno(), zmq.POLLIN)
        try:
            while True:
                wait_s = self._connection.pump()
                ready = self._connection.sequences.ready
                if ready:
                    with self._changed:
                        while ready:
                            self._take(ready.popleft())
                        self._changed.notify()
                    wait_s = 0.0
                elif (refusal := self._connection.refusal()) is not None:
                    with self._changed:
                        self._refusal = refusal
                        self._changed.notify()
                timeout_ms = None if wait_s is None else ceil(wait_s * 1000)
                if self._stopped.fileno() in dict(poller.poll(timeout_ms)):
                    return
        except Exception as error:  # noqa: BLE001 (it is raised where somebody reads)
            with self._changed:
                self._failure = error
                self._changed.notify()
        finally:
            self._connection.close()

    def _take(self, event: object) -> None:
        if isinstance(event, Restarted):  # what the old run said last is news no more
            self._newest.clear()
        if isinstance(event, Restarted | Resumed | Stale | Stopped):
            if self._notices:
                self._told.append(event)
        elif isinstance(event, Event):
            key = type(event), event.camera
            self._skipped += key in self._newest
            self._newest[key] = event  # keeps its turn: who waits longest comes first

    def close(self) -> None:
        """Disconnect; iterating then ends. From any thread; called twice it does nothing more."""
        if os.getpid() != self._pid:  # a copy, after os.fork: all that it has is the parent's
            self._closed = True
            return
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._stopping.send(b".")
        self._thread.join()
        self._stopped.close()
        self._stopping.close()

    def __enter__(self) -> Latest:
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


def latest(
    endpoint: str,
    cameras: Sequence[str] | None = None,
    *,
    replay: str | None = None,
    changes: bool = False,
    notices: bool = False,
    timeout_s: float | None = None,
    server_key: str | Path | None = None,
    key: str | Path | None = None,
) -> Latest:
    """Only the newest event of each camera, for those who cannot keep up or need not.

    With ``replay`` the last event of each topic is there at once. Otherwise as
    :func:`streamer.client.subscribe.subscribe`; there are no gaps to tell of.
    """
    connection = Connection(
        endpoint,
        topics_of(cameras, changes=changes),
        replay=replay,
        heartbeats=notices or replay is not None,
        fills=False,
        keys=keys_of(server_key, key),
    )
    return Latest(endpoint, connection, timeout_s=timeout_s, notices=notices)
