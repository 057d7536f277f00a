"""What every request must pass before a route sees it, and the headers every answer carries.

The page has no password yet, so the browser of somebody who may see it is the way in for
anybody else's web page. Two checks close it: the ``Host`` header must name this server (an
attacker's name that resolves to our address does not: DNS rebinding), and a WebSocket must come
from a page of this server (browsers let any page open one, and say in ``Origin`` which did).
"""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Collection, MutableMapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamer.web.readings import to_bytes

log = logging.getLogger(__name__)

_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)

_HOST: Final = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d{1,5})?")
"""What a Host header may look like (RFC 9110, 7.2), less what no name of ours needs."""


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

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        """Let through to ``app`` what names one of ``hosts``."""
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the refusal, or pass the request on with the headers added to its answer."""
        started = False

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
            await _answer(scope, send_with_headers, *refusal)
            return
        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            # The path is the client's text, so it is not logged; the traceback says enough.
            log.exception("a request failed; this is a bug in streamer")
            if not started:
                await _answer(scope, send_with_headers, 500, "streamer failed to answer; see log")

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence, or None for a request that may pass."""
        headers = _single_headers(scope)
        if headers is None:
            return 400, "a header that may come once came twice; send it once"
        if not scope["path"].startswith("/") or "\0" in scope["path"]:
            return 400, "the path must start with /"
        host = headers.get(b"host", b"").decode("latin-1")
        if not host:
            return 400, "the Host header is missing; name the server"
        if not self._hosts.allows(host):
            return 421, (
                "this server does not answer for that host name; use its IP address, or allow "
                "the name in streamer's configuration"
            )
        if headers.get(b"content-length", b"0").strip(b"0") or b"transfer-encoding" in headers:
            return 413, "no request to this server has a body; send none"
        if scope["type"] == "websocket" and b"origin" in headers:
            try:
                origin = urlsplit(headers[b"origin"].decode("latin-1")).netloc
            except ValueError:
                origin = ""
            if origin.lower() != host.lower():
                return 403, "a page of another site may not watch; open this server's own page"
        return None


def _single_headers(scope: Scope) -> MutableMapping[bytes, bytes] | None:
    """The headers by name; None when one that decides something came twice."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in headers and name in (b"host", b"origin", b"content-length"):
            return None
        headers[name] = value
    return headers


async def _answer(scope: Scope, send: Send, status: int, sentence: str) -> None:
    body = to_bytes({"error": sentence})
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    headers: list[tuple[bytes, Any]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})
