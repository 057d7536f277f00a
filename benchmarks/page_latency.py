"""From capture to the pixel in the page: a clock in the picture, read back from the canvas.

Run it by ``make bench-viewers``; it needs Debian's chromium and takes half a minute. The
synthetic camera draws the number of each picture into it; streamer looks at every picture and
says by its events when each was captured; the page, in a headless Chromium, says when that number
stood on its canvas, by the same clock. A browser shows it at its next refresh, which is not in it.
Written to ``build/bench/page_latency.json``, milliseconds:

* ``page_ms``: from capture to the pixel on the canvas, quantiles 50, 95 and 99;
* ``published_ms``: from capture to the event, the same quantiles: what streamer needs without
  any page;
* ``seen``: the share of all pictures that stood on the canvas.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
import zmq
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.table import Table

from benchmarks.viewers import ROOT, free_port, live, wait_for

OUTPUT = ROOT / "build" / "bench" / "page_latency.json"
WARM_S = 5.0

READ = """seconds => new Promise(done => {
  // The number stands in the top row as 32 blocks, highest bit first: read_number in synthetic.py.
  const canvas = document.querySelector(".tile canvas");
  const pen = canvas.getContext("2d");
  const seen = [];
  let last = -1;
  const until = performance.now() + seconds * 1000;
  const look = () => {
    const block = canvas.width / 32;
    const row = pen.getImageData(0, Math.floor(block / 2), canvas.width, 1).data;
    let number = 0;
    for (let n = 0; n < 32; n += 1) {
      number = number * 2 + (row[4 * Math.floor((n + 0.5) * block)] > 127 ? 1 : 0);
    }
    if (number !== last) seen.push([last = number, Date.now()]);
    if (performance.now() < until) requestAnimationFrame(look);
    else done(seen);
  };
  requestAnimationFrame(look);
})"""


class Captured(threading.Thread):
    """Hears the events: when each picture was captured (Unix ms), how old it was when told (ms)."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(name="events", daemon=True)
        self.at_ms: dict[int, float] = {}
        self.age_ms: list[float] = []
        self.done = threading.Event()
        self._endpoint = endpoint

    def run(self) -> None:
        """Hear until ``done``."""
        with zmq.Context() as context, context.socket(zmq.SUB) as hearing:
            hearing.connect(self._endpoint)
            hearing.subscribe(b"faces/")
            while not self.done.is_set():
                if hearing.poll(200):
                    event = json.loads(hearing.recv_multipart()[1])
                    self.at_ms[event["frame"]] = 1000 * event["wall_at"]
                    self.age_ms.append(event["age_ms"])


def measure(*, fps: float, seconds: float, viewport: tuple[int, int]) -> dict[str, Any]:
    address, endpoint = f"127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    config = {
        "cameras": {"clock": {"source": f"synthetic:?size=1280x720&fps={fps:g}"}},
        "publish": {"zeromq": {"bind": endpoint}},
        "http": {"bind": address},
    }
    captured = Captured(endpoint)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clock.yaml"
        path.write_text(yaml.safe_dump(config))
        process = subprocess.Popen(
            [sys.executable, "-m", "streamer", "run", str(path)],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(lambda: live(address) == 1, 60.0, "the camera did not come up")
            captured.start()
            with sync_playwright() as play:
                browser = play.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
                )
                width, height = viewport
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(f"http://{address}/")
                page.wait_for_selector('.tile[data-look="live"]')
                time.sleep(WARM_S)
                seen = page.evaluate(READ, seconds)[1:]
                picture_width = int(page.locator(".tile").get_attribute("data-width") or 0)
                browser.close()
        finally:
            captured.done.set()
            process.send_signal(signal.SIGTERM)
            process.wait(20)
    known = [
        (number, at - captured.at_ms[number]) for number, at in seen if number in captured.at_ms
    ]
    if len(known) < 0.9 * len(seen):
        raise SystemExit(f"only {len(known)} of {len(seen)} numbers on the canvas were captured")
    numbers = [number for number, _ in known]
    return {
        "fps": fps, "seconds": seconds, "viewport": list(viewport), "width": picture_width,
        "page_ms": quantiles([late for _, late in known]),
        "published_ms": quantiles(captured.age_ms[int(WARM_S * fps) :]),
        "seen": len(known) / (numbers[-1] - numbers[0] + 1),
    }  # fmt: skip


def quantiles(values: list[float]) -> list[float]:
    return [round(float(np.quantile(values, q)), 1) for q in (0.5, 0.95, 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--viewport", default="1280x720", help="of the page, pixels")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    asked = parser.parse_args()
    width, height = (int(side) for side in asked.viewport.split("x"))
    found = measure(fps=asked.fps, seconds=asked.seconds, viewport=(width, height))
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps(found, indent=1) + "\n")
    table = Table("ms", "p50", "p95", "p99", title=f"one camera at {asked.fps:g} fps, 1280x720")
    table.add_row("capture to event", *map(str, found["published_ms"]))
    table.add_row("capture to the pixel in the page", *map(str, found["page_ms"]))
    Console().print(table)
    Console().print(f"{found['seen']:.0%} of the pictures were seen, {found['width']} pixels wide")


if __name__ == "__main__":
    main()
