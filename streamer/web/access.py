"""Who may do what: bearer tokens for programs, a cookie for the page.

A cookie holds no secret of ours and nothing is kept of it: it is the instant until which it is
good and a MAC of that by the token it was given for (RFC 2104). So it outlives a restart, and ends
with its token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

Role: TypeAlias = Literal["read", "control"]
"""What somebody may do: look (and send pictures), or change things too."""

COOKIE: Final = "streamer_session"
COOKIE_S: Final = 30 * 24 * 3600
"""How long a login holds, seconds: a wall screen is left on for weeks."""

_COOKIE: Final = re.compile(r"(?P<until>[0-9]{1,12})\.(?P<mac>[0-9a-f]{64})", re.ASCII)
_LONGEST: Final = 1024


class Shown(NamedTuple):
    """What a request shows of itself: an Authorization header or our cookie, as it came."""

    kind: Literal["authorization", "cookie"]
    text: str


def shown_in(headers: Mapping[bytes, bytes]) -> Shown | None:
    """What a request shows; None when it shows nothing.

    ``headers`` are by name, in lower case. An ``Authorization`` decides alone.
    """
    said = headers.get(b"authorization")
    if said is not None:
        return Shown("authorization", said.decode("latin-1").strip())
    host = headers.get(b"host", b"").decode("latin-1")
    cookie = cookie_in(headers.get(b"cookie", b"").decode("latin-1"), host)
    return None if cookie is None else Shown("cookie", cookie)


class Access:
    """Knows the tokens of each role. Without any, everybody may do everything."""

    def __init__(
        self,
        *,
        read: Collection[str] = (),
        control: Collection[str] = (),
        wall_clock: Callable[[], float],
    ) -> None:
        """Tokens of the role ``control`` may also read; ``wall_clock`` gives Unix seconds."""
        tokens: list[tuple[Role, str]] = [("control", token) for token in control]
        tokens += [("read", token) for token in read]
        self._tokens = [(role, token.encode()) for role, token in tokens]
        self._wall_clock = wall_clock

    @property
    def needed(self) -> bool:
        """Whether anybody has to show anything."""
        return bool(self._tokens)

    def of_token(self, token: str) -> Role | None:
        """The role of a token; None when it is not one of ours.

        It takes as long for a wrong token as for a right one, and as long for one that is nearly
        right as for any other.
        """
        given = hashlib.sha256(token[:_LONGEST].encode("utf-8", "surrogatepass")).digest()
        found: Role | None = None
        for role, known in self._tokens:
            same = hmac.compare_digest(hashlib.sha256(known).digest(), given)
            if same and found is None:
                found = role
        return found

    def of_shown(self, shown: Shown) -> Role | None:
        """The role that what a request shows opens; None when it opens nothing."""
        if shown.kind == "cookie":
            return self._of_cookie(shown.text)
        scheme, _, token = shown.text.partition(" ")
        return self.of_token(token.strip()) if scheme.lower() == "bearer" else None

    def _of_cookie(self, value: str) -> Role | None:
        parts = _COOKIE.fullmatch(value)
        if parts is None or int(parts["until"]) <= self._wall_clock():
            return None
        found: Role | None = None
        for role, token in self._tokens:
            same = hmac.compare_digest(_mac(token, parts["until"]), parts["mac"])
            if same and found is None:
                found = role
        return found

    def cookie(self, token: str, host: str, *, secure: bool) -> str | None:
        """The Set-Cookie header for whoever has shown ``token``; None when it is not one of ours.

        ``host`` is the text of the request's Host header. ``secure``: the browser is to send it
        over TLS only.
        """
        if self.of_token(token) is None:
            return None
        until = str(int(self._wall_clock()) + COOKIE_S)
        return _set_cookie(host, f"{until}.{_mac(token.encode(), until)}", COOKIE_S, secure)


def forget_cookie(host: str, *, secure: bool) -> str:
    """The Set-Cookie header that has a browser forget its login at ``host``."""
    return _set_cookie(host, "", 0, secure)


def _name(host: str) -> str:
    """What the cookie is called at ``host``: cookies know no ports (RFC 6265, 8.5).

    The port is the one that the browser knows, which a container or a proxy may have changed.
    """
    port = host.rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isdecimal() else COOKIE


def _set_cookie(host: str, value: str, seconds: int, secure: bool) -> str:
    words = f"{_name(host)}={value}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=Strict"
    return f"{words}; Secure" if secure else words


def _mac(token: bytes, until: str) -> str:
    return hmac.new(token, f"streamer login until {until}".encode(), hashlib.sha256).hexdigest()


def cookie_in(header: str, host: str) -> str | None:
    """The value of our cookie at ``host`` in a Cookie or Set-Cookie header; None without one.

    Other programs on this host set cookies too, and what they may hold nobody keeps to (RFC 6265,
    5.4): those are passed over. Of several that are called like ours, the first that looks like it.
    """
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    known = _name(host)
    ours = [value for name, _, value in pairs if name == known]
    return next((value for value in ours if _COOKIE.fullmatch(value)), ours[0] if ours else None)
