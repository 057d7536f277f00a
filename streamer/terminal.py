"""Words to the person at the terminal, and the exit codes. Broken outputs are nobody's crash."""

from __future__ import annotations

import errno
import os
import sys
import threading
from typing import Final, NoReturn

import typer

from streamer.errors import StreamerError
from streamer.log import get_logger

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 2
EXIT_EXPOSED: Final = 78
"""Others could reach what has no lock: nothing was started (``EX_CONFIG`` of sysexits.h)."""

EXIT_DEVICE: Final = 70
"""The GPU is lost: only a new process can use it again."""


def complain(sentence: str) -> None:
    """Say what went wrong, and what to do, on standard error."""
    try:
        print(f"streamer: {sentence}", file=sys.stderr)  # noqa: T201 - this is where people look
    except OSError:
        pass  # nobody can be told; the exit code says it


def print_line(text: str) -> None:
    """Print at once. Ends the program well when the reader (head, say) has seen enough."""
    try:
        print(text, flush=True)  # noqa: T201 - the one place that prints results
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(EXIT_OK) from None


def leave(code: int) -> NoReturn:
    """End the process now, by ``os._exit``.

    A thread that will not end is inside a library, and Python's own way out would take that
    library apart under it: the process would then die of a signal.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads it any more
    os._exit(code)


def end(code: int) -> NoReturn:
    """End the process with ``code``: Python's own way, unless one was left behind in FFmpeg.

    FFmpeg asks PyAV every 0.1 s whether to go on waiting. Asked in a process that Python has taken
    apart already, PyAV dies of a signal (seen twice in 30 stops on a machine under heavy load).
    """
    inside = ("capture:", "restream:")
    if any(thread.name.startswith(inside) for thread in threading.enumerate()):
        leave(code)
    sys.exit(code)


def complain_of_stage(error: Exception) -> None:
    """Say what a stage raised: a sentence, or a traceback where streamer is at fault."""
    where = "; ".join(getattr(error, "__notes__", ()))
    if isinstance(error, StreamerError):
        complain(f"{error} ({where})")
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
        complain(f"{error.strerror} {where}; make room, or give the output another place")
    else:
        get_logger("app").error("stage_crashed", where=where, exc_info=error)
        complain(f"{type(error).__name__} {where}: this is a fault of streamer, please report it")
