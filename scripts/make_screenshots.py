"""Makes docs/images/demo.png: the live page of the running demo in a headless Chromium.

Run it by `make screenshots`; it needs Debian's chromium. The pictures show the demo clip only.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PORT = 18080


def main() -> None:
    target = ROOT / "docs" / "images" / "demo.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    demo = subprocess.Popen(
        [sys.executable, "-m", "streamer", "demo", "--http", f"127.0.0.1:{PORT}",
         "--zeromq", "tcp://127.0.0.1:*"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 540}, color_scheme="dark")
            for _ in range(100):
                try:
                    page.goto(f"http://127.0.0.1:{PORT}/", wait_until="commit")
                    break
                except Exception:  # noqa: BLE001 - not up yet
                    page.wait_for_timeout(200)
            page.wait_for_timeout(15_000)  # until all three cameras are live
            page.screenshot(path=target)
            browser.close()
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.wait(15)
    print(f"wrote {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
