"""Makes the pictures of the documents: the wall and one camera large, in a headless Chromium.

Run it by `make screenshots`; it needs Debian's chromium. The pictures show the demo clip only,
and one camera that is lost meanwhile.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
ADDRESS = "127.0.0.1:18080"
CAMERAS = ("canteen", "entrance", "garage", "hall", "lobby", "reception", "roof", "stairs", "yard")
LOST = "reception"
SIZE = {"width": 1280, "height": 720}
CHART_S = 75
"""Seconds of history that the charts have in the picture of one camera."""


def configuration(*, lost: bool) -> dict[str, Any]:
    cameras: dict[str, Any] = {
        name: {"source": f"demo:?fps=5&delay={0.9 * n:g}"} for n, name in enumerate(CAMERAS)
    }
    if lost:
        cameras[LOST] = {"source": "rtsp://127.0.0.1:9/stream"}
    return {"cameras": cameras, "publish": {"zeromq": None}, "http": {"bind": ADDRESS}}


def answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://{ADDRESS}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wall.yaml"
        path.write_text(yaml.safe_dump(configuration(lost=False)))
        program = subprocess.Popen(
            [sys.executable, "-m", "streamer", "run", str(path)],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            take(path)
        finally:
            program.send_signal(signal.SIGTERM)
            program.wait(15)


def take(path: Path) -> None:
    """Both pictures, of the program that follows the configuration at ``path``."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport=SIZE, color_scheme="dark")  # type: ignore[arg-type]
        for _ in range(300):
            if answers():
                break
            page.wait_for_timeout(200)
        page.goto(f"http://{ADDRESS}/", wait_until="commit")
        for name in CAMERAS:
            page.wait_for_selector(f'[data-camera="{name}"][data-look="live"]', timeout=60_000)
        path.write_text(yaml.safe_dump(configuration(lost=True)))  # streamer follows its file
        page.wait_for_selector(f'[data-camera="{LOST}"][data-look="down"]', timeout=30_000)
        page.wait_for_timeout(8_000)
        page.screenshot(path=IMAGES / "wall.jpg", type="jpeg", quality=84)
        page.locator('[data-camera="entrance"]').click()
        page.wait_for_timeout(1000 * CHART_S)
        page.screenshot(path=IMAGES / "camera.jpg", type="jpeg", quality=84)
        browser.close()
    for name in ("wall.jpg", "camera.jpg"):
        size = (IMAGES / name).stat().st_size
        print(f"wrote docs/images/{name}, {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
