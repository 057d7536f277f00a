"""What the API's paths take and answer, for /openapi.json. It checks nothing at run time."""

from __future__ import annotations

import copy
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from streamer.config_sections import CAMERA_NAME, Camera

MOST_INPUT: Final = 1280
"""Largest input size of a camera added over HTTP: one picture of 4096 takes seconds on a CPU."""

Point = tuple[float, float]


class Fault(BaseModel):
    """What went wrong, in one sentence."""

    error: str


class Keypoints(BaseModel):
    """Five points of a face, each x, y; left and right as seen in the picture."""

    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point


class Face(BaseModel):
    """One face: bbox is x1, y1, x2, y2 in pixels of the upright picture."""

    bbox: tuple[float, float, float, float]
    keypoints: Keypoints
    confidence: float = Field(ge=0, le=1)


class Answer(BaseModel):
    """The faces of a picture, best first. width and height are of the upright picture, pixels."""

    faces: list[Face]
    width: int
    height: int
    model: str
    inference_ms: float


class Dropped(BaseModel):
    """Frames that were let go in one stage for one reason."""

    stage: str
    reason: str
    frames: int


class Ledger(BaseModel):
    """captured = settled (detected, tracked) + skipped + dropped + in_flight."""

    captured: int
    settled: dict[str, int]
    skipped: int
    dropped: list[Dropped]
    in_flight: int
    imbalance: int


class Ledgers(BaseModel):
    """The ledger of each camera, by name."""

    cameras: dict[str, Ledger]


class CameraReading(BaseModel):
    """What a camera does now; seconds everywhere, null where there is no figure yet."""

    model_config = ConfigDict(extra="allow")

    name: str
    url: str
    state: str
    reason: str
    detail: str
    for_s: float
    capture_fps: float
    detect_fps: float
    faces_now: int
    latency_p50_s: float | None
    latency_p99_s: float | None
    newest_age_s: float | None
    ledger: Ledger


class CameraWhole(CameraReading):
    """The same with its settings, secrets hidden; from is file or http."""

    origin: str = Field(alias="from")
    settings: dict[str, Any]


class CameraList(BaseModel):
    """Every camera."""

    cameras: list[CameraReading]


class Removed(BaseModel):
    """The name of the camera that is gone."""

    removed: str


class Check(BaseModel):
    """One thing that has to be well."""

    ok: bool
    detail: str = ""


class Readiness(BaseModel):
    """Whether streamer does its job, check by check."""

    status: str
    checks: dict[str, Check]


class Alive(BaseModel):
    """Whether it is alive."""

    model_config = ConfigDict(extra="allow")

    status: str


class Reading(BaseModel):
    """Everything now."""

    model_config = ConfigDict(extra="allow")

    version: str
    boot_id: str
    model: str
    provider: str
    uptime_s: float
    cameras: list[CameraReading]


_WORDS: Final = {
    400: "The body or its headers cannot be read.",
    401: "A token is needed.",
    403: "The token may only read, another site's page asks, or the rules do not allow it.",
    404: "There is no such camera.",
    405: "Another method.",
    408: "The body did not come in time.",
    409: "The camera is there already, or there are as many as may be.",
    413: "The body or the picture is too large.",
    415: "The body is of a type that is not read here.",
    422: "A value is not good; the sentence names it.",
    429: "Too many requests from this address.",
    503: "Not now; Retry-After says when.",
}


def faults(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Those of ``codes`` and those that every path may answer."""
    usual = (401, 403, 429)
    return {
        code: {"model": Fault, "description": _WORDS[code]} for code in sorted({*usual, *codes})
    }


def answers(
    model: type[BaseModel], description: str, *codes: int, code: int = 200
) -> dict[int | str, dict[str, Any]]:
    """``model`` when all is well, and faults."""
    return {code: {"model": model, "description": description}, **faults(*codes)}


STATUS: Final = answers(Reading, "Everything now")
CAMERAS: Final = answers(CameraList, "Every camera")
LEDGER: Final = answers(Ledgers, "Every ledger")
CAMERA: Final = answers(CameraWhole, "The camera", 404)
_CHANGE: Final = (400, 408, 409, 413, 415, 422, 503)
ADDED: Final = answers(CameraWhole, "The camera, added", *_CHANGE, code=201)
REPLACED: Final = {
    **answers(CameraWhole, "The camera, replaced", *_CHANGE),
    201: {"model": CameraWhole, "description": "The camera, added"},
}
DELETED: Final = answers(Removed, "It is gone", 404, 409, 503)
ALIVE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": Alive, "description": "It is alive"},
    503: {"model": Alive, "description": "It is stuck; start it again"},
    429: faults()[429],
}
READY: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": Readiness, "description": "It does its job"},
    503: {"model": Readiness, "description": "It does not; the checks say why"},
    429: faults()[429],
}
EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events without end: faces (streamer.faces/1), camera (streamer.camera/1), "
        "and lost, with how many were missed",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    **faults(422, 503),
}
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
SNAPSHOT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "A picture", "content": {"image/jpeg": _BYTES}},
    **faults(404, 422, 503),
}
MJPEG: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Pictures without end",
        "content": {"multipart/x-mixed-replace": _BYTES},
    },
    **faults(404, 422, 503),
}
METRICS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Every metric",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/openmetrics-text": {"schema": {"type": "string"}},
        },
    },
    **faults(),
}
DETECTED: Final = answers(Answer, "The faces", 400, 408, 413, 415, 503)


def _camera_schema(*, named: bool) -> dict[str, Any]:
    """The body that makes a camera: the section ``cameras.NAME`` without files."""
    schema = copy.deepcopy(Camera.model_json_schema())
    properties = schema["properties"]
    del properties["ca_file"]
    properties["source"]["pattern"] = (
        r"^(synthetic:|demo:|(rtsps?|https?)://[a-z0-9]{1,20}(\.[a-z]{2,5})?/[a-z0-9]{0,20})$"
    )
    properties["source"]["description"] = "rtsp(s)://, http(s)://, synthetic: or demo:"
    properties["input_size"] = {
        "anyOf": [
            {"type": "integer", "minimum": 32, "maximum": MOST_INPUT, "multipleOf": 32},
            {"type": "null"},
        ],
        "default": None,
        "description": properties["input_size"]["description"],
    }  # fmt: skip
    if named:
        properties["name"] = {"type": "string", "pattern": CAMERA_NAME}
        schema["required"] = ["name", "source"]
    return schema


def camera_body(*, named: bool) -> dict[str, Any]:
    """The request body of a path that adds or replaces a camera."""
    content = {"application/json": {"schema": _camera_schema(named=named)}}
    return {"requestBody": {"required": True, "content": content}}


PICTURE_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "image/webp": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""The request body of the paths that take pictures."""
