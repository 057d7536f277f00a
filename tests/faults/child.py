"""Runs streamer with something broken inside: ``python -m tests.faults.child FAULT run CONFIG``.

The product knows no switch for faults. So the fault is put in from outside, before it starts.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from streamer.types import Faces, Picture


def slow() -> None:
    """Each look of the detector takes 12 ms longer: a model too large for this machine."""
    _around_detect(lambda: time.sleep(0.012))


def pausable() -> None:
    """SIGUSR1 stops the detector for 4 seconds, whatever it was about to look at."""
    until = 0.0

    def pause(_number: int, _frame: FrameType | None) -> None:
        nonlocal until
        until = time.monotonic() + 4.0

    signal.signal(signal.SIGUSR1, pause)
    _around_detect(lambda: time.sleep(max(0.0, until - time.monotonic())))


def hanging_names() -> None:
    """Looking up a name never ends, as with a resolver that does not answer."""
    usual = socket.getaddrinfo

    def hang(host: Any, *rest: Any, **named: Any) -> Any:
        if str(host).endswith(".test"):
            threading.Event().wait()
        return usual(host, *rest, **named)

    socket.getaddrinfo = hang


def stuck() -> None:
    """SIGUSR1: decoding of network cameras hangs, as C may, with no timeout; again: it goes on."""
    from streamer.capture.pyav import PyAvSource

    goes_on = threading.Event()
    goes_on.set()
    usual = PyAvSource._decode

    def toggle(_number: int, _frame: FrameType | None) -> None:
        (goes_on.clear if goes_on.is_set() else goes_on.set)()

    def decode(self: PyAvSource, *what: Any) -> Any:
        goes_on.wait()
        return usual(self, *what)

    signal.signal(signal.SIGUSR1, toggle)
    PyAvSource._decode = decode  # type: ignore[method-assign]


def leaking() -> None:
    """Every look of the detector leaves 200 bytes behind: 29 MB an hour at 40 a second."""
    kept: list[bytes] = []
    _around_detect(lambda: kept.append(bytes(200)))


def _around_detect(before: Any) -> None:
    from streamer.inference.detector import RetinaFace

    usual = RetinaFace.detect

    def detect(self: RetinaFace, pictures: Sequence[Picture]) -> list[Faces]:
        before()
        return usual(self, pictures)

    RetinaFace.detect = detect  # type: ignore[method-assign]


FAULTS = {each.__name__: each for each in (slow, pausable, hanging_names, stuck, leaking)}


def main() -> None:
    """Break what the first argument names, then be streamer with the rest."""
    FAULTS[sys.argv.pop(1)]()
    from streamer.cli.commands import main as streamer

    streamer()


if __name__ == "__main__":
    main()
