"""The loops that feed viewers: a WebSocket with all cameras, and MJPEG with one.

The protocol of ``/ws/live``. The viewer sends JSON text:

* first, and again whenever it likes: ``{"width": 160..1920}``, the width of the pictures in
  pixels, with ``"in_flight": 1..64`` if it will say what it has drawn;
* ``{"drawn": sequence}``: it has drawn the picture of that sequence and all before it. No more
  than ``in_flight`` pictures are ever on the way, so none grows old in a browser's queue.

The server sends:

* binary, a picture: 4 bytes, the big-endian length of the header; the header, JSON with
  ``sequence`` (of this connection, from 1), ``camera``, ``frame``, ``age_ms``, ``status``
  (``live``, ``stale``, ``failed``), ``faces`` (null where nobody looked), ``width``,
  ``height``; then the JPEG. The newest only, at most 25 per second per camera;
* text, once a second: ``{"type": "status", "stale_after_s": ..., ...}`` with the readings of
  ``/api/v1/status``.

It closes with 1001 (streamer stops), 1003 or 1008 (not the protocol above) or 1013 (full).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamer.web.live import MIN_WIDTH, LiveView, Shown
from streamer.web.readings import to_bytes
from streamer.web.viewers import STATUS_EVERY_S, Full, Viewer, Viewers

MAX_FPS: Final = 25.0
_HELLO_LIMIT_S: Final = 10.0
_AFTER_FAULT_S: Final = 1.0
_MAX_MESSAGES_PER_S: Final = 500
_BOUNDARY: Final = "streamer-picture"
_PART_END: Final = f"\r\n--{_BOUNDARY}\r\n".encode()
MJPEG_TYPE: Final = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"


class _Gone(Exception):
    """The other side has left, or was cut off."""


async def feed_socket(viewers: Viewers, socket: WebSocket) -> None:
    """Serve one WebSocket from its acceptance to its end."""
    await socket.accept()
    try:
        viewer = viewers.enter()
    except Full:
        await socket.close(1013, f"{viewers.max_viewers} watch already; try again later")
        return
    listening = asyncio.create_task(_listen(socket, viewer))
    try:
        await _send_all(viewers, socket, viewer)
        await _in_time(viewers, socket, socket.close(*viewer.farewell))
    except _Gone:
        pass
    finally:
        listening.cancel()
        viewers.leave(viewer)


async def _in_time(viewers: Viewers, socket: WebSocket, sending: Awaitable[None]) -> None:
    """Send; raise :class:`_Gone` when nobody is there to read, and cut off who does not read."""
    try:
        async with asyncio.timeout(viewers.read_limit_s):
            await sending
    except TimeoutError:
        # Closing politely would wait for the viewer to read what is queued.
        socket.state.transport.abort()
        raise _Gone from None
    except (WebSocketDisconnect, RuntimeError):  # uvicorn's word for "closed" is RuntimeError
        raise _Gone from None


async def _listen(socket: WebSocket, viewer: Viewer) -> None:
    """Take what the viewer says until it leaves, says nonsense, or says far too much."""
    loop = asyncio.get_running_loop()
    second, heard = loop.time(), 0
    try:
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            if loop.time() - second >= 1.0:
                second, heard = loop.time(), 0
            heard += 1
            text = message.get("text")
            if text is None:
                viewer.farewell = (1003, "messages to this server are text")
                return
            if heard > _MAX_MESSAGES_PER_S:
                raise ValueError("too many messages; send one for each picture drawn")
            viewer.hear(text)
    except ValueError as error:
        viewer.farewell = (1008, str(error))
    finally:
        viewer.leave()


async def _send_all(viewers: Viewers, socket: WebSocket, viewer: Viewer) -> None:
    """Send pictures and readings until the viewer leaves. Raises :class:`_Gone`."""
    live = viewers.live
    loop = asyncio.get_running_loop()
    late_at = loop.time() + _HELLO_LIMIT_S
    while viewer.width is None and not viewer.gone:
        if loop.time() >= late_at:
            viewer.farewell = (1008, 'say {"width": 640} first')
            return
        await viewer.nap(late_at - loop.time())
    seen: dict[str, int] = defaultdict(int)  # cameras come and go while somebody watches
    due_at: dict[str, float] = defaultdict(float)
    status_at = 0.0
    while not viewer.gone:
        if loop.time() >= status_at:
            status_at = loop.time() + STATUS_EVERY_S
            await _in_time(viewers, socket, socket.send_text(await viewers.reading()))
        next_at = status_at
        for camera in live.cameras:
            if viewer.gone or not viewer.has_room:
                break  # what it draws, or its end, wakes this loop
            if live.sequence(camera) <= seen[camera]:
                continue
            if loop.time() >= due_at[camera]:
                due_at[camera] = loop.time() + 1.0 / MAX_FPS
                shown = await viewers.picture(camera, viewer.width or MIN_WIDTH, marked=False)
                if shown is None:
                    due_at[camera] = loop.time() + _AFTER_FAULT_S
                elif shown.sequence > seen[camera]:
                    seen[camera] = shown.sequence
                    viewer.sent += 1
                    message = picture_message(live, shown, viewer.sent)
                    await _in_time(viewers, socket, socket.send_bytes(message))
            if live.sequence(camera) > seen[camera]:
                next_at = min(next_at, due_at[camera])
        await viewer.nap(next_at - loop.time())


def picture_message(live: LiveView, shown: Shown, sequence: int) -> bytes:
    """The binary message of one picture, as the head of this module says; age is of now."""
    header = to_bytes(
        {
            "sequence": sequence,
            "camera": shown.camera,
            "frame": shown.frame,
            "age_ms": round(1000 * live.age_s(shown)),
            "status": live.look(shown),
            "faces": shown.faces,
            "width": shown.width,
            "height": shown.height,
        }
    )
    return len(header).to_bytes(4, "big") + header + shown.jpeg


class MjpegResponse(Response):
    """One camera as endless ``multipart/x-mixed-replace``."""

    def __init__(self, viewers: Viewers, viewer: Viewer, camera: str, width: int) -> None:
        """``viewer`` was let in already; it leaves when the answer ends."""
        super().__init__(media_type=MJPEG_TYPE)
        self._viewers = viewers
        self._viewer = viewer
        self._camera = camera
        self._width = width

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send parts until either side has enough."""
        leaving = asyncio.create_task(_until_gone(receive, self._viewer))
        headers = [(b"content-type", MJPEG_TYPE.encode()), (b"cache-control", b"no-store")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send_body(send, _PART_END[2:])
            await self._send_parts(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            scope["state"]["transport"].abort()
        finally:
            leaving.cancel()
            self._viewers.leave(self._viewer)

    async def _send_parts(self, send: Send) -> None:
        """Send what is new until the viewer leaves; a picture that goes stale goes once more."""
        live, viewer = self._viewers.live, self._viewer
        loop = asyncio.get_running_loop()
        seen = (0, "")
        while not viewer.gone:
            words = live.words(self._camera)
            if (live.sequence(self._camera), words) == seen:
                await viewer.nap(live.stale_in_s(self._camera) or 60.0)
                continue
            paced_at = loop.time() + 1.0 / MAX_FPS
            shown = await self._viewers.picture(self._camera, self._width, marked=True)
            if shown is None:
                paced_at = loop.time() + _AFTER_FAULT_S
            else:
                seen = (shown.sequence, words)
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(shown.jpeg)}\r\n\r\n"
                # The boundary goes with the picture: a browser shows a part when it sees its end.
                await self._send_body(send, head.encode() + shown.jpeg + _PART_END)
            while not viewer.gone and loop.time() < paced_at:
                await viewer.nap(paced_at - loop.time())

    async def _send_body(self, send: Send, body: bytes) -> None:
        """Raises ``TimeoutError`` when the viewer does not read."""
        async with asyncio.timeout(self._viewers.read_limit_s):
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive, viewer: Viewer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.leave()
