"""The form by which a browser logs in: it trades a token for a cookie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from streamer.web.access import Access, Shown, cookie_in, forget_cookie
from streamer.web.body import body_of
from streamer.web.guard import MAX_BODY
from streamer.web.guesses import Guesses, TooManyGuesses

_PAGE: Final = Path(__file__).resolve().parent / "static" / "login.html"
_FORM: Final = "application/x-www-form-urlencoded"
_NOTE: Final = b'<p id="wrong" hidden></p>'
_WRONG: Final = "This token is not known. It is one of http.tokens in streamer's configuration."
_LATER: Final = "Too many wrong tokens came from this address. Try again in {} s."


def login_routes(access: Access, guesses: Guesses, *, secure: bool) -> APIRouter:
    """``/login`` and ``/logout``; ``secure`` keeps cookies to TLS.

    A token is looked at within the bounds of ``guesses``.
    """
    router = APIRouter()
    page = _PAGE.read_bytes()

    def again(sentence: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
        note = f'<p id="wrong">{sentence}</p>'.encode()
        return _page(page.replace(_NOTE, note), status, headers)

    @router.api_route("/login", methods=["GET", "HEAD"], include_in_schema=False)
    async def ask() -> Response:
        return _page(page, 200)

    @router.post("/login", include_in_schema=False)
    async def log_in(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _FORM:
            raise HTTPException(415, f"the body is not {_FORM}; use the form at /login")
        try:
            fields = parse_qs((await body_of(request, MAX_BODY)).decode(), max_num_fields=8)
        except ValueError:
            raise HTTPException(400, "the form cannot be read; use the one at /login") from None
        token, host = fields.get("token", [""])[-1], request.headers.get("host", "")
        address = request.client.host if request.client else ""
        # As a program shows it: what was right there is right here, and the other way round.
        shown = " ".join(Shown("authorization", f"Bearer {token}"))
        try:
            cookie = guesses.look(address, shown, lambda: access.cookie(token, host, secure=secure))
        except TooManyGuesses as wait:
            return again(_LATER.format(wait.wait_s), 429, {"retry-after": str(wait.wait_s)})
        if cookie is None:
            return again(_WRONG, 401)
        guesses.given(address, " ".join(Shown("cookie", cookie_in(cookie, host) or "")))
        return _home(cookie)

    @router.post("/logout", include_in_schema=False)
    async def log_out(request: Request) -> Response:
        return _home(forget_cookie(request.headers.get("host", ""), secure=secure))

    return router


def _page(body: bytes, status: int, more: Mapping[str, str] | None = None) -> Response:
    headers = {"cache-control": "no-store", **(more or {})}
    return Response(body, status, media_type="text/html; charset=utf-8", headers=headers)


def _home(cookie: str) -> Response:
    headers = {"location": "/", "set-cookie": cookie, "cache-control": "no-store"}
    return Response(status_code=303, headers=headers)
