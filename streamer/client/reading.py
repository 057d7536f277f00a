"""What all ways of reading events share: which come next, and how long to wait for them."""

from __future__ import annotations

import time
from math import ceil
from typing import Generic, TypeVar, cast

from streamer.client.connection import Connection
from streamer.client.notices import Gap, Notice, Restarted, Resumed, Stale, Stopped
from streamer.client.wire import Event
from streamer.errors import StreamerError
from streamer.heartbeat_events import HeartbeatEvent

NOTICES = (Gap, Restarted, Resumed, Stale, Stopped)
"""The types of notices."""

E = TypeVar("E", bound=Event | Notice | HeartbeatEvent)


class NothingHeard(StreamerError, TimeoutError):
    """No event came within the time given. The text names the endpoint."""

    def __init__(self, endpoint: str, timeout_s: float) -> None:
        """Nothing came from ``endpoint`` in ``timeout_s`` seconds."""
        super().__init__(
            f"nothing came from {endpoint} within {ceil(timeout_s * 1000)} ms; "
            "check that streamer runs there and that the camera's name is right"
        )


class Reading(Generic[E]):
    """Events of one connection, one after the other. Who waits for them, and how, is not here."""

    def __init__(
        self, endpoint: str, connection: Connection, *, timeout_s: float | None, notices: bool
    ) -> None:
        """Read from ``connection``; ``timeout_s`` bounds the wait for each event."""
        self._endpoint = endpoint
        self._connection = connection
        self._timeout_s = timeout_s
        self._notices = notices

    @property
    def malformed(self) -> int:
        """Messages that were not events and were passed over. Above 0, ask who publishes there."""
        return self._connection.malformed

    @property
    def lost(self) -> int:
        """Messages that were published and did not come: the sum of all gaps."""
        return self._connection.sequences.lost

    def _give_up_at(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s

    def _step(self, give_up_at: float | None) -> tuple[E | None, float | None]:
        """The next event if it is there, or None and how many seconds to wait for a socket.

        None seconds are for ever. Raises :class:`NothingHeard` after ``give_up_at``, and what
        refuses us.
        """
        sequences = self._connection.sequences
        wait_s: float | None = 0.0
        if not sequences.ready:
            wait_s = self._connection.pump()
        while sequences.ready:
            event = sequences.ready.popleft()
            if self._notices or not isinstance(event, NOTICES):
                return cast("E", event), 0.0  # the topics that were asked for decide
            wait_s = 0.0
        if (refusal := self._connection.refusal()) is not None:
            raise refusal
        if self._timeout_s is not None and give_up_at is not None:
            left_s = give_up_at - time.monotonic()
            if left_s <= 0:
                raise NothingHeard(self._endpoint, self._timeout_s)
            wait_s = left_s if wait_s is None else min(wait_s, left_s)
        return None, wait_s
