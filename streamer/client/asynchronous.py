"""The same subscription for programs that run an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar, cast

import zmq

from streamer.client.connection import Connection
from streamer.client.handshake import keys_of
from streamer.client.notices import Notice
from streamer.client.subscribe import NOTICES, NothingHeard, topics_of
from streamer.client.wire import Event
from streamer.heartbeat_events import HeartbeatEvent

E = TypeVar("E", bound=Event | Notice | HeartbeatEvent)


class AsyncSubscription(AsyncIterator[E], Generic[E]):
    """Events as they come; made by :func:`subscribe_async`. Use it as a context, in one task.

    Iterating waits for the next event without blocking the loop, and ends after :meth:`close`.
    A wait that is cancelled loses no event.
    """

    def __init__(
        self, endpoint: str, connection: Connection, *, timeout_s: float | None, notices: bool
    ) -> None:
        """Wait with ``connection``; use :func:`subscribe_async`."""
        self._endpoint = endpoint
        self._connection = connection
        self._timeout_s = timeout_s
        self._notices = notices
        self._woken: asyncio.Future[None] | None = None

    @property
    def malformed(self) -> int:
        """Messages that were not events and were passed over. Above 0, ask who publishes there."""
        return self._connection.malformed

    @property
    def lost(self) -> int:
        """Messages that were published and did not come: the sum of all gaps."""
        return self._connection.sequences.lost

    async def __anext__(self) -> E:
        """The next event, or notice where they were asked for.

        Raises ``StopAsyncIteration`` once closed, and :class:`NothingHeard` when none came within
        ``timeout_s``, by a clock that never jumps. Raises :class:`NotAdmitted`, once, where the
        publisher wants a key, another key or none; it is dialled again all the same.
        """
        ready = self._connection.sequences.ready
        timeout_ms = ceil((self._timeout_s or 0.0) * 1000)
        give_up_at = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        while not self._connection.closed:
            while ready:
                event = ready.popleft()
                if self._notices or not isinstance(event, NOTICES):
                    return cast("E", event)  # the topics that were asked for decide
            wait_s = self._connection.pump()
            if ready:
                continue
            if (refusal := self._connection.refusal()) is not None:
                raise refusal
            if give_up_at is not None:
                left_s = give_up_at - time.monotonic()
                if left_s <= 0:
                    raise NothingHeard(
                        f"nothing came from {self._endpoint} within {timeout_ms} ms; "
                        "check that streamer runs there and that the camera's name is right"
                    )
                wait_s = left_s if wait_s is None else min(wait_s, left_s)
            await self._wait(wait_s)
        raise StopAsyncIteration

    async def _wait(self, wait_s: float | None) -> None:
        """Until a socket may have something, :meth:`close`, or ``wait_s`` seconds."""
        sockets = self._connection.sockets
        # A socket's file descriptor tells of changes only: what came while the other socket was
        # read, or while a question was sent, must be looked for.
        if any(int(one.getsockopt(zmq.EVENTS)) & zmq.POLLIN for one in sockets):
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        woken = self._woken = loop.create_future()
        watched = [one.fileno() for one in sockets]
        timer = None if wait_s is None else loop.call_later(wait_s, _wake, woken)
        try:
            for one in watched:
                loop.add_reader(one, _wake, woken)
            await woken
        finally:
            for one in watched:
                loop.remove_reader(one)
            if timer is not None:
                timer.cancel()
            self._woken = None

    def close(self) -> None:
        """Disconnect, at once; iterating then ends. Another task of the loop may call it too."""
        if self._woken is not None:
            loop = self._woken.get_loop()
            for one in self._connection.sockets:
                loop.remove_reader(one.fileno())
            _wake(self._woken)
        self._connection.close()

    async def __aenter__(self) -> AsyncSubscription[E]:
        """The subscription itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def subscribe_async(
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
) -> AsyncSubscription[Event | Notice]:
    """As :func:`streamer.client.subscribe.subscribe`, to be read with ``async for``."""
    told = replay is not None if notices is None else notices
    connection = Connection(
        endpoint,
        topics_of(cameras, changes=changes, tracks=tracks),
        replay=replay,
        heartbeats=told or replay is not None,
        keys=keys_of(server_key, key),
    )
    return AsyncSubscription(endpoint, connection, timeout_s=timeout_s, notices=told)
