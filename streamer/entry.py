"""The first thing that runs: it looks after signals before anything heavy is loaded.

Loading the rest takes some tenths of a second. In a container streamer is PID 1, to which the
kernel gives no signal that it has no handler for: a stop that came in that time would be lost.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

LONG_RUNNING: Final = ("run", "demo")
"""The commands that a signal ends as asked, with exit code 0."""


def main() -> None:
    """Run the command line; a signal while it loads ends the program at once.

    That is exit code 0 for :data:`LONG_RUNNING`, until ``StopSignals`` takes over; others keep
    Python's own ways, but that Ctrl-C while loading (130) prints no traceback. A signal that is
    ignored (nohup) stays ignored.
    """
    if sys.argv[1:2] and sys.argv[1] in LONG_RUNNING:
        _leave_at(STOPPING, 0)
        from streamer.cli.commands import main as command_line
    else:
        usual = signal.getsignal(signal.SIGINT)
        _leave_at((signal.SIGINT,), 128 + signal.SIGINT)
        from streamer.cli.commands import main as command_line

        signal.signal(signal.SIGINT, usual)
    command_line()


def _leave_at(numbers: tuple[signal.Signals, ...], code: int) -> None:
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            # Not by an exception: a library that is half loaded may swallow it.
            signal.signal(number, lambda *_: os._exit(code))
