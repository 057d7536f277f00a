"""The loops that feed viewers: a WebSocket with all cameras, and MJPEG with one.

The protocol of ``/ws/live``. The viewer sends JSON text, whenever it likes, with any of:

* ``"width"``: 160..1920, the width of the pictures in pixels, or 0 for none; the first message
  must have it. ``"widths"``: ``{camera: width}``, the exceptions, all of them each time;
* ``"in_flight"``: 1..128, if it will say what it has drawn;
* ``"drawn"``: it has drawn the picture of that sequence and all before it. No more
  than ``in_flight`` pictures are ever on the way, so none grows old in a browser's queue.

The server sends:

* binary, a picture: 4 bytes, the big-endian length of the header; the header, JSON with
  ``sequence`` (of this connection, from 1), ``camera``, ``epoch``, ``frame``, ``age_ms``,
  ``status`` (``live``, ``stale``, ``failed``), ``privacy`` (how faces are covered in it; one that
  was sent comes again when that changes), ``faces`` (their number, null where nobody looked),
  ``width``, ``height``, ``found`` (the faces of this very picture in its pixels, as
  :func:`streamer.web.live.found_json` says); then the JPEG, in which nothing is drawn. The newest
  only, at most 25 per second per camera, and first of the camera that waited longest;
* text, once a second: ``{"type": "status", "stale_after_s": ..., ...}`` with the readings of
  ``/api/v1/status``, then ``{"type": "viewer", ...}`` with what this viewer was sent and not sent;
* text, when there is news: ``{"type": "changes", "camera": ..., "down_for_s": ..., "changes":
  [...]}``, the newest changes of a camera, oldest first, and for how long it has not been live.

It closes with 1001 (streamer stops), 1003 or 1008 (not the protocol above) or 1013 (full).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamer.vision.privacy import Mode
from streamer.web.live import LiveView, Shown, Wish
from streamer.web.readings import change_json, to_bytes
from streamer.web.viewers import STATUS_EVERY_S, DropReason, Full, Viewer, Viewers

MAX_FPS: Final = 25.0
_HELLO_LIMIT_S: Final = 10.0
_AFTER_FAULT_S: Final = 1.0
_BLOCKED_S: Final = 0.05
"""A send that takes longer waited for the viewer to read."""
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
        viewers.count_cut_off()
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


@dataclass(slots=True)
class _Fed:
    """What a viewer has had of one camera: numbers of its newest picture; seconds of the loop.

    ``due_at`` is when it may have the next one. The schedule is absolute: a picture that came
    late does not make the next ones late, as a pause after each would.
    """

    sequence: int = 0
    number: int = 0
    privacy: Mode = "none"
    due_at: float = 0.0
    sent_at: float = 0.0

    def behind(self, sequence: int, privacy: Mode) -> bool:
        """Whether that is newer, or the same with its faces covered in another way."""
        return sequence > self.sequence or (
            sequence == self.sequence > 0 and privacy != self.privacy
        )

    def missed(
        self, shown: Shown, viewer: Viewer, now: float, fps: float
    ) -> tuple[int, DropReason]:
        """How many pictures lie between the last one and ``shown``, and why it got none."""
        missed = max(0, shown.number - self.number - 1) if self.number else 0
        if viewer.held_at >= self.sent_at:
            return missed, "slow"
        return missed, "paced" if now - self.sent_at < 1.5 / fps else "busy"

    def take(self, shown: Shown, now: float, fps: float) -> None:
        """Remember that ``shown`` goes out now."""
        self.sequence, self.number, self.privacy = shown.sequence, shown.number, shown.privacy
        self.sent_at = now
        self.due_at = max((self.due_at or now) + 1.0 / fps, now)


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
    fed: dict[str, _Fed] = defaultdict(_Fed)  # cameras come and go while somebody watches
    told: dict[str, int] = {}
    status_at = 0.0
    while not viewer.gone:
        if loop.time() >= status_at:
            status_at = loop.time() + STATUS_EVERY_S
            await _in_time(viewers, socket, socket.send_text(await viewers.reading()))
            for text in _news(live, viewer, told):
                await _in_time(viewers, socket, socket.send_text(text))
        next_at = status_at
        for camera in sorted(live.cameras, key=lambda name: fed[name].sent_at):
            if viewer.gone:
                break
            had, width = fed[camera], viewer.width_of(camera)
            if not width:
                had.number = 0  # what it does not ask for it does not miss
                continue
            if not had.behind(live.sequence(camera), live.privacy(camera)):
                continue
            if not viewer.has_room:
                viewer.held_at = loop.time()
                break  # what it draws, or its end, wakes this loop
            if loop.time() >= had.due_at:
                shown = await viewers.picture(camera, Wish(width, boxes=False, marked=False))
                if shown is None:
                    had.due_at = loop.time() + _AFTER_FAULT_S
                elif had.behind(shown.sequence, shown.privacy):
                    now = loop.time()
                    viewers.tally(viewer, *had.missed(shown, viewer, now, MAX_FPS))
                    had.take(shown, now, MAX_FPS)
                    message = picture_message(live, shown, viewer.sent)
                    await _in_time(viewers, socket, socket.send_bytes(message))
                    if loop.time() - now > _BLOCKED_S:
                        viewer.held_at = loop.time()
            if had.behind(live.sequence(camera), live.privacy(camera)):
                next_at = min(next_at, had.due_at)
        await viewer.nap(next_at - loop.time())


def _news(live: LiveView, viewer: Viewer, told: dict[str, int]) -> Iterator[str]:
    """What this viewer is to be told beside the status, each second; ``told`` goes on with it."""
    counts = {"type": "viewer", "number": viewer.number, "sent": viewer.sent}
    yield to_bytes({**counts, "dropped": viewer.dropped}).decode()
    for camera in live.cameras:
        changed, down_at, changes = live.changes(camera)
        if changed != told.get(camera, 0):
            told[camera] = changed
            now = live.clock()
            down_for_s = None if down_at is None else round(max(0.0, now - down_at), 3)
            news = [change_json(change, now=now) for change in changes]
            message = {"type": "changes", "camera": camera, "down_for_s": down_for_s}
            yield to_bytes({**message, "changes": news}).decode()


def picture_message(live: LiveView, shown: Shown, sequence: int) -> bytes:
    """The binary message of one picture, as the head of this module says; age is of now."""
    header = to_bytes(
        {
            "sequence": sequence,
            "camera": shown.camera,
            "epoch": shown.epoch,
            "frame": shown.frame,
            "age_ms": round(1000 * live.age_s(shown)),
            "status": live.look(shown),
            "privacy": shown.privacy,
            "faces": shown.faces,
            "width": shown.width,
            "height": shown.height,
        }
    )
    header = header[:-1] + b',"found":' + shown.found + b"}"
    return len(header).to_bytes(4, "big") + header + shown.jpeg


class MjpegResponse(Response):
    """One camera as endless ``multipart/x-mixed-replace``."""

    def __init__(
        self, viewers: Viewers, viewer: Viewer, camera: str, wish: Wish, *, fps: float = MAX_FPS
    ) -> None:
        """``viewer`` was let in already and leaves at the end. At most ``fps`` a second."""
        super().__init__(media_type=MJPEG_TYPE)
        self._viewers = viewers
        self._viewer = viewer
        self._camera = camera
        self._wish = wish
        self._fps = fps

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
            self._viewers.count_cut_off()
            scope["state"]["transport"].abort()
        finally:
            leaving.cancel()
            self._viewers.leave(self._viewer)

    async def _send_parts(self, send: Send) -> None:
        """Send what is new until the viewer leaves.

        A picture goes once more when it goes stale, and when its faces are covered in another way.
        """
        live, viewer = self._viewers.live, self._viewer
        loop = asyncio.get_running_loop()
        had, words_sent = _Fed(), ""
        while not viewer.gone:
            words = live.words(self._camera)
            newest = live.sequence(self._camera), live.privacy(self._camera)
            if words == words_sent and not had.behind(*newest):
                # Nobody wakes us when faces are to be covered.
                await viewer.nap(min(live.stale_in_s(self._camera) or 1.0, 1.0))
                continue
            shown = await self._viewers.picture(self._camera, self._wish)
            now = loop.time()
            if shown is None:
                had.due_at = now + _AFTER_FAULT_S
            else:
                words_sent = words
                if had.behind(shown.sequence, shown.privacy):
                    self._viewers.tally(viewer, *had.missed(shown, viewer, now, self._fps))
                    had.take(shown, now, self._fps)
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(shown.jpeg)}\r\n\r\n"
                # The boundary goes with the picture: a browser shows a part when it sees its end.
                await self._send_body(send, head.encode() + shown.jpeg + _PART_END)
                if loop.time() - now > _BLOCKED_S:
                    viewer.held_at = loop.time()
            while not viewer.gone and (rest_s := had.due_at - loop.time()) > 0:
                stale_in_s = live.stale_in_s(self._camera)
                if stale_in_s is None and live.words(self._camera) not in ("", words_sent):
                    break  # that what is shown is not live any more is said at once
                if live.privacy(self._camera) != had.privacy:
                    break  # and faces that are to be covered are covered at once
                await viewer.nap(min(rest_s, stale_in_s or rest_s, 1.0))

    async def _send_body(self, send: Send, body: bytes) -> None:
        """Raises ``TimeoutError`` when the viewer does not read."""
        async with asyncio.timeout(self._viewers.read_limit_s):
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _until_gone(receive: Receive, viewer: Viewer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.leave()
