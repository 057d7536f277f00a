"""Log lines of one camera: one for each change, and a bound on how many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from streamer.log import get_logger

Level: TypeAlias = Literal["info", "warning"]

BURST: Final = 20
"""Lines that may come at once: two hours of a good camera, two minutes of a bad one."""

EVERY_S: Final = 30.0
"""After those, one line in so many seconds."""


class Lines:
    """Says what happens to a camera; a flapping one cannot fill the disk.

    A line says in ``left_out`` how many before it were not said. The newest is never lost: it is
    kept and said by :meth:`catch_up` when there is room, so the log ends with the truth.
    """

    def __init__(self, *, clock: Callable[[], float], **always: str) -> None:
        """``always`` are values that every line carries; ``clock`` is monotonic."""
        self._log = get_logger("capture").bind(**always)
        self._clock = clock
        self._room = float(BURST)
        self._seen_at = clock()
        self._left_out = 0
        self._kept: tuple[Level, str, dict[str, Any]] | None = None

    def say(self, level: Level, event: str, **values: Any) -> None:
        """Write a line, or keep it where there were too many."""
        self._kept = (level, event, values)
        self._left_out += 1
        self.catch_up()

    def catch_up(self, *, anyway: bool = False) -> None:
        """Write the line that was kept, if there is one, and room for it or ``anyway``."""
        if self._kept is None:
            return
        now = self._clock()
        self._room = min(float(BURST), self._room + (now - self._seen_at) / EVERY_S)
        self._seen_at = now
        if self._room < 1 and not anyway:
            return
        level, event, values = self._kept
        left_out = self._left_out - 1
        self._room = max(0.0, self._room - 1)
        self._kept, self._left_out = None, 0
        if left_out:
            values = values | {"left_out": left_out}
        write = self._log.warning if level == "warning" else self._log.info
        write(event, **values)
