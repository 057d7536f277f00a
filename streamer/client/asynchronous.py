"""The same subscription for programs that run an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType

import zmq

from streamer.client.connection import Connection
from streamer.client.handshake import keys_of
from streamer.client.notices import Notice
from streamer.client.reading import E, Reading
from streamer.client.subscribe import topics_of
from streamer.client.wire import Event


class AsyncSubscription(Reading[E], AsyncIterator[E]):
    """Events as they come; made by :func:`subscribe_async`. Use it as a context, in one task.

    Iterating waits for the next event without blocking the loop, and ends after :meth:`close`.
    A wait that is cancelled loses no event.
    """

    def __init__(
        self, endpoint: str, connection: Connection, *, timeout_s: float | None, notices: bool
    ) -> None:
        """Wait with ``connection``; use :func:`subscribe_async`."""
        super().__init__(endpoint, connection, timeout_s=timeout_s, notices=notices)
        self._woken: asyncio.Future[None] | None = None

    async def __anext__(self) -> E:
        """The next event, or notice where they were asked for.

        Raises ``StopAsyncIteration`` once closed, and :class:`NothingHeard` when none came within
        ``timeout_s``, by a clock that never jumps. Raises :class:`NotAdmitted`, once, where the
        publisher wants a key, another key or none; it is dialled again all the same.
        """
        give_up_at = self._give_up_at()
        while not self._connection.closed:
            event, wait_s = self._step(give_up_at)
            if event is not None:
                return event
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
