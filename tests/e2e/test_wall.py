"""The wall as people see it: the real program, nine cameras, a real browser."""

from __future__ import annotations

import base64
import colorsys
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
import zmq
from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.program import free_port, running, wait_until_up

pytestmark = [pytest.mark.rtsp, pytest.mark.browser]

CLIP = Path(__file__).resolve().parents[2] / "streamer" / "assets" / "demo.mp4"
DEMOS = [f"demo-{n}" for n in range(8)]

SHOT = """camera => {
  // The picture, its frame's number and its size in one task: nothing is painted meanwhile.
  const tile = document.querySelector(`[data-camera="${camera}"]`);
  const canvas = tile.querySelector("canvas");
  return { frame: +tile.dataset.frame, png: canvas.toDataURL("image/png").split(",")[1] };
}"""


@contextmanager
def events_of(endpoint: str, camera: str) -> Iterator[dict[int, dict[str, Any]]]:
    """The camera's events by frame, as they come."""
    heard: dict[int, dict[str, Any]] = {}
    done = threading.Event()

    def hear() -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as hearing:
            hearing.connect(endpoint)
            hearing.subscribe(f"faces/{camera}/".encode())
            while not done.is_set():
                if hearing.poll(100):
                    event = json.loads(hearing.recv_multipart()[1])
                    heard[event["frame"]] = event

    thread = threading.Thread(target=hear, name="events")
    thread.start()
    try:
        yield heard
    finally:
        done.set()
        thread.join()


def corners_drawn(image: np.ndarray, event: dict[str, Any]) -> tuple[int, int]:
    """Of the corners of the event's faces inside the picture: how many have the face's colour."""
    scale = np.array([image.shape[1] / event["width"], image.shape[0] / event["height"]])
    drawn = looked_at = 0
    for face in event["faces"]:
        hue = face["id"] * 0.618034 % 1.0
        colour = np.array(colorsys.hls_to_rgb(hue, 0.70, 1.0))[::-1] * 255  # BGR
        x1, y1, x2, y2 = face["bbox"]
        for corner in ((x1, y1), (x2, y1), (x1, y2), (x2, y2)):
            x, y = np.rint(np.array(corner) * scale).astype(int)
            if not (3 <= x < image.shape[1] - 3 and 3 <= y < image.shape[0] - 3):
                continue
            near = image[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).astype(float)
            looked_at += 1
            drawn += int(np.abs(near - colour).max(axis=1).min() < 40)
    return drawn, looked_at


def frame(page: Page, camera: str) -> int:
    return int(page.locator(f'[data-camera="{camera}"]').get_attribute("data-frame") or -1)


def test_nine_cameras_move_boxes_sit_on_faces_and_a_lost_camera_is_told(
    rtsp_server: Any, tmp_path: Path
) -> None:
    http, zeromq = free_port(), f"tcp://127.0.0.1:{free_port()}"
    with rtsp_server(CLIP) as server, sync_playwright() as play:
        cameras: dict[str, Any] = {
            name: {"source": f"demo:?fps=3&delay={n / 4}", "input_size": 320}
            for n, name in enumerate(DEMOS)
        }
        cameras["demo-0"] = {"source": "demo:", "every": 6, "input_size": 320}
        cameras["gate"] = {"source": server.url(), "every": 8, "input_size": 320, "fill": False}
        path = tmp_path / "wall.yaml"
        config = {
            "cameras": cameras,
            "publish": {"zeromq": {"bind": zeromq}},
            "http": {"bind": f"127.0.0.1:{http}"},
        }
        path.write_text(yaml.safe_dump(config))
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        with running("run", str(path)) as program, events_of(zeromq, "demo-0") as events:
            wait_until_up(f"http://127.0.0.1:{http}/healthz", program)
            page.goto(f"http://127.0.0.1:{http}/")
            everybody = [*DEMOS, "gate"]
            for name in everybody:
                one = page.locator(f'[data-camera="{name}"]')
                expect(one).to_have_attribute("data-look", "live", timeout=60_000)
            before = {name: frame(page, name) for name in everybody}
            for name in everybody:
                page.wait_for_function(
                    "([camera, before]) => +document.querySelector("
                    "`[data-camera='${camera}']`).dataset.frame > before + 2",
                    arg=[name, before[name]],
                )
            boxes_sit_on_faces(page, events)
            server.kill()
            killed = time.monotonic()
            gate = page.locator('[data-camera="gate"]')
            expect(gate).to_have_attribute("data-look", "down", timeout=6_000)
            took = time.monotonic() - killed
            assert took < 6.0
            expect(gate.locator(".what")).to_have_text("The camera is down")
            expect(gate.locator(".when")).to_contain_text("since")
            expect(gate.locator(".why")).not_to_have_text("")
            dark = gate.locator("canvas").evaluate("e => getComputedStyle(e).filter")
            assert "grayscale" in dark, "an old picture never looks live"
            before = {name: frame(page, name) for name in DEMOS}
            for name in DEMOS:
                page.wait_for_function(
                    "([camera, before]) => +document.querySelector("
                    "`[data-camera='${camera}']`).dataset.frame > before + 2",
                    arg=[name, before[name]],
                )
                expect(page.locator(f'[data-camera="{name}"]')).to_have_attribute(
                    "data-look", "live"
                )
        browser.close()


def boxes_sit_on_faces(page: Page, events: dict[int, dict[str, Any]]) -> None:
    """On pixels of the canvas, by the events of the very frame that is drawn there."""
    right = wrong = looked_at = 0
    seen: set[int] = set()
    until = time.monotonic() + 60
    while len(seen) < 4 and time.monotonic() < until:
        shot = page.evaluate(SHOT, "demo-0")
        number = shot["frame"]
        if number in seen:
            page.wait_for_timeout(50)
            continue
        image = cv2.imdecode(
            np.frombuffer(base64.b64decode(shot["png"]), np.uint8), cv2.IMREAD_COLOR
        )
        while number not in events or max(events) < number + 25:  # by then faces have moved
            assert time.monotonic() < until, f"no event of frame {number}"
            page.wait_for_timeout(50)
        drawn, all_of_them = corners_drawn(image, events[number])
        right, looked_at = right + drawn, looked_at + all_of_them
        later = min(other for other in list(events) if other >= number + 25)
        wrong += corners_drawn(image, events[later])[0]
        seen.add(number)
    assert looked_at >= 24, "faces of four frames"
    assert right >= 0.97 * looked_at, f"{right} of {looked_at} corners"
    assert wrong < 0.5 * looked_at, "the events of another frame do not fit"
