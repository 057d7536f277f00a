"""Log lines: for people in a terminal, JSON otherwise. The only door to structlog.

An event has a stable snake_case name and keyword values; docs/logs.md lists them. Every string
that leaves passes :func:`streamer.types.redact`, so a URL that slips into a message loses its
password there. What is said again and again is said seldom, with the number that was left out.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO

import structlog

from streamer.types import SourceUrl, redact

BURST: Final = 30
"""Lines of one event, of one camera, that may come at once."""

EVERY_S: Final = 5.0
"""After those, one of them in so many seconds."""

MOST_KEYS: Final = 1024
"""Events, each of a camera, that are counted at one time; beyond that the oldest begin anew."""


class Seldom:
    """Lets a line that is repeated without end pass now and then: one fault cannot fill a disk.

    A line that passes says in ``left_out`` how many like it (the same stage, event and camera)
    did not. A structlog processor, to be used from any thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, ...], tuple[float, float, int]] = OrderedDict()

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """The line, or ``structlog.DropEvent`` where there were too many."""
        key = tuple(str(event.get(name, "")) for name in ("stage", "event", "camera"))
        now = self._clock()
        with self._lock:
            room, at, left_out = self._seen.pop(key, (float(BURST), now, 0))
            room = min(float(BURST), room + (now - at) / EVERY_S)
            passes = room >= 1
            self._seen[key] = (room - 1, now, 0) if passes else (room, now, left_out + 1)
            if len(self._seen) > MOST_KEYS:
                self._seen.popitem(last=False)
        if not passes:
            raise structlog.DropEvent
        return {**event, "left_out": left_out} if left_out else event


class _FromLibraries(logging.Handler):
    """Takes what libraries say by Python's own ``logging`` into our lines, warnings and worse."""

    def emit(self, record: logging.LogRecord) -> None:
        log = get_logger("library")
        error = record.exc_info[1] if record.exc_info else None
        said = {"name": record.name, "text": record.getMessage(), "exc_info": error}
        if record.levelno >= logging.ERROR:
            log.error("library_says", **said)
        else:
            log.warning("library_says", **said)


def _redact_values(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    return {key: _redacted(value) for key, value in event.items()}


def _redacted(value: Any) -> Any:
    if isinstance(value, SourceUrl):
        return str(value)
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


class _StandardError:
    """Standard error as it is at each write, since a live table takes its place for a while.

    When nobody can be told (it is closed, its reader is gone, its disk is full) the line is lost
    and the cameras go on: a log collector that ends must not end them.
    """

    def write(self, text: str) -> int:
        try:
            return sys.stderr.write(text) if sys.stderr is not None else 0
        except (OSError, ValueError):
            return 0

    def flush(self) -> None:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):
            pass

    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()


def _in_reading_order(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    first = {name: event.pop(name) for name in ("timestamp", "level", "stage", "event")
             if name in event}  # fmt: skip
    return {**first, **event}


def configure(stream: TextIO | None = None, *, json: bool | None = None) -> None:
    """Send log lines to ``stream`` (standard error), as JSON unless it is a terminal.

    What libraries say by Python's ``logging`` goes there too, as the event ``library_says``.
    """
    out: Any = stream or _StandardError()
    as_json = not out.isatty() if json is None else json
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=out.isatty(), pad_event_to=24, exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            Seldom(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_values,
            _in_reading_order,
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [each for each in root.handlers if not isinstance(each, _FromLibraries)]
    root.addHandler(_FromLibraries(logging.WARNING))


def get_logger(stage: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry ``stage``; use it as ``log.warning("camera_lost", camera=…)``."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(stage=stage)
    return logger
