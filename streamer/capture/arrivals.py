"""Reads a live stream as it comes, whatever decoding takes, so that each picture's age is known.

What is not read waits in the kernel and, when that is full, in the camera; once a machine that
decodes too slowly gets to it, seconds later, nothing tells it from a picture of now. So a thread
of its own reads, which takes a thirtieth of the time of decoding, and notes when each packet came.
When too much waits to be decoded, some is left out up to a key picture.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from streamer.capture.ffmpeg import Patience
from streamer.errors import SourceLost

LATE_S: Final = 0.5
"""A packet may wait so long to be decoded ..."""

LASTING_S: Final = 0.2
"""... and more for so long: what a moment of a busy machine leaves is decoded in less. A result
that is to be less than a second old has 0.3 s left."""

MOST_BYTES: Final = 32_000_000
"""Bytes that may wait, however late they may be: a file on a web server comes all at once."""

BUSY_S: Final = 0.25
"""Whoever decodes and is not done so long after something came is busy."""


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

    def __init__(
        self, clock: Callable[[], float], *, until_at: float = math.inf, late_s: float = LATE_S
    ) -> None:
        """Nothing has come yet; ``clock`` is monotonic, ``late_s`` how long a packet may wait.

        ``patience`` is how long the next may take to come: until the instant ``until_at``, which
        whoever works them off moves.
        """
        self.patience = Patience(clock, until_at=until_at, busy=self.is_busy)
        self._clock = clock
        self._late_s = late_s
        self._change = threading.Condition()
        self._waiting: deque[Arrival[P]] = deque()
        self._bytes = 0
        self._late_since: float | None = None
        self._left_out = 0
        self._needs_key = False
        self._over = False
        self._closed = False
        self._error: BaseException | None = None
        self._busy_since: float | None = None  # when what is worked off came

    def is_busy(self) -> bool:
        """Whether something is being worked off, or waits for that, that came a while ago."""
        with self._change:
            since = self._busy_since
            if since is None and self._waiting:
                since = self._waiting[0].came_at
        return since is not None and self._clock() - since >= BUSY_S

    @property
    def leaves_out(self) -> bool:
        """Whether pictures are left out now, for want of a key picture to go on with."""
        return self._needs_key

    @property
    def left_out(self) -> int:
        """Packets that were left out and that none came behind."""
        return self._left_out

    def put(self, packet: P) -> None:
        """Take in a packet that came just now; an empty one, the decoder's end, is never lost."""
        with self._change:
            now = self._clock()
            if self._is_too_much(now):
                self._catch_up(now)
            if self._needs_key and packet.size and not packet.is_keyframe:
                self._left_out += 1
                return
            self._needs_key = False
            self._waiting.append(Arrival(packet, now, self._left_out))
            self._bytes += packet.size
            self._left_out = 0
            self._change.notify_all()

    def settle(self) -> None:
        """Wait until nothing is to be worked off, but no longer than a picture should take."""
        with self._change:
            self._change.wait_for(self._is_idle, BUSY_S)

    def _is_idle(self) -> bool:
        return self._busy_since is None and not self._waiting

    def _is_too_much(self, now: float) -> bool:
        if not self._waiting or now - self._waiting[0].came_at <= self._late_s:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        lasting = self._late_since is not None and now - self._late_since >= LASTING_S
        return lasting or self._bytes > MOST_BYTES

    def _catch_up(self, now: float) -> None:
        """Leave out what waits, but for the newest key picture that is in time and what follows."""
        kept: deque[Arrival[P]] = deque()
        for arrival in reversed(self._waiting):
            if now - arrival.came_at > self._late_s / 2:
                break
            kept.appendleft(arrival)
            if arrival.packet.is_keyframe:
                break
        if self._bytes > MOST_BYTES or not (kept and kept[0].packet.is_keyframe):
            kept.clear()
        missing = self._left_out + sum(1 + each.left_out for each in self._waiting) - len(kept)
        if kept:
            kept[0] = kept[0]._replace(left_out=missing)
        self._waiting = kept
        self._bytes = sum(each.packet.size for each in kept)
        self._left_out = 0 if kept else missing
        self._needs_key = not kept
        self._late_since = None

    def follow(
        self, packets: Iterable[P], stream: int, stop: threading.Event
    ) -> Generator[Arrival[P]]:
        """Packets of the stream of this number, read by a thread of its own, which ends with this.

        They end with ``packets`` and by ``stop``. Raises what ``packets`` does, behind the last of
        them; :class:`Silent` when none is to be worked off and the patience is over; and
        :class:`streamer.errors.SourceLost` when this machine gives no more threads.
        """
        reader = threading.Thread(
            target=self._read,
            args=(packets, stream, stop),
            name=f"{threading.current_thread().name}:read",
            daemon=True,
        )
        try:
            reader.start()
        except RuntimeError:
            raise SourceLost(
                "error",
                "this machine gives streamer no more threads; allow it more (pids.max, ulimit -u)",
            ) from None
        try:
            while (arrival := self._take()) is not None:
                yield arrival
                del arrival  # do not keep a packet alive while waiting for the next
            if self._error is not None:
                raise self._error
        finally:
            self._closed = True
            _wait_for(reader)
            self._error = None  # it holds the reader's frame, which holds this

    def _read(self, packets: Iterable[P], stream: int, stop: threading.Event) -> None:
        try:
            for packet in packets:
                if self._closed or stop.is_set():
                    break
                if packet.stream_index == stream:
                    self.put(packet)
                # Sound comes, or nothing that can be decoded.
                if self._is_idle() and self.patience.is_over():
                    raise Silent
                del packet  # do not keep it alive while waiting for the next
        except BaseException as failed:  # noqa: BLE001 - it is raised by who iterates
            self._error = failed
        with self._change:
            self._over = True
            self._change.notify_all()

    def _take(self) -> Arrival[P] | None:
        with self._change:
            while not self._waiting and not self._over:
                self._busy_since = None
                self._change.notify_all()
                self._change.wait()
            if not self._waiting:
                return None
            arrival = self._waiting.popleft()
            self._bytes -= arrival.packet.size
            self._busy_since = arrival.came_at
            return arrival


def _wait_for(thread: threading.Thread) -> None:
    """Wait until it has ended, whatever interrupts this: what it reads is closed next."""
    interrupted: BaseException | None = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted is not None:
        raise interrupted
