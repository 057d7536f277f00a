"""Single pictures and MJPEG over plain HTTP, for pages and programs that are not ours.

Every option is bounded; :data:`OPTIONS` says of each what may be asked for.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException

from streamer.web.feeds import MAX_FPS, MJPEG_TYPE, MjpegResponse
from streamer.web.live import MAX_QUALITY, MAX_WIDTH, MIN_QUALITY, MIN_WIDTH, Wish
from streamer.web.openapi import MJPEG, SNAPSHOT
from streamer.web.viewers import Full, Viewers

MIN_FPS: Final = 0.1

OPTIONS: Final = {
    "width": f"width must be a whole number from {MIN_WIDTH} to {MAX_WIDTH}",
    "fps": f"fps must be a number from {MIN_FPS} to {MAX_FPS:g}",
    "quality": f"quality must be a whole number from {MIN_QUALITY} to {MAX_QUALITY}",
    "boxes": "boxes must be 0 or 1",
}
"""What is answered, with 422, to an option that is none: its text is not sent back."""


def _written_whole(value: object) -> object:
    """A number that is written with digits alone: pydantic takes 640.0 and yes for numbers too."""
    if isinstance(value, str) and _WHOLE.fullmatch(value) is None:
        raise ValueError
    return value


_WHOLE: Final = re.compile(r"-?[0-9]+", re.ASCII)
_WRITTEN_WHOLE: Final = BeforeValidator(_written_whole)
_Width = Annotated[
    int,
    Query(ge=MIN_WIDTH, le=MAX_WIDTH, description="pixels, rounded up to a multiple of 160"),
    _WRITTEN_WHOLE,
]
_Quality = Annotated[
    int,
    Query(ge=MIN_QUALITY, le=MAX_QUALITY, description="of the JPEG, rounded up to 5s"),
    _WRITTEN_WHOLE,
]
_Fps = Annotated[
    float, Query(ge=MIN_FPS, le=MAX_FPS, allow_inf_nan=False, description="most pictures a second")
]
_Boxes = Annotated[int, Query(ge=0, le=1, description="1: draw what was found"), _WRITTEN_WHOLE]


def picture_routes(viewers: Viewers) -> APIRouter:
    """``snapshot.jpg`` and ``live.mjpg`` of each camera."""
    routes = APIRouter()
    live = viewers.live

    def known(camera: str) -> str:
        if camera not in live.cameras:
            raise HTTPException(404, "there is no camera of that name; /api/v1/status lists them")
        return camera

    @routes.get("/api/v1/cameras/{name}/snapshot.jpg", responses=SNAPSHOT, response_class=Response)
    @routes.head("/api/v1/cameras/{name}/snapshot.jpg", include_in_schema=False)
    async def snapshot(
        name: str, width: _Width = 640, quality: _Quality = 80, boxes: _Boxes = 1
    ) -> Response:
        """Its newest picture; one that is not live says so in its pixels."""
        shown = await viewers.picture(known(name), Wish(width, quality, boxes == 1))
        if shown is None:
            raise HTTPException(
                503,
                "this camera has no picture yet; try again when it is live",
                {"retry-after": "1"},
            )
        return Response(
            shown.jpeg,
            media_type="image/jpeg",
            headers={
                "cache-control": "no-store",
                "cross-origin-resource-policy": "cross-origin",
                "x-streamer-age-ms": str(round(1000 * live.age_s(shown))),
                "x-streamer-status": live.look(shown),
                "x-streamer-frame": str(shown.frame),
            },
        )

    @routes.get("/api/v1/cameras/{name}/live.mjpg", responses=MJPEG, response_class=Response)
    @routes.head("/api/v1/cameras/{name}/live.mjpg", include_in_schema=False)
    async def mjpeg(
        request: Request,
        name: str,
        width: _Width = 640,
        quality: _Quality = 80,
        boxes: _Boxes = 1,
        fps: _Fps = MAX_FPS,
    ) -> Response:
        """Its pictures without end, the newest only, for an ``img`` of any page."""
        known(name)
        if request.method == "HEAD":
            return Response(media_type=MJPEG_TYPE, headers={"cache-control": "no-store"})
        wish = Wish(width, quality, boxes == 1)
        try:
            return MjpegResponse(viewers, viewers.enter("mjpeg"), name, wish, fps=fps)
        except Full:
            raise HTTPException(
                503, f"{viewers.max_viewers} watch already; try again later", {"retry-after": "5"}
            ) from None

    return routes
