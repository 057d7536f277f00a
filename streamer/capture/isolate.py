"""Runs a source in a process of its own, so that what breaks in it costs one camera only.

A decoder that crashes, leaks or hangs in C takes its process with it and nothing else; the next
life gets a new process. ``Reconnecting`` is around it as around any camera, and its waits are the
crash-loop breaker: after a minute of health a crashed decoder is started again within half a
second, and one that crashes again and again is left alone for longer each time.

The process is started by ``exec``, never by a bare fork (decoder threads and fork hang), and is
told what to make through a socket: no secret is in its arguments or its environment. Frames come
back through a :class:`streamer.capture.ring.Ring`. What it says is data, never pickles: a decoder
that a hostile stream took over must not reach further than its own process.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeAlias, get_args

from streamer.capture import isolated_child
from streamer.capture.isolated_child import BEAT_S, BROKEN, END, FRAME, LOST, MAX_WORDS, Orders
from streamer.capture.planes import Developer
from streamer.capture.ring import Ring, unpack
from streamer.errors import LossReason, SourceLost
from streamer.protocols import Source
from streamer.types import Frame, redact

SourceSpec: TypeAlias = Callable[[], Source]
"""How to make a source, fit to be pickled: ``partial(make_source, url, camera=…)``, say."""

START_S: Final = 20.0
"""A child has so long to load its libraries before its silence counts; 0.2 s is usual."""

GRACE_S: Final = 0.4
"""Seconds a child has to say goodbye to its camera after a stop, before it is killed."""

MOST_LEFT_OUT: Final = 100_000
"""A child that says it left out more pictures in the end is not believed."""

POLL_S: Final = 0.1
"""Longest wait before ``stop`` and the signs of life are looked at."""

MAX_REPLY: Final = 4096
"""Longest message of a child, bytes."""

KEPT: Final = frozenset({
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONHOME",
    "RES_OPTIONS", "SSL_CERT_FILE", "SSL_CERT_DIR",
})  # fmt: skip
"""Variables of the environment that are passed on to a child; others may hold secrets."""


class Isolated:
    """A :class:`streamer.protocols.Source` around one that lives in a child process.

    ``dropped_in_child`` counts frames that found no free slot in the ring, because whoever reads
    was late: their indices are missing, by which the ledger counts them (``ring_full``).
    ``decode_errors`` is the source's own count. Both are over all lives.
    """

    def __init__(
        self,
        make: SourceSpec,
        *,
        camera: str,
        live: bool,
        slots: int = 8,
        max_pixels: int = 4096 * 2160,
        hang_s: float = 5.0,
        silence_s: float = 30.0,
        memory_limit: int = 1 << 30,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``make`` is called in the child; ``live`` must be what the source it makes says.

        A child that gives no sign of life for ``hang_s``, or no frame for ``silence_s`` although
        its source should have given up by itself, is killed. ``slots`` is how many
        pictures may wait for the reader, 2 to 64; ``memory_limit`` is in bytes of the child's
        private memory. Of ``environ`` the child sees only what :data:`KEPT` names. Raises
        ``ValueError`` when ``make`` cannot be pickled or a number is out of range.
        """
        if hang_s < 4 * BEAT_S or silence_s < hang_s:
            raise ValueError(f"hang_s is at least {4 * BEAT_S:g}, and silence_s at least hang_s")
        try:
            self._make = pickle.dumps(make)
        except (pickle.PicklingError, AttributeError, TypeError):
            raise ValueError("make cannot be pickled; use partial(make_source, ...)") from None
        os.close(Ring.create(slots=slots, max_pixels=max_pixels))  # its objections, now
        self.live = live
        self.camera = camera
        self._slots = slots
        self._max_pixels = max_pixels
        self._hang_s = hang_s
        self._silence_s = silence_s
        self._memory_limit = memory_limit
        kept = {name: value for name, value in (environ or {}).items() if name in KEPT}
        self._environ = {**kept, "OPENBLAS_NUM_THREADS": "1"}  # numpy starts none for nothing
        self._clock = clock
        self.left_out = 0  # pictures, as of PyAvSource
        # The child, and dropped frames and decode errors before it: changed together, so that
        # another thread never sees a counter go back.
        self._now: tuple[_Child | None, int, int] = (None, 0, 0)

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        child = self._now[0]
        return None if child is None else child.process.pid

    @property
    def dropped_in_child(self) -> int:
        """Frames that found no free slot, over all lives."""
        child, dropped, _ = self._now
        return dropped + (0 if child is None else child.ring.dropped)

    @property
    def decode_errors(self) -> int:
        """Packets that gave no picture, over all lives."""
        child, _, errors = self._now
        return errors + (0 if child is None else child.ring.decode_errors)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """One life of the source in a new child: its frames, with its numbers and instants.

        Pictures stay readable when the child is gone. After ``stop`` it takes at most a second.
        Raises :class:`streamer.errors.SourceLost`: as the source does, ``error`` when the child
        crashed or could not be started, ``stall`` when it was silent.
        """
        self.left_out = 0
        if stop.is_set():
            return
        child = self._start()
        lost: SourceLost | None = None
        try:
            self._now = (child, *self._now[1:])
            lost = yield from self._read(child, stop)
        finally:
            child.close()
            self.left_out = min(child.ring.left_out, MOST_LEFT_OUT)
            self._now = (None, self.dropped_in_child, self.decode_errors)
        del child  # whoever keeps the loss keeps these variables, and must not keep the ring
        if lost is not None:
            raise lost

    def _start(self) -> _Child:
        orders = Orders(
            path=sys.path,
            make=self._make,
            live=self.live,
            slots=self._slots,
            max_pixels=self._max_pixels,
            memory_limit=self._memory_limit,
        )
        try:
            return _Child(orders, self._environ)
        except OSError as error:
            full = error.errno in (errno.EMFILE, errno.ENFILE)
            remedy = "raise the limit of open files (ulimit -n)" if full else "free some memory"
            words = f"no decoder process could be started ({error.strerror}); {remedy}"
        raise SourceLost("error", f"{self.camera}: {words}")

    def _read(
        self, child: _Child, stop: threading.Event
    ) -> Generator[Frame, None, SourceLost | None]:
        """Yield the frames of ``child``; return why it ended, or None."""
        developer = Developer()
        asked_at = heard_at = self._clock()
        beat = 0
        while not stop.is_set():
            message = child.receive()
            now = self._clock()
            if message[:1] == FRAME:
                try:
                    frame, picture = child.ring.take(unpack(message[1:]), self.camera, developer)
                except ValueError:
                    return self._nonsense()
                if child.ring.is_short():
                    picture.keep()  # many pictures are held unseen; the camera must go on
                yield frame
                del frame, picture  # do not hold a picture while waiting for the next
                asked_at = heard_at = self._clock()
            elif message:
                return None if message == END else self._loss(message)
            elif child.ended:
                if stop.is_set():
                    break
                return SourceLost("error", f"the decoder process of {self.camera} {child.end()}")
            else:
                if child.ring.beat != beat:
                    asked_at = asked_at if beat else now  # its start is not the camera's silence
                    beat, heard_at = child.ring.beat, now
                silent = now - heard_at >= (self._hang_s if beat else max(START_S, self._hang_s))
                if silent or (beat and now - asked_at >= self._silence_s):
                    child.kill()
                    return SourceLost(
                        "stall", self._silent(now - (heard_at if silent else asked_at))
                    )
        return None

    def _loss(self, message: bytes) -> SourceLost:
        """What the child said last, if it makes sense."""
        reason, _, words = message[1:].decode(errors="replace").partition("\n")
        words = "".join(c if c.isprintable() else "?" for c in redact(words)[:MAX_WORDS])
        if message[:1] == BROKEN:
            return SourceLost(
                "error",
                f"the decoder process of {self.camera} failed with {words}; it is started again, "
                "and if that repeats report it as a fault of streamer",
            )
        for known in get_args(LossReason):
            if message[:1] == LOST and reason == known:
                return SourceLost(known, words)
        return self._nonsense()

    def _nonsense(self) -> SourceLost:
        return SourceLost(
            "error",
            f"the decoder process of {self.camera} said what cannot be; it is ended and started "
            "again, and if that repeats do not trust that camera",
        )

    def _silent(self, quiet_s: float) -> str:
        return (
            f"the decoder process of {self.camera} was silent for {quiet_s:.1f} s and is ended; "
            "it is started again, and if that repeats check the load of this machine"
        )


class _Child:
    """A child process and all that leads to it. Closed by the thread that reads from it."""

    def __init__(self, orders: Orders, environ: Mapping[str, str]) -> None:
        """Start it. Raises ``OSError`` when the machine has no room for it."""
        self.ended = False
        size = {"slots": orders["slots"], "max_pixels": orders["max_pixels"]}
        with ExitStack() as ours, ExitStack() as theirs:
            ring = Ring.create(**size)
            theirs.callback(os.close, ring)
            self.ring = Ring(ring, **size)
            self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.callback(self._control.close)
            theirs.callback(control.close)
            lifeline, self._lifeline = os.pipe()
            ours.callback(os.close, self._lifeline)
            theirs.callback(os.close, lifeline)
            passed = (control.fileno(), ring, lifeline)
            self.process = subprocess.Popen(  # noqa: S603 - this Python, and numbers
                [sys.executable, "-P", str(Path(isolated_child.__file__)), *map(str, passed)],
                pass_fds=passed,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # FFmpeg's words may hold the password
                process_group=0,  # Ctrl-C is for the program alone
            )
            self._control.settimeout(POLL_S)
            self._ours = ours.pop_all()
        try:
            self._control.send(pickle.dumps(orders))
        except OSError:
            pass  # it died already; receive() tells

    def receive(self) -> bytes:
        """The next message; nothing when none came within 0.1 s or, once :attr:`ended`, ever."""
        try:
            message = self._control.recv(MAX_REPLY)
        except TimeoutError:
            return b""
        except OSError:
            message = b""  # it died without reading its orders
        self.ended = not message
        return message

    def end(self) -> str:
        """How it ended, as the end of a sentence; it is killed if it only said goodbye."""
        try:
            code = self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return "closed its end; it is ended and started again; if that repeats report it"
        again = "it is started again, and if that repeats"
        if code >= 0:
            return f"ended with code {code}; {again} check this installation of streamer"
        try:
            name = signal.Signals(-code).name.removeprefix("SIG")
        except ValueError:
            name = str(-code)
        if -code == signal.SIGKILL:
            return f"was killed (signal KILL); {again} check the memory of this machine"
        return f"crashed (signal {name}); {again} try another codec or stream of the camera"

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def close(self) -> None:
        """Ask it to end, wait a little, end it, and let go of all but the mapped ring."""
        with self._ours:
            try:
                self._control.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it is gone
            try:
                self.process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self.kill()
                try:
                    self.process.wait(GRACE_S)
                except subprocess.TimeoutExpired:
                    pass  # in a system call that cannot be broken off: reaped at a later start
