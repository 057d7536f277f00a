"""How log lines are printed where streamer.log was not asked to do it, as in most tests."""

from __future__ import annotations

import sys
from contextlib import suppress

import structlog


class Printer:
    """Writes as structlog's own does, and keeps hold of what it writes to.

    pytest puts another ``sys.stdout`` in place for each test while cameras log in their threads.
    ``print()`` of CPython 3.11 keeps no reference to the one before, and ends the process there.
    """

    def msg(self, message: str) -> None:
        """Write a line, which is lost where pytest has closed what it was for."""
        out = sys.stdout
        with suppress(ValueError):
            out.write(message + "\n")

    log = debug = info = warn = warning = error = err = critical = fatal = failure = exception = msg


def print_safely() -> None:
    """As structlog.reset_defaults(), with a :class:`Printer`."""
    structlog.reset_defaults()
    structlog.configure(logger_factory=lambda *_: Printer())
