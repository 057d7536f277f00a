"""Follows the configuration file of a running program: cameras change as the file does."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from streamer.app import App
from streamer.config import load_config
from streamer.errors import ConfigError
from streamer.log import get_logger

EVERY_S = 1.0
"""Seconds between two looks at the file. Editors replace files, and network and container
mounts tell nobody, so looking is surer than waiting to be told."""

log = get_logger("config")


def follow(path: Path, app: App, environ: Mapping[str, str], stop: threading.Event) -> None:
    """Apply every change of ``path`` to ``app`` until ``stop``.

    A file that is wrong, gone, or changes what cannot change while running is refused with the
    reasons in the log, and what was in force stays.
    """
    seen = _fingerprint(path)
    while not stop.wait(EVERY_S):
        now = _fingerprint(path)
        if now == seen:
            continue
        seen = now
        try:
            done = app.roster.apply(load_config(path, environ))
        except ConfigError as error:
            log.error("config_refused", file=str(path), problems=list(error.problems))
        else:
            log.info("config_applied", file=str(path), **done)


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
