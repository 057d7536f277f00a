"""Options of snapshot.jpg and live.mjpg."""

from __future__ import annotations

import cv2
import httpx
import numpy as np
import pytest

from tests.web.synthetic import outcome

PATH = "/api/v1/cameras/door"


@pytest.mark.parametrize("what", ["snapshot.jpg", "live.mjpg"])
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("width", "159", "width must be a whole number from 160 to 1920"),
        ("width", "1921", "width must be a whole number from 160 to 1920"),
        ("width", "640.5", "width must be a whole number"),
        ("width", "640.0", "width must be a whole number"),
        ("width", "+640", "width must be a whole number"),
        ("width", "", "width must be a whole number"),
        ("width", "9" * 400, "width must be a whole number"),
        ("quality", "9", "quality must be a whole number from 10 to 95"),
        ("quality", "96", "quality must be a whole number from 10 to 95"),
        ("quality", "best", "quality must be a whole number"),
        ("boxes", "2", "boxes must be 0 or 1"),
        ("boxes", "yes", "boxes must be 0 or 1"),
        ("boxes", "true", "boxes must be 0 or 1"),
        ("boxes", "-1", "boxes must be 0 or 1"),
    ],
)
def test_an_option_out_of_bounds_is_named(server, live, what, option, value, words):
    live.write(outcome("door"))
    answer = httpx.get(f"http://{server.address}{PATH}/{what}", params={option: value})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(words)
    assert server.viewers == 0


@pytest.mark.parametrize("fps", ["0", "0.05", "25.1", "-1", "nan", "inf", "fast"])
def test_a_rate_out_of_bounds_is_named(server, fps):
    answer = httpx.get(f"http://{server.address}{PATH}/live.mjpg", params={"fps": fps})
    assert answer.status_code == 422
    assert answer.json()["error"] == "fps must be a number from 0.1 to 25"
    assert server.viewers == 0


def test_a_snapshot_has_the_size_quality_and_boxes_asked_for(server, live):
    live.write(outcome("door", 3))
    url = f"http://{server.address}{PATH}/snapshot.jpg"
    small = httpx.get(url, params={"width": 160, "quality": 10, "boxes": 0})
    large = httpx.get(url, params={"width": 320, "quality": 95, "boxes": 1})
    images = [
        cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).astype(int)
        for answer in (small, large)
    ]
    assert [image.shape for image in images] == [(90, 160, 3), (180, 320, 3)]
    colourful = [(image.max(axis=2) - image.min(axis=2)).max() for image in images]
    assert colourful[0] < 60 < colourful[1]
    assert large.headers["x-streamer-frame"] == "3"


def test_a_camera_nobody_knows_has_no_pictures(server):
    for what in ("snapshot.jpg", "live.mjpg"):
        answer = httpx.get(f"http://{server.address}/api/v1/cameras/attic/{what}")
        assert answer.status_code == 404
