"""How often a token may be guessed, by one address and by all together. Pure.

Who has used up his wrong ones is not looked at until he may show another: an answer that only
says so would still tell a right guess from a wrong one. Two things are no guesses and cost nothing:
what was right before from the same address, so that no guesser locks out those who are in; and what
was wrong before, so that a program with an old token locks out nobody.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeVar

from streamer.web.rates import Rates

WRONG_PER_S: Final = 0.2
WRONG_AT_ONCE: Final = 10.0
"""Wrong tokens that one address may show: so many a second, and so many at once."""

ALL_WRONG_PER_S: Final = 10.0
ALL_WRONG_AT_ONCE: Final = 500.0
"""The same of all addresses together."""

MOST_REMEMBERED: Final = 4096
"""Right ones that are remembered, and wrong ones; the least lately shown is forgotten."""

_Found = TypeVar("_Found")
_Seen = tuple[str, bytes]


class TooManyGuesses(Exception):
    """It was not looked at what was shown; it may be shown again after ``wait_s`` seconds."""

    def __init__(self, wait_s: int) -> None:
        """Keep the wait, a whole number of seconds from 1 up."""
        self.wait_s = wait_s
        super().__init__(f"too many wrong tokens; wait {wait_s} s")


class Guesses:
    """Stands before the look at what somebody shows: a token, or a cookie made of one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Nobody has guessed yet. ``clock`` is monotonic seconds."""
        self._each = Rates(WRONG_PER_S, WRONG_AT_ONCE, clock)
        self._all = Rates(ALL_WRONG_PER_S, ALL_WRONG_AT_ONCE, clock)
        self._right = _Newest()
        self._wrong = _Newest()

    def look(self, address: str, shown: str, find: Callable[[], _Found | None]) -> _Found | None:
        """What ``find`` finds of ``shown``; None when it is wrong.

        Raises :class:`TooManyGuesses`, and then ``find`` was not called.
        """
        who = network_of(address)
        seen = _seen(who, shown)
        if seen in self._wrong:
            return None
        if seen not in self._right:
            wait_s = max(self._each.wait_s(who), self._all.wait_s(""))
            if wait_s > 0:
                raise TooManyGuesses(math.ceil(wait_s))
        found = find()
        if found is not None:
            self._right.add(seen)
        else:
            self._right.forget(seen)  # a cookie may have come to its end
            self._wrong.add(seen)
            self._each.take(who)
            self._all.take("")
        return found

    def given(self, address: str, shown: str) -> None:
        """``shown`` was made for ``address`` just now: it is right."""
        self._right.add(_seen(network_of(address), shown))


class _Newest:
    """A set that forgets what was asked about least lately."""

    def __init__(self) -> None:
        self._held: OrderedDict[_Seen, None] = OrderedDict()

    def __contains__(self, seen: _Seen) -> bool:
        there = seen in self._held
        if there:
            self._held.move_to_end(seen)
        return there

    def add(self, seen: _Seen) -> None:
        self._held[seen] = None
        self._held.move_to_end(seen)
        if len(self._held) > MOST_REMEMBERED:
            self._held.popitem(last=False)

    def forget(self, seen: _Seen) -> None:
        self._held.pop(seen, None)


def _seen(who: str, shown: str) -> _Seen:
    return who, hashlib.sha256(shown.encode("utf-8", "surrogatepass")).digest()


def network_of(address: str) -> str:
    """Whom the limits take for one: an IPv4 address, or the 64 bits before an IPv6 host's own."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(IPv6Address(int(ip) >> 64 << 64))
