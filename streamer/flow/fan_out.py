"""Every outcome out to many sinks, none of which can hold up another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from streamer.flow.channel import Channel, ChannelStats, Closed

T = TypeVar("T")


class FanOut(Generic[T]):
    """Every item to every sink, through a bounded channel of its own for each."""

    def __init__(self) -> None:
        """Make a fan without sinks."""
        self._outlets: list[tuple[Channel[T], Callable[[T], T] | None, bool]] = []

    def add(
        self,
        channel: Channel[T],
        *,
        prepare: Callable[[T], T] | None = None,
        vital: bool = True,
    ) -> None:
        """Add a sink's channel before the first :meth:`put`.

        ``prepare`` makes what this sink gets (a copy without pictures, say). When the reader of
        a channel that is not ``vital`` is gone, its items count as dropped and nobody else is
        disturbed; when it is vital, :meth:`put` raises :class:`Closed`.
        """
        self._outlets.append((channel, prepare, vital))

    def put(self, item: T) -> None:
        """Give ``item`` to every channel.

        Raises :class:`Closed` when a vital reader is gone, but offers the item to all the others
        first, so that every channel counts the same items.
        """
        gone: str | None = None  # a name, not the error: an error kept here would keep the item
        for channel, prepare, vital in self._outlets:
            try:
                channel.put(prepare(item) if prepare else item)
            except Closed:
                if vital:
                    gone = channel.name
        if gone is not None:
            raise Closed(gone)

    def close(self) -> None:
        """Close every channel."""
        for channel, _, _ in self._outlets:
            channel.close()

    def stats(self) -> list[ChannelStats]:
        """A reading of every channel, in the order they were added."""
        return [channel.stats() for channel, _, _ in self._outlets]
