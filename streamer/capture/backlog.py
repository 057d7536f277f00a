"""How old a live picture is by the time it is decoded, where decoding does not keep up.

What a camera has sent waits in the kernel until it is read. When the machine is too slow that
grows to seconds, and each picture that comes out of it would pass for a new one. Two things tell:
how far the stream's own time lags behind ours, compared with the last moment at which nothing
waited, and the kernel, which says how many bytes wait. Alone the first is not to be trusted
(cameras whose clock runs slow are common), and the second says nothing of seconds.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

BEHIND_S: Final = 0.4
"""Seconds by which pictures may be late before something is done about it ..."""

LASTING_S: Final = 0.5
"""... once that has lasted so long. What a moment of a busy machine leaves is decoded in less."""

LITTLE: Final = 128
"""Bytes that may wait, with those of one picture, although all was read: a sender's report."""

BEGINNING_S: Final = 2.0
"""FFmpeg itself keeps the first pictures while it looks what the stream is: so long, nothing that
waits in the kernel does not mean that nothing waits."""

NEWS: Final = 1 / 16
"""What the size of one picture adds to the average."""

_FILES: Final = Path("/proc/self/fd")


class Backlog:
    """Tells how late pictures of one life are, and which to leave out to catch up.

    ``waiting`` says how many bytes wait to be read, None where that cannot be known: then nothing
    is late.
    """

    def __init__(self, waiting: Callable[[], int | None]) -> None:
        """Nothing has come yet."""
        self._waiting = waiting
        self._picture_bytes = 0.0
        self._lag_s: float | None = None  # of our time behind the stream's, when nothing waited
        self._empty_at = 0.0
        self._sure_at: float | None = None  # from then on nothing that waits means just that
        self._sure = False  # whether that was seen
        self._newest_s: float | None = None
        self._late_s = 0.0
        self._late_since: float | None = None
        self._left_out = 0
        self.leaves_out = False
        """Whether pictures are left out now."""

    def late_s(self, now: float, pts_s: float | None, size: int) -> float:
        """Seconds that a picture waited before it was decoded, at least 0.

        ``now``: the instant at which it was; ``pts_s``: its own time in seconds; ``size``: bytes
        of the packet it came from. From one picture to the next, ``now`` less this never goes back.
        """
        self._picture_bytes += (size - self._picture_bytes) * (NEWS if self._picture_bytes else 1)
        newest_s, self._newest_s = self._newest_s, pts_s
        if self._sure_at is None:
            self._sure_at = now + BEGINNING_S
        if self._is_read():
            self._empty_at, late_s = now, 0.0
            self._sure |= now >= self._sure_at
            self._lag_s = None if pts_s is None else now - pts_s
        elif pts_s is None or self._lag_s is None or newest_s is None or pts_s <= newest_s:
            late_s = self._late_s  # its time says nothing, stands or leaps back
            self._lag_s = None if pts_s is None else now - pts_s - late_s
        else:
            self._lag_s = min(self._lag_s, now - pts_s)
            # What waits came after the last moment at which nothing did.
            late_s = min(now - pts_s - self._lag_s, now - self._empty_at)
        self._late_s = late_s
        if late_s < BEHIND_S:
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now
        return late_s

    def gives_up(self, now: float) -> bool:
        """Whether to leave out pictures from here on: they are late, and that will not pass."""
        self.leaves_out = self._late_since is not None and now - self._late_since >= LASTING_S
        return self.leaves_out

    def passes(self, now: float, pts_s: float | None, *, key: bool) -> bool:
        """Whether to decode this picture; while some are left out, that ends at a key picture.

        It does when that is in time again. ``pts_s`` as for :meth:`late_s`.
        """
        if self.leaves_out:
            late_s = 0.0 if pts_s is None or self._lag_s is None else now - pts_s - self._lag_s
            if key and ((self._sure and late_s < BEHIND_S) or self._is_read()):
                self.leaves_out, self._sure, self._late_since = False, True, None
            else:
                self._left_out += 1
        return not self.leaves_out

    def left_out(self) -> int:
        """Pictures that were left out since this was asked last."""
        count, self._left_out = self._left_out, 0
        return count

    def _is_read(self) -> bool:
        waiting = self._waiting()
        return waiting is None or waiting <= LITTLE + self._picture_bytes


class Unread:
    """The connection that FFmpeg opened to a camera, and how many bytes of it wait to be read.

    FFmpeg does not say which it is: it is the one of this process that leads to the camera's
    address and that no other camera has. Where two cameras of one address were dialled at the same
    moment it may be either: then the lesser counts. A context manager.
    """

    _taken: Final[set[int]] = set()
    _lock: Final = threading.Lock()

    def __init__(self, addresses: Collection[str], port: int) -> None:
        """Look for it, once it is open. ``addresses`` are what the camera's name means."""
        with self._lock:
            found = {
                inode: number
                for inode, number in _sockets_to(addresses, port).items()
                if inode not in self._taken
            }
            self._own = set(found) if len(found) == 1 else set()
            self._taken.update(self._own)
        self._found = found

    def __enter__(self) -> Unread:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._taken.difference_update(self._own)

    def bytes(self) -> int | None:
        """Bytes that came and were not read; None where that is not known."""
        least = None
        for inode, number in self._found.items():
            with suppress(OSError):
                if os.fstat(number).st_ino != inode:  # closed, and another has its number
                    continue
                answer = fcntl.ioctl(number, termios.FIONREAD, b"\0\0\0\0")
                waiting = struct.unpack("i", answer)[0]
                least = waiting if least is None else min(least, waiting)
        return least


def _sockets_to(addresses: Collection[str], port: int) -> dict[int, int]:
    """Inode and number of each connection of this process that leads there."""
    found: dict[int, int] = {}
    entries = list(_FILES.iterdir()) if addresses and _FILES.is_dir() else []
    for entry in entries:
        with suppress(OSError):  # closed meanwhile, or connected to nobody
            if not (link := str(entry.readlink())).startswith("socket:["):
                continue
            peer = _peer(os.dup(int(entry.name)))
            if peer[1:2] == (port,) and peer[0].removeprefix("::ffff:") in addresses:
                found[int(link[8:-1])] = int(entry.name)
    return found


def _peer(number: int) -> tuple[Any, ...]:
    """Address and port at the other end of a socket, which is closed; empty unless it is TCP."""
    try:
        with socket.socket(fileno=number) as same:
            if same.family not in (socket.AF_INET, socket.AF_INET6):
                return ()
            peer: tuple[Any, ...] = same.getpeername()
            return peer
    except OSError:
        with suppress(OSError):
            os.close(number)  # it was no socket any more
        raise
