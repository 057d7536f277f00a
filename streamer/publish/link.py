"""What all bridges have in common: counters, and how long they wait to try again."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Final

from streamer.log import get_logger
from streamer.status import LinkStatus

_log = get_logger("bridge")

FIRST_PAUSE_S: Final = 0.5
"""Upper bound of the first wait, seconds; it doubles at each failure."""

LONGEST_PAUSE_S: Final = 30.0
"""Upper bound of any wait."""


def pause_s(failures: int, longest_s: float = LONGEST_PAUSE_S) -> float:
    """Seconds to wait after so many failures in a row (1 or more): anything up to the bound.

    Full jitter: programs that lost the same broker do not come back all at once.
    """
    bound = min(longest_s, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 20))
    return random.uniform(0.0, bound)  # noqa: S311 - no secret


class Link:
    """The counters of one bridge named ``name``; any thread may use it. It logs what changes."""

    def __init__(self, name: str) -> None:
        """Not connected, and nothing counted."""
        self._name = name
        self._lock = threading.Lock()
        self._connected = False
        self._connects = self._delivered = self._retries = self._waiting = 0
        self._lost: Counter[str] = Counter()
        self._trouble = ""

    def up(self) -> None:
        """The other end is there."""
        with self._lock:
            if self._connected:
                return
            self._connected, self._trouble = True, ""
            self._connects += 1
        _log.info("bridge_connected", bridge=self._name)

    def down(self, trouble: str) -> None:
        """The other end is not there, or does not take what it is given; ``trouble`` says why.

        The log has it when it is new.
        """
        with self._lock:
            new = self._connected or trouble != self._trouble
            self._connected, self._trouble = False, trouble
        if new:
            _log.warning("bridge_down", bridge=self._name, problem=trouble)

    def delivered(self, count: int = 1) -> None:
        """The other end has confirmed so many messages."""
        with self._lock:
            self._delivered += count

    def retried(self) -> None:
        """Something was sent again."""
        with self._lock:
            self._retries += 1

    def lost(self, reason: str, count: int = 1) -> None:
        """So many messages were given up; ``reason`` is of a closed set, a metric's label."""
        if count:
            with self._lock:
                self._lost[reason] += count

    def waiting(self, count: int) -> None:
        """So many messages are held now, sent or not, that were not confirmed."""
        with self._lock:
            self._waiting = count

    @property
    def connected(self) -> bool:
        """Whether the other end is there."""
        return self._connected

    def status(self) -> LinkStatus:
        """A consistent reading."""
        with self._lock:
            return LinkStatus(
                connected=self._connected,
                connects=self._connects,
                delivered=self._delivered,
                retries=self._retries,
                waiting=self._waiting,
                lost=dict(self._lost),
                trouble=self._trouble,
            )
