"""What answers at which path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from streamer import __version__
from streamer.status import Status
from streamer.web.feeds import feed_socket
from streamer.web.guard import SOCKET_PATH
from streamer.web.openapi import ALIVE, METRICS, READY, STATUS
from streamer.web.pictures import OPTIONS, picture_routes
from streamer.web.readings import status_json, to_bytes
from streamer.web.ready import STUCK_S, readiness_json
from streamer.web.told import OPTIONS as EVENT_OPTIONS
from streamer.web.viewers import Viewers

_GET: Final = ["GET", "HEAD"]
_LEAVE: Final = b'<form id="leave" method="post" action="/logout"'
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
    routers: Sequence[APIRouter] = (),
    login: bool = False,
) -> FastAPI:
    """The application behind the guard; ``routers`` are those of parts that may be switched off.

    ``login``: whoever sees the page has logged in, and may log out there.

    ``metrics`` gets the Accept header and gives the body and its content type. Raises
    ``FileNotFoundError`` when the page's files are not installed.
    """
    # FastAPI's own documentation page loads scripts from another host: /docs is one of ours.
    app = FastAPI(
        title="streamer",
        version=__version__,
        summary="Watches live cameras, finds every face and tells it while it is still true",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    live = viewers.live
    # The page's files are read once, here: no path of a request ever reaches the disk.
    assets = {file.name: (file.read_bytes(), _TYPES[file.suffix]) for file in _STATIC.iterdir()}
    if login:
        body, kind = assets["index.html"]
        assets["index.html"] = body.replace(_LEAVE + b" hidden", _LEAVE), kind

    def asset(name: str) -> Response:
        if name not in assets:
            raise HTTPException(404, "there is no such file; the page is at /")
        body, kind = assets[name]
        return Response(body, media_type=kind, headers={"cache-control": "no-cache"})

    @app.api_route("/", methods=_GET, include_in_schema=False)
    async def page() -> Response:
        return asset("index.html")

    @app.api_route("/docs", methods=_GET, include_in_schema=False)
    async def documentation() -> Response:
        return asset("docs.html")

    @app.api_route("/openapi.json", methods=_GET, include_in_schema=False)
    async def openapi() -> Response:
        return _json(200, app.openapi())

    @app.api_route("/static/{name}", methods=_GET, include_in_schema=False)
    async def static(name: str) -> Response:
        return asset(name)

    @app.get("/healthz", responses=ALIVE)
    @app.head("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        """Whether it is alive; who runs it is to end it and start it again when not."""
        reading = await asyncio.get_running_loop().run_in_executor(pool, status)
        if reading.inference_stuck_s > STUCK_S:
            detail = "a run of the model does not end; restart streamer, and look at the device"
            return _json(503, {"status": "stuck", "detail": detail})
        return _json(200, {"status": "ok", "provider": reading.provider})

    @app.get("/readyz", responses=READY)
    @app.head("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        """Whether it does its job; the body says which check fails."""
        reading = await asyncio.get_running_loop().run_in_executor(pool, status)
        return _json(*readiness_json(reading))

    @app.get("/metrics", responses=METRICS, response_class=Response)
    @app.head("/metrics", include_in_schema=False)
    async def scrape(request: Request) -> Response:
        """Every metric, for Prometheus; as OpenMetrics where Accept asks for it."""
        accept = request.headers.get("accept", "")
        loop = asyncio.get_running_loop()
        body, kind = await loop.run_in_executor(pool, metrics, accept)
        return Response(body, headers={"content-type": kind, "cache-control": "no-store"})

    @app.get("/api/v1/status", responses=STATUS)
    @app.head("/api/v1/status", include_in_schema=False)
    async def read_status() -> Response:
        """Everything now: cameras with their ledgers, sinks, load and time spent by stage."""
        reading = await asyncio.get_running_loop().run_in_executor(pool, status)
        return _json(200, status_json(reading, now=live.clock()))

    app.include_router(picture_routes(viewers))
    for router in routers:
        app.include_router(router)

    @app.websocket(SOCKET_PATH)
    async def watch(socket: WebSocket) -> None:
        await feed_socket(viewers, socket)

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> Response:
        sentence = {
            404: "there is nothing at this path; the page is at /",
            405: "this path does not know that method; see /docs",
        }
        own = error.detail if error.detail not in ("Not Found", "Method Not Allowed") else None
        text = own or sentence.get(error.status_code, "the request cannot be answered")
        answer = _json(error.status_code, {"error": text})
        answer.headers.update(error.headers or {})
        if error.status_code == 405:  # Starlette names the methods of one route of several
            answer.headers["allow"] = ", ".join(_allowed(app, request))
        return answer

    @app.exception_handler(RequestValidationError)
    async def refuse_values(_: Request, error: RequestValidationError) -> Response:
        where = error.errors()[0]["loc"]
        name = str(where[1] if len(where) > 1 else "")
        sentences = {**OPTIONS, **EVENT_OPTIONS}
        return _json(422, {"error": sentences.get(name, "the request has a value that is none")})

    return app


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """The methods that the path of ``request`` knows."""
    known: set[str] = set()
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in app.router.routes):
            known.add(method)
    return sorted(known)


def _json(status: int, value: dict[str, object]) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(to_bytes(value), status, media_type="application/json", headers=headers)
