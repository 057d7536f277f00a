"""Faces in a picture that somebody sends: ``POST /api/v1/detect``, also at ``/detect``.

As many pictures as may wait at one time are let in and the rest is told to come again; nothing of
a picture is decoded before its size is known from its first bytes.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeAlias

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from streamer.capture.stills import out_of_proportion, picture_size
from streamer.flow.channel import Closed
from streamer.flow.meters import Durations, DurationStats
from streamer.types import LANDMARKS, Failure, Outcome, Picture, Result
from streamer.vision.still import Still, decode_still
from streamer.web.body import body_of
from streamer.web.guard import DETECT_PATHS, MAX_PICTURE_BODY
from streamer.web.guesses import network_of
from streamer.web.multipart import part_of
from streamer.web.openapi import DETECTED, PICTURE_BODY
from streamer.web.readings import to_bytes

MAX_PIXELS: Final = 36_000_000
"""Most pixels of a picture: 36 megapixels are 108 MB decoded, and one is decoded at a time."""

ANSWER_LIMIT_S: Final = 20.0
"""Seconds from when a picture is here to its answer: it waits behind the cameras."""

_COMING: Final = 2
"""Bodies that may be on their way here at one time, in lengths of the queue; an address may have
one length, so that none keeps out all others. Each is bounded in size and in time."""

_NICE: Final = 10
_RAW: Final = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""Types of a body that is the picture itself, besides image/…; the last is what curl says."""

_Asked: TypeAlias = tuple[Still, Future[Outcome]]


class Detecting:
    """Answers those who send pictures. Its methods belong to one event loop."""

    def __init__(
        self,
        look: Callable[[Picture], Future[Outcome]],
        *,
        model: str,
        longest: int,
        waiting: int,
    ) -> None:
        """``look`` has a picture looked at, and may raise Closed; it is called off the loop.

        ``longest`` is the long side of the detector's input, pixels: nothing larger is kept. At
        most ``waiting`` pictures are on their way at one time.
        """
        self._look = look
        self._model = model
        self._longest = longest
        self._waiting = waiting
        self._inside = 0
        self._coming: Counter[str] = Counter()  # bodies that are being read, by address
        self._asked: Counter[int] = Counter()
        self._took = Durations()
        self._decoding = _Decoder()

    @property
    def asked(self) -> dict[int, int]:
        """How many pictures came, by HTTP status of the answer. Any thread may read it."""
        return dict(self._asked.copy())

    @property
    def under_way(self) -> int:
        """How many pictures are on their way now. Any thread may read it."""
        return self._inside

    @property
    def took(self) -> DurationStats:
        """From request to answer, seconds, of those that were looked at. Any thread may read it."""
        return self._took.stats()

    def close(self) -> None:
        """Let go of the thread."""
        self._decoding.close()

    async def answer(self, request: Request) -> Response:
        """The faces of the picture in the request, or HTTPException with a sentence."""
        begun_at = time.monotonic()
        try:
            answer = await self._answer(request)
        except HTTPException as refused:
            self._asked[refused.status_code] += 1
            raise
        self._asked[answer.status_code] += 1
        self._took.observe(time.monotonic() - begun_at)
        return answer

    async def _answer(self, request: Request) -> Response:
        self._refuse_when_full()
        body = await self._body(request)
        self._refuse_when_full()
        self._inside += 1
        late = threading.Event()
        try:
            kind = request.headers.get("content-type", "")
            asking = self._decoding.submit(partial(self._ask, body, kind, late))
            del body
            try:
                async with asyncio.timeout(ANSWER_LIMIT_S):
                    still, asked = await asyncio.wrap_future(asking)
                    outcome = await asyncio.wrap_future(asked)
            except TimeoutError:
                raise _later(
                    f"nothing looked at this picture within {ANSWER_LIMIT_S:.0f} s; "
                    "try later, /readyz says how the detector fares"
                ) from None
        finally:
            late.set()
            self._inside -= 1
        if isinstance(outcome, Failure):
            raise _later("the detector could not look at this picture; the log says why")
        answer = faces_json(outcome, still.width, still.height, self._model)
        headers = {"cache-control": "no-store"}
        return Response(to_bytes(answer), media_type="application/json", headers=headers)

    def _refuse_when_full(self) -> None:
        if self._inside >= self._waiting:
            raise _later(f"{self._waiting} pictures wait already; send it again in a second")

    async def _body(self, request: Request) -> bytes:
        """The body of a request: those that come slowly hinder nobody but their own address."""
        address = network_of(request.client.host) if request.client else ""
        if (
            self._coming[address] >= self._waiting
            or self._coming.total() >= _COMING * self._waiting
        ):
            raise _later("too many pictures are being sent; send it again in a second")
        self._coming[address] += 1
        try:
            return await body_of(request, MAX_PICTURE_BODY)
        finally:
            self._coming[address] -= 1
            self._coming += Counter()  # those of no address are forgotten

    def _ask(self, body: bytes, kind: str, late: threading.Event) -> _Asked:
        """On the decoding thread: from a body to a picture that is being looked at."""
        still = picture_in(body, kind, self._longest)
        if late.is_set():
            raise _later("this picture took too long to decode")  # which nobody hears any more
        try:
            return still, self._look(still)
        except Closed:
            raise _later("streamer is stopping") from None


class _Decoder:
    """One thread, and one that steps back: cameras come first.

    It is none of a ThreadPoolExecutor, whose threads are waited for at the end of the program.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[_Asked], Callable[[], _Asked]] | None] = SimpleQueue()
        self._closed = False
        self._runs = False

    def submit(self, call: Callable[[], _Asked]) -> Future[_Asked]:
        """Call it when its turn comes; by one thread only. Raises HTTPException once closed."""
        if self._closed:
            raise _later("streamer is stopping")
        if not self._runs:  # not before the first picture: a door that is never opened has none
            self._runs = True
            threading.Thread(target=self._run, name="http-decode", daemon=True).start()
        future: Future[_Asked] = Future()
        self._jobs.put((future, call))
        return future

    def close(self) -> None:
        """What has not begun is never called."""
        self._closed = True
        self._jobs.put(None)

    def _run(self) -> None:
        _step_back()
        while (job := self._jobs.get()) is not None:
            future, call = job
            if self._closed:
                future.cancel()
            elif future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - it is the asker's
                    future.set_exception(error)
            del job, future, call  # a picture is not kept until the next one comes


def detect_routes(detecting: Detecting) -> APIRouter:
    """The paths at which pictures are taken: the one of the API, and the one others know."""
    router = APIRouter()
    for path in sorted(DETECT_PATHS):
        router.add_api_route(
            path,
            detecting.answer,
            methods=["POST"],
            summary="Find faces in a picture",
            operation_id=path.strip("/").replace("/", "_"),
            responses=DETECTED,
            openapi_extra=PICTURE_BODY,
        )
    return router


def picture_in(body: bytes, content_type: str, longest: int) -> Still:
    """The picture of a body, decoded. Raises HTTPException with a sentence: 400, 413 or 415."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            body = part_of(body, content_type, "image")
        elif kind not in _RAW and not kind.startswith("image/"):
            raise HTTPException(
                415, "the body is neither a picture nor a form; use curl -F image=@face.jpg"
            )
        if not body:
            raise ValueError("the picture is empty; send a JPEG, PNG, WebP or BMP file")
        size = picture_size(body)
        if size is None:
            raise HTTPException(
                415, "this is no picture that is read here; send a JPEG, PNG, WebP or BMP file"
            )
        if size[0] * size[1] > MAX_PIXELS:
            most = MAX_PIXELS // 1_000_000
            raise HTTPException(413, f"the picture has more than {most} megapixels; shrink it")
        if (why := out_of_proportion(body)) is not None:
            raise HTTPException(413, f"the picture {why}; save it anew")
        return decode_still(body, *size, longest=longest)
    except ValueError as error:
        raise HTTPException(400, str(error)) from None


def faces_json(result: Result, width: int, height: int, model: str) -> dict[str, Any]:
    """What is answered: faces best first, pixels of the upright picture, to 0.01.

    Boxes are clipped to the picture; a point may lie beside it, where the face goes on.
    """
    faces = result.tracks.faces
    boxes = faces.boxes.astype(float)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
    stamps = result.stamps
    return {
        "faces": [
            {
                "bbox": box,
                "keypoints": dict(zip(LANDMARKS, points, strict=True)),
                "confidence": confidence,
            }
            for box, points, confidence in zip(
                boxes.round(2).tolist(),
                faces.landmarks.astype(float).round(2).tolist(),
                faces.scores.astype(float).round(5).tolist(),
                strict=True,
            )
        ],
        "width": width,
        "height": height,
        "model": model,
        "inference_ms": round(1000 * (stamps.detected_at - stamps.taken_at), 2),
    }


def _later(sentence: str) -> HTTPException:
    return HTTPException(503, sentence, {"retry-after": "1"})


def _step_back() -> None:
    """Have this thread run when others leave it time (Linux knows a niceness of threads)."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    except OSError:
        pass  # then it runs like the others
