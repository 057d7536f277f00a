"""Log lines: for people in a terminal, JSON otherwise. The only door to structlog.

An event has a stable snake_case name and keyword values. Every string that leaves passes
:func:`streamer.types.redact`, so a URL that slips into a message loses its password there.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from streamer.types import SourceUrl, redact


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
    """Send log lines to ``stream`` (standard error), as JSON unless it is a terminal."""
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


def get_logger(stage: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry ``stage``; use it as ``log.warning("camera_lost", camera=…)``."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(stage=stage)
    return logger
