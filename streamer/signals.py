"""SIGINT, SIGTERM and SIGHUP: the first ends the program in order, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from streamer.entry import STOPPING


class StopSignals:
    """Turns signals into a stop, from the moment it is made, on the main thread.

    Python runs its signal handlers on the main thread, between two of its steps. A signal that
    comes just before that thread blocks is seen only when it wakes again, which may be never: two
    signals in a row lost a stop in one of three tries, measured. So the interpreter's own C
    handler writes each signal's number into a pipe, and a thread that does nothing else reads it.

    It takes over from ``streamer.entry``, which looks after signals while the program loads.
    Until :meth:`end_with` is called there is nothing to end in order: a signal ends the program
    with exit code 0.
    """

    def __init__(self) -> None:
        """Begin to listen. A signal that is ignored (nohup) stays ignored."""
        self._stop: Callable[[], None] | None = None
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        threading.Thread(target=self._listen, args=(reading,), name="signals", daemon=True).start()

    def end_with(self, stop: Callable[[], None]) -> None:
        """From now on the first signal calls ``stop``, which may be called on any thread."""
        self._stop = stop

    def _listen(self, reading: int) -> None:
        asked = False
        while number := os.read(reading, 1):
            if number[0] not in STOPPING:
                continue
            if self._stop is None:
                os._exit(0)  # nothing has begun, and a library may be half loaded
            if asked:
                os._exit(128 + number[0])
            asked = True
            self._stop()
