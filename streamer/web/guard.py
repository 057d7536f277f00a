"""What every request must pass before a route sees it, and the headers every answer carries.

The browser of somebody who may do things here is the way in for anybody else's web page. Checks
close it: the ``Host`` header must name this server (an attacker's name that resolves to our
address does not: DNS rebinding), and whatever changes something, or opens a WebSocket, must come
from a page of this server (browsers say in ``Origin`` which page sends it) or from a program.
Then come limits of rate and length, and tokens where the configuration has any.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.web.access import Access, Role, shown_in
from streamer.web.guesses import Guesses, TooManyGuesses
from streamer.web.rates import Rates
from streamer.web.readings import to_bytes

log = logging.getLogger(__name__)

_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # with no-referrer a browser hides whence a form comes,
    (b"cross-origin-opener-policy", b"same-origin"),
)

_ONCE: Final = frozenset((b"host", b"origin", b"content-length", b"authorization", b"content-type"))

SOCKET_PATH: Final = "/ws/live"
DETECT_PATHS: Final = frozenset(("/detect", "/api/v1/detect"))
OPEN_PATHS: Final = frozenset(("/healthz", "/readyz", "/login", "/logout"))
"""Whoever runs us asks the first two, and they name nobody; nobody is logged in at the others."""

MOST_HEADERS: Final = 100
MAX_HEAD: Final = 16 << 10
"""Longest head of a request, bytes."""

MAX_PICTURE_BODY: Final = 16 << 20
"""Longest body with a picture, bytes."""

MAX_BODY: Final = 64 << 10
"""Longest body of any other request that has one, bytes."""


class Refusal(NamedTuple):
    """What is answered instead: the status, a sentence, and headers beside the usual ones."""

    status: int
    sentence: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


_HOST: Final = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d{1,5})?")
"""What a Host header may look like (RFC 9110, 7.2), less what no name of ours needs."""


_ABSOLUTE: Final = re.compile(r"https?://(?P<host>[^/]*)(?P<path>/.*)?", re.IGNORECASE | re.DOTALL)


class AllowedHosts:
    """The names this server answers for.

    Always: ``localhost`` and loopback addresses, and the address it is bound to. Bound to every
    address (0.0.0.0 or ::), also any IP address and this machine's own name: rebinding needs a
    name the attacker owns, so an address in ``Host`` is safe. ``more`` adds names, for a proxy
    or a container.
    """

    def __init__(self, bound: str, more: Collection[str] = ()) -> None:
        """``bound`` is the host of the bind address, without port or brackets."""
        self._names = {"localhost", bound.lower(), *(name.lower() for name in more)}
        self._any_address = bound in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
        if self._any_address:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own}.local"}

    def allows(self, host: str) -> bool:
        """True when ``host``, the text of a Host header, names this server. Ports may differ."""
        parts = _HOST.fullmatch(host.lower())
        if parts is None:
            return False
        name = (parts["address"] or parts["name"]).removesuffix(".")
        if name in self._names:
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return self._any_address or address.is_loopback


class Guard:
    """An ASGI application around another: refuses what must not reach it."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: AllowedHosts,
        access: Access,
        guesses: Guesses,
        *,
        requests_per_s: float,
        origins: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let through to ``app`` what names one of ``hosts`` and has ``access``.

        Tokens are looked at within the bounds of ``guesses``. One address may ask
        ``requests_per_s`` times a second, and twice that at once. Pages of ``origins``, such as
        ``https://wall.example``, may do what our own page may.
        """
        self._app = app
        self._hosts = hosts
        self._access = access
        self._guesses = guesses
        self._origins = frozenset(origin.lower() for origin in origins)
        self._rates = Rates(requests_per_s, 2 * requests_per_s, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the refusal, or pass the request on with the headers added to its answer."""
        started = False
        scope = _of_our_own(scope)

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                started = True
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            elif message["type"] == "websocket.accept":
                started = True
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(scope, send_with_headers, refusal)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            # The path is the client's text, so it is not logged; the traceback says enough.
            log.exception("a request failed; this is a bug in streamer")
            if not started:
                sentence = "streamer failed to answer; see log"
                await _answer(scope, send_with_headers, Refusal(500, sentence))

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Why a request may not pass; None when it may."""
        headers = _single_headers(scope)
        if headers is None:
            return Refusal(400, "a header that may come once came twice; send it once")
        if not scope["path"].startswith("/") or "\0" in scope["path"]:
            return Refusal(400, "the path must start with /")
        if len(scope["headers"]) > MOST_HEADERS or _head_size(scope) > MAX_HEAD:
            return Refusal(431, "the headers are too many or too long; send fewer")
        host = headers.get(b"host", b"").decode("latin-1")
        if not host:
            return Refusal(400, "the Host header is missing; name the server")
        if not self._hosts.allows(host):
            return Refusal(421, (
                "this server does not answer for that host name; use its IP address, or allow "
                "the name in streamer's configuration"
            ))  # fmt: skip
        address = scope["client"][0] if scope.get("client") else ""
        if not self._rates.take(address):
            return Refusal(429, "too many requests; ask more seldom", ((b"retry-after", b"1"),))
        method = scope.get("method", "GET")  # a WebSocket has none
        length = _length(headers)
        if length is None:
            return Refusal(400, "the Content-Length is no number; send the length of the body")
        if b"transfer-encoding" in headers and b"content-length" in headers:
            return Refusal(400, "Content-Length and Transfer-Encoding both came; send one of them")
        if scope["type"] == "websocket" and scope["path"] != SOCKET_PATH:
            return Refusal(404, f"there is no WebSocket at this path; it is at {SOCKET_PATH}")
        limit = _body_limit(method, scope["path"])
        if length > limit or (not limit and b"transfer-encoding" in headers):
            return Refusal(413, (
                f"a body may have {limit >> 10} KiB here; send less" if limit else
                "a request that only reads has no body; send none"
            ))  # fmt: skip
        asks_only = method in ("GET", "HEAD", "OPTIONS") and scope["type"] != "websocket"
        if not asks_only and not self._same_site(headers, host):
            return Refusal(403, (
                "a page of another site may not watch or change anything here; "
                "open this server's own page"
            ))  # fmt: skip
        return self._unauthorized(scope, headers, method, address)

    def _same_site(self, headers: Mapping[bytes, bytes], host: str) -> bool:
        """Whether a page that may sends this, or a program: those say nothing of an origin."""
        origin = headers.get(b"origin")
        if origin is None:
            return headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin")
        said = origin.decode("latin-1").lower()
        if said in self._origins:
            return True
        try:
            return urlsplit(said).netloc == host.lower()
        except ValueError:
            return False

    def _unauthorized(
        self, scope: Scope, headers: Mapping[bytes, bytes], method: str, address: str
    ) -> Refusal | None:
        """What to answer somebody who may not do this; None when he may."""
        needed = _role_for(method, scope["path"])
        preflight = method == "OPTIONS" and headers.get(b"origin", b"").decode("latin-1") != ""
        if not self._access.needed or needed is None or (preflight and self._origins):
            return None
        role, shown = None, shown_in(headers)
        if shown is not None:
            key = " ".join(shown)
            try:
                role = self._guesses.look(address, key, lambda: self._access.of_shown(shown))
            except TooManyGuesses as wait:
                return Refusal(429, str(wait), ((b"retry-after", b"%d" % wait.wait_s),))
        if role == "control" or role == needed:
            return None
        if role is not None:
            return Refusal(403, "this token may only read; use one with the role control")
        html = b"text/html" in headers.get(b"accept", b"")
        if scope["type"] == "http" and method == "GET" and scope["path"] == "/" and html:
            return Refusal(303, "log in first", ((b"location", b"/login"),))
        return Refusal(
            401,
            "a token is needed; send Authorization: Bearer TOKEN, or log in at /login",
            ((b"www-authenticate", b'Bearer realm="streamer"'),),
        )


def _of_our_own(scope: Scope) -> Scope:
    """A request as if its target began with the path.

    Whoever takes us for a proxy names the host there, and that counts, not Host (RFC 9112, 3.2.2).
    """
    parts = _ABSOLUTE.fullmatch(scope["path"])
    if parts is None:
        return scope
    headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
    headers.append((b"host", parts["host"].encode("latin-1", "replace")))
    return {**scope, "path": parts["path"] or "/", "headers": headers}


def _role_for(method: str, path: str) -> Role | None:
    """The role that a request needs; None when anybody may make it."""
    if path in OPEN_PATHS or path.startswith("/static/"):
        return None
    if method in ("GET", "HEAD", "OPTIONS") or path in DETECT_PATHS:
        return "read"
    return "control"


def _body_limit(method: str, path: str) -> int:
    """Most bytes of the body of a request; 0 where none has any. Not all of it need be read."""
    if method in ("GET", "HEAD", "OPTIONS") and path not in DETECT_PATHS:
        return 0
    return MAX_PICTURE_BODY if method == "POST" and path in DETECT_PATHS else MAX_BODY


def _length(headers: Mapping[bytes, bytes]) -> int | None:
    """What the request says of its body, bytes; None when that is no number."""
    said = headers.get(b"content-length", b"0")
    return int(said) if said.isdigit() and len(said) <= 20 else None


def _head_size(scope: Scope) -> int:
    """How long the head of a request is, bytes, less what stands between its parts."""
    asked = len(scope["path"]) + len(scope.get("query_string", b""))
    return asked + sum(len(name) + len(value) for name, value in scope["headers"])


def _single_headers(scope: Scope) -> Mapping[bytes, bytes] | None:
    """The headers by name; None when one that decides something came twice."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in headers and name in _ONCE:
            return None
        headers[name] = value
    return headers


async def _answer(scope: Scope, send: Send, refusal: Refusal) -> None:
    body = to_bytes({"error": refusal.sentence})
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    headers: list[tuple[bytes, Any]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
        *refusal.headers,
    ]
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
