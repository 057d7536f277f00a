"""Looks a host name up within a bound.

FFmpeg's own look-up obeys no timeout: a resolver that never answers held it for 10 s whatever
the timeouts said (measured). So the name is tried here first, on a thread that may be left behind.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from streamer.capture.reach import addresses_of
from streamer.errors import SourceLost

RESOLVE_TIMEOUT_S: Final = 3.0
"""Longest wait for a name, seconds."""

Lookup: TypeAlias = Callable[[str, int], object]
"""Resolves host and port or raises ``OSError``; a list is what ``socket.getaddrinfo`` answers."""


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address and needs no look-up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _getaddrinfo(host: str, port: int) -> object:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Resolver:
    """Says whether one host name resolves; at most one look-up of it runs at a time."""

    def __init__(self, host: str, port: int, *, lookup: Lookup = _getaddrinfo) -> None:
        """For ``host`` and ``port``; nothing is looked up yet."""
        self._host = host
        self._port = port
        self._lookup = lookup
        self._worker: threading.Thread | None = None
        self._failed = False
        self._addresses: list[str] = [host] if is_address(host) else []

    @property
    def addresses(self) -> list[str]:
        """What the name stood for when it was looked up last, in the order of preference."""
        return list(self._addresses)

    def resolves(self, timeout_s: float, stop: threading.Event) -> bool | None:
        """True when the name resolves, False when it does not, None when nobody answered.

        Ends within ``timeout_s`` seconds, or a tenth of a second after ``stop`` is set. A look-up
        that did not answer in time goes on by itself; the next call waits for the same one.
        """
        if is_address(self._host):
            return True
        if self._worker is None or not self._worker.is_alive():
            self._worker = threading.Thread(
                target=self._look_up, name=f"resolve:{self._host}", daemon=True
            )
            self._worker.start()
        deadline = time.monotonic() + timeout_s
        while self._worker.is_alive():
            left_s = deadline - time.monotonic()
            if left_s <= 0 or stop.is_set():
                return None
            self._worker.join(min(left_s, 0.1))
        return not self._failed

    def require(self, name: str, stop: threading.Event) -> None:
        """Return when the host is known or ``stop`` is set, within :data:`RESOLVE_TIMEOUT_S`.

        Raises SourceLost for ``dns`` otherwise; ``name`` is what its text calls the camera.
        """
        found = self.resolves(RESOLVE_TIMEOUT_S, stop)
        if found is None and not stop.is_set():
            limit = f"{RESOLVE_TIMEOUT_S:g} s"
            raise SourceLost("dns", f"{name} was not looked up within {limit}; check DNS")
        if found is False:
            raise SourceLost("dns", f"{name} is not a known host; check the name and DNS")

    def _look_up(self) -> None:
        try:
            found = self._lookup(self._host, self._port)
            self._addresses = addresses_of(found) if isinstance(found, list) else []
            self._failed = False
        except (OSError, UnicodeError):
            self._failed = True
