"""What bridges have in common that hold each event until the other end has confirmed it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from streamer.publish.link import Link
from streamer.publish.messages import Message, Messages
from streamer.publish.outbox import Outbox
from streamer.status import LinkStatus
from streamer.types import Beat, CameraChange, Outcome, TrackChange


class HoldingSink(ABC):
    """Makes results, changes and tracks into messages and holds them. It never waits.

    Who sends them is a thread of the bridge's own; it reads ``outbox`` and is told by
    :meth:`_wake`. ``clock`` is in seconds.
    """

    def __init__(
        self, link: Link, messages: Messages, outbox: Outbox, clock: Callable[[], float]
    ) -> None:
        """Hold nothing yet."""
        self._link = link
        self._messages = messages
        self._outbox = outbox
        self._clock = clock

    @property
    def link(self) -> LinkStatus:
        """What the other end does. From any thread."""
        return self._link.status()

    def write(self, outcome: Outcome) -> None:
        """Hold one result where it is wanted."""
        self._hold(self._messages.faces(outcome, self._clock()))

    def write_track(self, change: TrackChange) -> None:
        """Hold that a face appeared or left."""
        self._hold(self._messages.track(change, self._clock()))

    def write_change(self, change: CameraChange) -> None:
        """Hold what a camera does from now on."""
        self._hold(self._messages.change(change, self._clock()))

    def write_beat(self, beat: Beat) -> None:
        """Forget cameras that are gone."""
        self._messages.keep(beat.cameras)

    def _hold(self, message: Message | None) -> None:
        if message is None:
            return
        self._link.lost("queue_full", self._outbox.put(message))
        self._link.waiting(len(self._outbox))
        self._wake()

    @abstractmethod
    def _wake(self) -> None:
        """Tell who sends that there is something to send."""
