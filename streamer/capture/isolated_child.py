"""What runs in the process of an isolated camera: one life of its source, frames into a ring.

It is started as a file by :mod:`streamer.capture.isolate` and given three file descriptors: the
control socket, the ring and the lifeline. What it may import, what to make and every secret come
through the socket; its arguments and its environment hold none. It writes no log.

Messages to the program are one byte and a rest: ``FRAME`` (see :func:`ring.pack`), ``LOST`` and
``BROKEN`` (reason, line end, words) and ``END``. The program answers nothing; when it closes its
side, the source is asked to stop.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import resource
import select
import signal
import socket
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, cast

if TYPE_CHECKING:
    from collections.abc import Generator

    from streamer.capture.ring import Ring
    from streamer.protocols import Source
    from streamer.types import Frame

FRAME: Final = b"F"
LOST: Final = b"L"
BROKEN: Final = b"B"
END: Final = b"E"

MAX_MESSAGE: Final = 1 << 17
"""Longest message either way, bytes; the first, with ``sys.path``, is the longest."""

MAX_WORDS: Final = 500
"""Longest sentence about a loss, characters."""

BEAT_S: Final = 0.5
"""Seconds between two signs of life."""

_WAIT_S: Final = 0.002  # how often a file looks for a free slot; nothing can wake it up

_OOM_SCORE: Final = 500  # of -1000 to 1000: when memory runs out, the decoder goes first


class Orders(TypedDict):
    """The first and only message to the child, pickled. ``make`` is pickled once more."""

    path: list[str]
    make: bytes
    live: bool
    slots: int
    max_pixels: int
    memory_limit: int


def die_with(lifeline: int) -> None:
    """Be killed by the kernel when the other end of the pipe ``lifeline`` is closed.

    So it ends with the program however that ends, even while it is stopped or hangs in C. Unlike
    PR_SET_PDEATHSIG this goes by the process, not by the thread that started the child.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | fcntl.FASYNC)
    poll = select.poll()
    poll.register(lifeline, 0)
    if poll.poll(0):  # it was closed before the kernel was told
        os._exit(1)


def confine(memory_limit: int) -> None:
    """Bound what this process may do to the machine: its private memory, in bytes, and its core.

    A core would hold the password, and writing it delays the next start.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = memory_limit if hard == resource.RLIM_INFINITY else min(memory_limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    except OSError:
        pass  # a container may hide /proc: then the kernel chooses by size alone


def watch(control: socket.socket, ring: Ring, stop: threading.Event) -> None:
    """Give signs of life until the program closes its side of ``control``, then set ``stop``.

    It also ends the process when the program is gone and another process holds its descriptors.
    """
    parent = os.getppid()
    poll = select.poll()
    poll.register(control, select.POLLIN | select.POLLRDHUP)
    while True:
        ring.beat += 1
        if poll.poll(1000 * BEAT_S) and not stop.is_set():
            stop.set()
            poll.unregister(control)
        if os.getppid() != parent:
            os._exit(1)


def feed(
    source: Source, ring: Ring, control: socket.socket, *, live: bool, stop: threading.Event
) -> None:
    """Hand over one life of ``source``. Raises what the source raises.

    With no slot free, a camera's frame is dropped and counted; a file waits.
    """
    from streamer.capture.planes import Locator
    from streamer.capture.ring import pack

    locator = Locator()
    frames = cast("Generator[Frame]", source.frames(stop))
    owed = 0  # left out before frames that were dropped themselves
    try:
        with closing(frames):
            for frame in frames:
                ring.decode_errors = getattr(source, "decode_errors", 0)
                slot = ring.free_slot()
                while slot is None and not live and not stop.wait(_WAIT_S):
                    slot = ring.free_slot()
                owed += frame.left_out
                if slot is None:
                    ring.dropped += 1
                else:
                    stored = ring.store(slot, frame, locator.location(frame.picture))
                    control.send(FRAME + pack(replace(stored, left_out=owed)))
                    owed = 0
                del frame  # do not hold a picture while waiting for the next
    finally:
        ring.left_out = owed + getattr(source, "left_out", 0)


def one_life(orders: Orders, ring: Ring, control: socket.socket, stop: threading.Event) -> bytes:
    """Make the source, feed the ring from it, and return the last message."""
    from streamer.errors import SourceLost
    from streamer.types import redact

    source: Source | None = None
    try:
        source = pickle.loads(orders["make"])()  # noqa: S301 - written by the program
        feed(source, ring, control, live=orders["live"], stop=stop)
    except SourceLost as lost:
        words = redact(str(lost))[:MAX_WORDS]  # in this order: half a URL looks like none
        return LOST + f"{lost.reason}\n{words}".encode()
    except Exception as error:  # noqa: BLE001 - a bug in a source costs its camera only
        # Its text may hold a secret: the class and the place have to do.
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        assert place is not None  # noqa: S101 - it was raised
        file = Path(place.tb_frame.f_code.co_filename).name
        words = f"{type(error).__name__} in {file}, line {place.tb_lineno}"
        return BROKEN + f"\n{words[:MAX_WORDS]}".encode()
    finally:
        ring.decode_errors = getattr(source, "decode_errors", 0)
    return END


def main(control_fd: int, ring_fd: int, lifeline: int) -> None:
    """Be the child: live once and leave, without the interpreter's own farewells."""
    die_with(lifeline)
    for quiet in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(quiet, signal.SIG_IGN)  # they go to all processes; the program decides
    control = socket.socket(fileno=control_fd)
    orders: Orders = pickle.loads(control.recv(MAX_MESSAGE))  # noqa: S301 - from the program
    confine(orders["memory_limit"])
    sys.path[:] = orders["path"]
    from streamer.capture.ring import Ring

    ring = Ring(ring_fd, slots=orders["slots"], max_pixels=orders["max_pixels"])
    os.close(ring_fd)
    stop = threading.Event()
    threading.Thread(target=watch, args=(control, ring, stop), daemon=True).start()
    control.send(one_life(orders, ring, control, stop))
    os._exit(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
