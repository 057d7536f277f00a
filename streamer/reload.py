"""Follows the configuration file of a running program: cameras change as the file does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from streamer.config import Config, load_config
from streamer.errors import ConfigError
from streamer.log import get_logger
from streamer.yaml_file import Unreadable

EVERY_S: Final = 0.5
"""Seconds between two looks at the file. Editors replace files, and network and container
mounts tell nobody, so looking is surer than waiting to be told."""

STILL: Final = 4
"""Looks in a row that must find an edit unchanged: 2 s. Half a file, cut at the end of a line,
can be a good configuration with cameras missing."""

Fingerprint: TypeAlias = tuple[int, ...] | None

log = get_logger("config")


def fingerprint(path: Path) -> Fingerprint:
    """What changes whenever the file at ``path`` does, links followed; None when there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def follow(
    path: Path,
    apply: Callable[[Config], Mapping[str, list[str]]],
    environ: Mapping[str, str],
    stop: threading.Event,
    *,
    seen: Fingerprint,
    every_s: float = EVERY_S,
) -> None:
    """Give every edit of ``path`` to ``apply`` until ``stop``, once it is still.

    ``path`` is looked up anew at each look, links in it too. ``seen`` is its fingerprint from
    before what is in force was read, so that no edit since then is missed. A file that is wrong,
    gone, or changes what cannot change while running (``apply`` raises ConfigError) is refused
    with the reasons in the log, and what was in force stays. One that cannot be read is tried
    again at each look.
    """
    last, still = seen, 0
    unread: tuple[str, ...] = ()  # why it could not be read when that was last told
    while not stop.wait(every_s):
        now = fingerprint(path)
        still = still + 1 if now == last else 0
        last = now
        if still < STILL or (now == seen and not unread):
            continue
        try:
            config = load_config(path, environ)
            if fingerprint(path) != now:
                continue  # it changed while it was read
            done = apply(config)
        except Unreadable as error:
            if error.problems != unread:
                log.error("config_refused", file=str(path), problems=list(error.problems))
            seen, unread = now, error.problems
        except ConfigError as error:
            log.error("config_refused", file=str(path), problems=list(error.problems))
            seen, unread = now, ()
        else:
            log.info(
                "config_applied", file=str(path),
                added=done["added"], removed=done["removed"], replaced=done["replaced"],
            )  # fmt: skip
            seen, unread = now, ()
