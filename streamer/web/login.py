"""The form by which a browser logs in: it trades a token for a cookie."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from streamer.web.access import Access, forget_cookie
from streamer.web.body import body_of
from streamer.web.guard import MAX_BODY

_PAGE: Final = Path(__file__).resolve().parent / "static" / "login.html"
_FORM: Final = "application/x-www-form-urlencoded"
_WRONG: Final = b'<p id="wrong" hidden>'


def login_routes(access: Access, *, secure: bool) -> APIRouter:
    """``/login`` and ``/logout``; ``secure`` keeps cookies to TLS."""
    router = APIRouter()
    page = _PAGE.read_bytes()
    again = page.replace(_WRONG, _WRONG.replace(b" hidden", b""))

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
        cookie = access.cookie(fields.get("token", [""])[-1], secure=secure)
        if cookie is None:
            return _page(again, 401)
        return _home(cookie)

    @router.post("/logout", include_in_schema=False)
    async def log_out() -> Response:
        return _home(forget_cookie(secure=secure))

    return router


def _page(body: bytes, status: int) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(body, status, media_type="text/html; charset=utf-8", headers=headers)


def _home(cookie: str) -> Response:
    headers = {"location": "/", "set-cookie": cookie, "cache-control": "no-store"}
    return Response(status_code=303, headers=headers)
