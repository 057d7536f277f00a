"""Reads a live stream as it comes, whatever decoding takes, so that each picture's age is known.

What is not read waits in the kernel and, when that is full, in the camera; once a machine that
decodes too slowly gets to it, seconds later, nothing tells it from a picture of now. So a thread
of its own reads, which takes a thirtieth of the time of decoding, and notes when each packet came.
When too much waits to be decoded, some is left out up to a key picture.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

LATE_S: Final = 0.6
"""A packet may wait so long to be decoded: what is late then will be later, for a moment of a busy
machine is made up in less, and a result that is to be less than a second old has 0.4 s left."""

IN_TIME_S: Final = 0.3
"""What waits behind a key picture that came no longer ago than this is kept."""


class Silent(Exception):
    """No picture came for as long as that may take."""


class Packet(Protocol):
    """What is looked at of a packet of FFmpeg's."""

    @property
    def size(self) -> int:
        """Bytes; 0 tells a decoder that it is the end."""

    @property
    def stream_index(self) -> int:
        """Which stream of its source it is of."""

    @property
    def is_keyframe(self) -> bool:
        """Whether it can be decoded without those before it."""


P = TypeVar("P", bound=Packet)


class Arrival(NamedTuple, Generic[P]):
    """A packet, when it came by the monotonic clock, and how many before it were left out."""

    packet: P
    came_at: float
    left_out: int = 0


class Arrivals(Generic[P]):
    """Packets of one life's video that wait to be decoded, in their order."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Nothing has come yet; ``clock`` is monotonic."""
        self._clock = clock
        self._change = threading.Condition()
        self._waiting: deque[Arrival[P]] = deque()
        self._left_out = 0
        self._needs_key = False
        self._over = False
        self._error: BaseException | None = None
        self._idle = True
        self._closed = False

    def is_busy(self) -> bool:
        """Whether a packet is being worked off, or waits for that."""
        return not self._idle

    @property
    def leaves_out(self) -> bool:
        """Whether pictures are left out now, for want of a key picture to go on with."""
        return self._needs_key

    def put(self, packet: P) -> None:
        """Take in a packet that came just now; an empty one, the decoder's end, is never lost."""
        with self._change:
            now = self._clock()
            if self._waiting and now - self._waiting[0].came_at > LATE_S:
                self._catch_up(now)
            if self._needs_key and packet.size and not packet.is_keyframe:
                self._left_out += 1
                return
            self._needs_key = False
            self._waiting.append(Arrival(packet, now, self._left_out))
            self._left_out = 0
            self._idle = False
            self._change.notify()

    def _catch_up(self, now: float) -> None:
        """Leave out what waits, but for the newest key picture that is in time and what follows."""
        kept: list[Arrival[P]] = []
        for arrival in reversed(self._waiting):
            if now - arrival.came_at > IN_TIME_S:
                break
            kept.append(arrival)
            if arrival.packet.is_keyframe:
                break
        if not kept or not kept[-1].packet.is_keyframe:
            kept = []
        missing = self._left_out + sum(1 + each.left_out for each in self._waiting)
        self._waiting = deque(reversed(kept))
        missing -= len(kept)
        if kept:
            self._waiting[0] = self._waiting[0]._replace(left_out=missing)
        self._left_out = 0 if kept else missing
        self._needs_key = not kept

    def follow(
        self, packets: Iterable[P], stream: int, is_over: Callable[[], bool]
    ) -> Generator[Arrival[P]]:
        """Packets of the stream of this number, read by a thread of its own, which ends with this.

        Raises what ``packets`` does, behind the last of them; and :class:`Silent` when none of
        them is to be worked off and ``is_over`` says that this was so for long enough.
        """
        reader = threading.Thread(
            target=self._read,
            args=(packets, stream, is_over),
            name=f"{threading.current_thread().name}:read",
            daemon=True,
        )
        reader.start()
        try:
            while (arrival := self._take()) is not None:
                yield arrival
                del arrival  # do not keep a packet alive while waiting for the next
            if self._error is not None:
                raise self._error
        finally:
            self._closed = True
            reader.join()
            self._error = None  # it holds the reader's frame, which holds this

    def _read(self, packets: Iterable[P], stream: int, is_over: Callable[[], bool]) -> None:
        try:
            for packet in packets:
                if self._closed:
                    break
                if packet.stream_index == stream:
                    self.put(packet)
                if self._idle and is_over():  # sound comes, or nothing that can be decoded
                    raise Silent
                del packet  # do not keep it alive while waiting for the next
        except BaseException as failed:  # noqa: BLE001 - it is raised by who iterates
            self._error = failed
        with self._change:
            self._over = True
            self._change.notify()

    def _take(self) -> Arrival[P] | None:
        with self._change:
            while not self._waiting and not self._over:
                self._idle = True
                self._change.wait()
            return self._waiting.popleft() if self._waiting else None
