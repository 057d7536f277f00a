"""What answers at which path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from streamer.status import Status
from streamer.web.access import Access
from streamer.web.detect import Detecting, detect_routes
from streamer.web.feeds import feed_socket
from streamer.web.login import login_routes
from streamer.web.pictures import OPTIONS, picture_routes
from streamer.web.readings import status_json, to_bytes
from streamer.web.viewers import Viewers

_GET: Final = ["GET", "HEAD"]
STUCK_S: Final = 10.0
"""Seconds that a run of the model may go on after it was told to end before we are not healthy."""
_STATIC: Final = Path(__file__).resolve().parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def build_app(
    viewers: Viewers,
    *,
    status: Callable[[], Status],
    metrics: Callable[[str], tuple[bytes, str]],
    pool: Executor,
    detecting: Detecting | None,
    access: Access,
    secure: bool,
) -> FastAPI:
    """The application behind the guard.

    ``metrics`` gets the Accept header and gives the body and its content type. Raises
    ``FileNotFoundError`` when the page's files are not installed.
    """
    # FastAPI's own documentation page loads scripts from another host: it stays off.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    if detecting is not None:
        app.include_router(detect_routes(detecting))
    app.include_router(login_routes(access, secure=secure, form=_STATIC / "login.html"))
    live = viewers.live
    # The page's files are read once, here: no path of a request ever reaches the disk.
    assets = {file.name: (file.read_bytes(), _TYPES[file.suffix]) for file in _STATIC.iterdir()}

    def asset(name: str) -> Response:
        if name not in assets:
            raise HTTPException(404, "there is no such file; the page is at /")
        body, kind = assets[name]
        return Response(body, media_type=kind, headers={"cache-control": "no-cache"})

    @app.api_route("/", methods=_GET)
    async def page() -> Response:
        return asset("index.html")

    @app.api_route("/static/{name}", methods=_GET)
    async def static(name: str) -> Response:
        return asset(name)

    @app.api_route("/healthz", methods=_GET)
    async def healthz() -> Response:
        reading = await asyncio.get_running_loop().run_in_executor(pool, status)
        if reading.inference_stuck_s > STUCK_S:
            detail = "a run of the model does not end; restart streamer, and look at the device"
            return _json(503, {"status": "stuck", "detail": detail})
        return _json(200, {"status": "ok", "provider": reading.provider})

    @app.api_route("/metrics", methods=_GET)
    async def scrape(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        loop = asyncio.get_running_loop()
        body, kind = await loop.run_in_executor(pool, metrics, accept)
        return Response(body, headers={"content-type": kind, "cache-control": "no-store"})

    @app.api_route("/api/v1/status", methods=_GET)
    async def read_status() -> Response:
        reading = await asyncio.get_running_loop().run_in_executor(pool, status)
        return _json(200, status_json(reading, now=live.clock()))

    app.include_router(picture_routes(viewers))

    @app.websocket("/ws/live")
    async def watch(socket: WebSocket) -> None:
        await feed_socket(viewers, socket)

    @app.exception_handler(HTTPException)
    async def refuse(_: Request, error: HTTPException) -> Response:
        sentence = {
            404: "there is nothing at this path; the page is at /",
            405: "this path does not know that method; see /docs",
        }
        own = error.detail if error.detail not in ("Not Found", "Method Not Allowed") else None
        text = own or sentence.get(error.status_code, "the request cannot be answered")
        answer = _json(error.status_code, {"error": text})
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def refuse_values(_: Request, error: RequestValidationError) -> Response:
        name = str(error.errors()[0]["loc"][-1])
        return _json(422, {"error": OPTIONS.get(name, "the request has a value that is none")})

    return app


def _json(status: int, value: dict[str, object]) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(to_bytes(value), status, media_type="application/json", headers=headers)
