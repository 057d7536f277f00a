"""What is found and what cameras do, as server-sent events: ``GET /api/v1/events``.

One ring of the newest events for all who listen: whoever reads slower than they come is told how
many he missed. An event is written as JSON when the first one asks for it, once for all.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from streamer.config_sections import CAMERA_NAME
from streamer.events import camera_event, encode, faces_event
from streamer.types import CameraChange, Outcome
from streamer.web.openapi import EVENTS

KEPT: Final = 2048
"""Events that are kept: some twenty seconds of four cameras, without pictures."""

MOST_LISTENERS: Final = 32
ALIVE_S: Final = 15.0
"""A line is sent at least so often, seconds, so that proxies and browsers know we are there."""

_AT_ONCE: Final = 256
OPTIONS: Final = {
    "camera": "camera must be the name of one, 64 of them at most",
    "kind": "kind must be faces or camera",
    "last-event-id": "Last-Event-ID must be the id of an event",
}
"""What is answered, with 422, to an option that is none."""

_Name = Annotated[str, Query(pattern=CAMERA_NAME)]
_Cameras = Annotated[
    list[_Name] | None, Query(max_length=64, description="of these cameras only; repeatable")
]
_Kinds = Annotated[
    list[Literal["faces", "camera"]] | None,
    Query(max_length=2, description="of these kinds only; repeatable"),
]
_LastEventId = Annotated[
    str, Header(max_length=128, description="the id heard last: go on after it")
]
_ID: Final = re.compile(r"(?P<boot>[0-9a-f]{1,64})-(?P<number>[0-9]{1,15})", re.ASCII)


@dataclass(slots=True)
class _Kept:
    """One event: what it tells, when it was published, and its text once it was asked for."""

    number: int
    kind: str
    camera: str
    item: Outcome | CameraChange
    seq: int
    at: float
    text: bytes | None = None


class Told:
    """A :class:`streamer.protocols.ChangeSink` that keeps the newest events for who listens."""

    def __init__(self, *, boot_id: str, model: str, clock: Callable[[], float]) -> None:
        """``clock`` is the one that frames are stamped with, monotonic seconds."""
        self._boot_id = boot_id
        self._model = model
        self._clock = clock
        self._lock = threading.Lock()
        self._ring: deque[_Kept] = deque(maxlen=KEPT)
        self._number = 0
        self._seqs: Counter[tuple[str, str]] = Counter()
        self._bells: dict[asyncio.AbstractEventLoop, asyncio.Future[None]] = {}
        self.closed = False
        self.listening = 0
        """How many listen now; the event loop alone counts them."""

    def write(self, outcome: Outcome) -> None:
        """Keep an outcome. Costs microseconds."""
        self._keep("faces", outcome.frame.camera, outcome)

    def write_change(self, change: CameraChange) -> None:
        """Keep a change of a camera."""
        self._keep("camera", change.camera, change)

    def close(self) -> None:
        """Nothing more comes: whoever listens is let go."""
        with self._lock:
            self.closed = True
            bells, self._bells = self._bells, {}
        _ring_all(bells)

    def _keep(self, kind: str, camera: str, item: Outcome | CameraChange) -> None:
        with self._lock:
            self._number += 1
            self._seqs[kind, camera] += 1
            seq = self._seqs[kind, camera]
            self._ring.append(_Kept(self._number, kind, camera, item, seq, self._clock()))
            bells, self._bells = self._bells, {}
        _ring_all(bells)

    @property
    def newest(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._number

    def cursor(self, last_event_id: str) -> int:
        """After which event to go on for whoever heard ``last_event_id`` last.

        What is no id of this run, or none at all, means from now on.
        """
        parts = _ID.fullmatch(last_event_id)
        if parts is None or parts["boot"] != self._boot_id:
            return self._number
        return min(int(parts["number"]), self._number)

    def after(self, number: int) -> tuple[int, list[_Kept]]:
        """How many events after ``number`` are gone, and the next few of those that are kept."""
        with self._lock:
            oldest = self._number - len(self._ring) + 1
            lost = max(0, oldest - number - 1)
            first = max(0, number + 1 - oldest)
            last = min(len(self._ring), first + _AT_ONCE)
            return lost, [self._ring[n] for n in range(first, last)]

    def text(self, kept: _Kept) -> bytes:
        """The event as it is sent; empty where its numbers cannot be said in JSON."""
        if kept.text is None:
            try:
                if isinstance(kept.item, CameraChange):
                    data = encode(
                        camera_event(kept.item, seq=kept.seq, boot_id=self._boot_id, now_at=kept.at)
                    )
                else:
                    data = encode(
                        faces_event(
                            kept.item, seq=kept.seq, boot_id=self._boot_id, model=self._model,
                            now_at=kept.at,
                        )
                    )  # fmt: skip
            except ValueError:
                kept.text = b""
            else:
                head = f"id: {self._boot_id}-{kept.number}\nevent: {kept.kind}\ndata: "
                kept.text = head.encode() + data + b"\n\n"
        return kept.text

    async def wait(self, number: int, seconds: float) -> None:
        """Wait until there is more than ``number``, the end, or ``seconds`` have passed."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self.closed or self._number > number:
                return
            bell = self._bells.get(loop)
            if bell is None:
                bell = self._bells[loop] = loop.create_future()
        await asyncio.wait((bell,), timeout=seconds)


def _ring_all(bells: dict[asyncio.AbstractEventLoop, asyncio.Future[None]]) -> None:
    for loop, bell in bells.items():
        try:
            loop.call_soon_threadsafe(_set, bell)
        except RuntimeError:
            pass  # that loop has closed: nobody waits there any more


def _set(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)


class EventsResponse(Response):
    """Events without end, in the format that browsers call EventSource."""

    media_type = "text/event-stream"

    def __init__(
        self,
        told: Told,
        *,
        cameras: Collection[str],
        kinds: Collection[str],
        last_event_id: str,
        read_limit_s: float,
    ) -> None:
        """Of ``cameras`` and ``kinds`` only, of all where there are none.

        Whoever takes more than ``read_limit_s`` seconds to read is cut off. It counts among those
        who listen from now until the answer ends.
        """
        super().__init__()
        self._told = told
        self._cameras = frozenset(cameras)
        self._kinds = frozenset(kinds)
        self._cursor = told.cursor(last_event_id)
        self._read_limit_s = read_limit_s
        told.listening += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until either side has enough."""
        sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except TimeoutError:
            scope["state"]["transport"].abort()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            self._told.listening -= 1

    async def _send_all(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send(send, b"retry: 2000\n\n")
        told = self._told
        while True:
            lost, entries = told.after(self._cursor)
            parts = []
            if lost:
                parts.append(b'event: lost\ndata: {"events":%d}\n\n' % lost)
                self._cursor += lost
            for kept in entries:
                self._cursor = kept.number
                if self._wants(kept):
                    parts.append(told.text(kept))
            if parts:
                await self._send(send, b"".join(parts))
            elif told.closed:
                break
            elif not entries:
                before = told.newest
                await told.wait(self._cursor, ALIVE_S)
                if told.newest == before and not told.closed:
                    await self._send(send, b": alive\n\n")
            else:
                await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _wants(self, kept: _Kept) -> bool:
        if self._kinds and kept.kind not in self._kinds:
            return False
        return not self._cameras or kept.camera in self._cameras

    async def _send(self, send: Send, body: bytes) -> None:
        """Raises ``TimeoutError`` when nobody reads."""
        async with asyncio.timeout(self._read_limit_s):
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def event_routes(told: Told, *, read_limit_s: float) -> APIRouter:
    """``/api/v1/events``."""
    routes = APIRouter()

    @routes.get("/api/v1/events", responses=EVENTS, response_class=Response)
    async def events(
        camera: _Cameras = None, kind: _Kinds = None, last_event_id: _LastEventId = ""
    ) -> Response:
        """What is found and what cameras do, as server-sent events without end."""
        if told.listening >= MOST_LISTENERS:
            raise HTTPException(
                503, f"{MOST_LISTENERS} listen already; try again later", {"retry-after": "5"}
            )
        return EventsResponse(
            told,
            cameras=camera or (),
            kinds=kind or (),
            last_event_id=last_event_id,
            read_limit_s=read_limit_s,
        )

    return routes
