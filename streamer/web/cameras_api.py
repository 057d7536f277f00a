"""The cameras over HTTP: read, added, replaced, removed, paused and read again.

What is changed here holds until streamer ends and is never written to the configuration file;
:mod:`streamer.roster` says how both live side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Annotated, Any, Final, Protocol, TypeAlias, TypeVar

from fastapi import APIRouter, Path, Request, Response
from starlette.exceptions import HTTPException

from streamer.config_sections import CAMERA_NAME
from streamer.errors import StreamerError
from streamer.status import Status
from streamer.web.body import body_of
from streamer.web.guard import MAX_BODY
from streamer.web.jsonbody import read_object
from streamer.web.openapi import (
    ADDED,
    CAMERA,
    CAMERAS,
    DELETED,
    LEDGER,
    REPLACED,
    camera_body,
    faults,
)
from streamer.web.readings import camera_json, ledger_json, to_bytes

MOST_CHANGES: Final = 16
"""Changes that may wait for their turn: one is made at a time, and it may take a second."""

T = TypeVar("T")

# What is no name is answered with a sentence of ours, so it is not looked at before.
_Name: TypeAlias = Annotated[
    str, Path(description="the name of a camera", json_schema_extra={"pattern": CAMERA_NAME})
]


class CameraFault(StreamerError):
    """A change that is not made: ``status`` is the HTTP status, ``problems`` its reasons."""

    def __init__(self, status: int, *problems: str) -> None:
        """Keep them; ``str()`` is one sentence."""
        self.status = status
        self.problems = problems
        super().__init__("; ".join(problems))


class CameraDoor(Protocol):
    """Changes cameras; every method may take a second and raises :class:`CameraFault`."""

    def add(self, name: object, values: Mapping[str, Any]) -> None:
        """Begin to watch a camera: 403, 409 or 422."""

    def put(self, name: str, values: Mapping[str, Any]) -> bool:
        """Add the camera, or replace the one of this name; whether it was added. As above."""

    def remove(self, name: str) -> None:
        """Forget it: 404."""

    def pause(self, name: str) -> None:
        """Stop reading it and keep it: 404."""

    def resume(self, name: str) -> None:
        """Read it again: 404."""

    def settle(self) -> None:
        """Do what a change asks for and nobody waits for."""

    def described(self, name: str) -> dict[str, Any]:
        """Whence it is and its settings, without secrets: 404."""


def read_routes(
    status: Callable[[], Status], pool: Executor, clock: Callable[[], float]
) -> APIRouter:
    """What is read of all cameras together."""
    routes = APIRouter()

    async def reading() -> Status:
        return await asyncio.get_running_loop().run_in_executor(pool, status)

    @routes.get("/api/v1/cameras", responses=CAMERAS)
    async def list_cameras() -> Response:
        """What every camera does now."""
        now = await reading()
        return _json(200, {"cameras": [camera_json(c, clock()) for c in now.cameras]})

    @routes.get("/api/v1/ledger", responses=LEDGER)
    async def ledger() -> Response:
        """Where every frame of every camera went; each is one exact reading."""
        now = await reading()
        return _json(200, {"cameras": {c.name: ledger_json(c.ledger) for c in now.cameras}})

    return routes


class CameraRoutes:
    """The paths of single cameras. Changes are made one at a time, on a thread of their own."""

    def __init__(
        self,
        door: CameraDoor,
        status: Callable[[], Status],
        pool: Executor,
        clock: Callable[[], float],
    ) -> None:
        """``status`` is read in ``pool``; ``clock`` is the monotonic one of its instants."""
        self._door = door
        self._status = status
        self._pool = pool
        self._clock = clock
        self._changing = ThreadPoolExecutor(1, thread_name_prefix="http-change")
        self._fitting = ThreadPoolExecutor(1, thread_name_prefix="http-settle")
        self._waiting = 0
        self._settling = False
        self.routes = APIRouter()
        add = self.routes.add_api_route
        one = "/api/v1/cameras/{name}"
        named, body = camera_body(named=True), camera_body(named=False)
        busy = {**CAMERA, **faults(404, 409, 503)}
        add(
            "/api/v1/cameras", self._post, methods=["POST"], status_code=201,
            responses=ADDED, openapi_extra=named,
        )  # fmt: skip
        add(
            one, self._post_named, methods=["POST"], status_code=201,
            responses=ADDED, openapi_extra=body,
        )  # fmt: skip
        add(one, self._get, methods=["GET"], responses=CAMERA)
        add(one, self._put, methods=["PUT"], responses=REPLACED, openapi_extra=body)
        add(one, self._delete, methods=["DELETE"], responses=DELETED)
        add(f"{one}/pause", self._pause, methods=["POST"], responses=busy)
        add(f"{one}/resume", self._resume, methods=["POST"], responses=busy)

    def close(self) -> None:
        """Let go of the threads; a change that is being made is made."""
        for threads in (self._changing, self._fitting):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _get(self, name: _Name) -> Response:
        """One camera: what it does now, whence it is, and its settings."""
        loop = asyncio.get_running_loop()
        return _json(200, await _told(loop.run_in_executor(self._pool, self._whole, name)))

    async def _post(self, request: Request) -> Response:
        """Begin to watch a camera; its name is in the body."""
        values = await _values(request)
        name = values.pop("name", None)
        return await self._changed(str(name), lambda: self._door.add(name, values), added=True)

    async def _post_named(self, request: Request, name: _Name) -> Response:
        """Begin to watch a camera under this name."""
        values = await _values(request)
        return await self._changed(name, lambda: self._door.add(name, values), added=True)

    async def _put(self, request: Request, name: _Name) -> Response:
        """Watch this camera under this name, in the place of the one there is, if any."""
        values = await _values(request)
        return await self._changed(name, lambda: self._door.put(name, values))

    async def _delete(self, name: _Name) -> Response:
        """Stop watching a camera and forget it."""
        await self._change(lambda: self._door.remove(name))
        return _json(200, {"removed": name})

    async def _pause(self, name: _Name) -> Response:
        """Stop reading a camera and keep it, as stopped."""
        return await self._changed(name, lambda: self._door.pause(name))

    async def _resume(self, name: _Name) -> Response:
        """Read a paused camera again."""
        return await self._changed(name, lambda: self._door.resume(name))

    async def _change(self, change: Callable[[], T]) -> T:
        if self._waiting >= MOST_CHANGES:
            raise HTTPException(
                503, "too many changes wait; ask again in a second", {"retry-after": "1"}
            )
        self._waiting += 1
        loop = asyncio.get_running_loop()
        try:
            done = await _told(loop.run_in_executor(self._changing, change))
        finally:
            self._waiting -= 1
        if not self._settling:
            self._settling = True
            loop.run_in_executor(self._fitting, self._settle)
        return done

    def _settle(self) -> None:
        self._settling = False  # what changes from here on needs another
        self._door.settle()

    async def _changed(
        self, name: str, change: Callable[[], bool | None], *, added: bool = False
    ) -> Response:
        """Make the change, and answer with the camera as it left it: the next may remove it."""

        def changed() -> tuple[bool, dict[str, Any]]:
            new = change() or added
            try:
                return new, self._whole(name)
            except CameraFault:
                raise CameraFault(
                    409, "it was done, and another change removed the camera meanwhile"
                ) from None

        new, camera = await self._change(changed)
        answer = _json(201 if new else 200, camera)
        if new:
            answer.headers["location"] = f"/api/v1/cameras/{name}"
        return answer

    def _whole(self, name: str) -> dict[str, Any]:
        """All that is told of one camera. Raises CameraFault, 404; takes a moment."""
        described = self._door.described(name)
        camera = next((c for c in self._status().cameras if c.name == name), None)
        if camera is None:
            raise CameraFault(404, "there is no camera of that name; /api/v1/cameras lists them")
        return {**camera_json(camera, self._clock()), **described}


async def _told(doing: Awaitable[T]) -> T:
    try:
        return await doing
    except CameraFault as fault:
        raise HTTPException(fault.status, str(fault)) from None


async def _values(request: Request) -> dict[str, Any]:
    """The JSON object of the body. Another type could be sent by any page's form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "the body is not application/json; say so in Content-Type")
    try:
        return read_object(await body_of(request, MAX_BODY))
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


def _json(status: int, value: Mapping[str, Any]) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(to_bytes(value), status, media_type="application/json", headers=headers)
