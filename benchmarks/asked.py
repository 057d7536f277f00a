"""What pictures sent to ``/detect`` cost the cameras: fifty programs send without a pause.

Run it by ``make bench-asked`` on an otherwise idle machine; it takes a minute and a half. streamer
runs as a process of its own with four demo cameras of ten pictures a second. Each program is a
thread of one more process, on the same cores; it sends a picture of 640x480, waits for the answer,
comes again when ``Retry-After`` says, and sends the next. Written to ``build/bench/asked.json``:

* ``detected_fps``: frames of cameras looked at per second, before and meanwhile;
* ``change``: by how much that moved, as a share;
* ``late``: results of cameras that were older than their ``max_age_s`` when published, both times;
* ``dropped``: frames of cameras let go, by reason, both times;
* ``p99_s``: from capture to publishing, the slowest camera's 99th percentile, both times;
* ``answers``: how many by HTTP status;
* ``answer_s``: from the last sending of a picture that was answered to its answer: 50, 95, 99 %.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from benchmarks.viewers import ROOT, read, status, streamer

OUTPUT = ROOT / "build" / "bench" / "asked.json"
CLIP = ROOT / "streamer" / "assets" / "demo.mp4"
WARM_S = 10.0


def picture() -> bytes:
    """The first frame of the demo clip as a JPEG of 640x480."""
    clip = cv2.VideoCapture(str(CLIP))
    there, image = clip.read()
    clip.release()
    if not there:
        raise SystemExit(f"{CLIP} cannot be read")
    return bytes(cv2.imencode(".jpg", cv2.resize(image, (640, 480)))[1])


class Senders:
    """Programs that send the same picture again and again until ``over`` is set."""

    def __init__(self, address: str, count: int) -> None:
        self.over = threading.Event()
        self.answers: Counter[int] = Counter()
        self.took_s: list[float] = []
        self.threads = [
            threading.Thread(target=self._send, args=(address, picture()), daemon=True)
            for _ in range(count)
        ]

    def _send(self, address: str, jpeg: bytes) -> None:
        host, port = address.split(":")
        while not self.over.is_set():
            # A refusal of the rate limit closes the connection.
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            begun_at = time.monotonic()
            connection.request("POST", "/detect", jpeg, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            answer.read()
            connection.close()
            self.answers[answer.status] += 1
            if answer.status == 200:
                self.took_s.append(time.monotonic() - begun_at)
            self.over.wait(float(answer.headers.get("retry-after", 0)))


def send_all(address: str, count: int, orders: Connection) -> None:
    """In a process of its own: all programs, until told to end; then what they were answered."""
    senders = Senders(address, count)
    for thread in senders.threads:
        thread.start()
    orders.recv()
    senders.over.set()
    for thread in senders.threads:
        thread.join(60)
    orders.send((dict(senders.answers), senders.took_s))


def reading(address: str) -> dict[str, Any]:
    """What is counted so far, of all cameras together, and which of it was too late."""
    cameras = status(address)["cameras"]
    dropped: Counter[str] = Counter()
    for camera in cameras:
        for each in camera["ledger"]["dropped"]:
            dropped[each["reason"]] += each["frames"]
    late = 0.0
    for family in text_string_to_metric_families(read(f"http://{address}/metrics").decode()):
        if family.name == "streamer_latency_seconds":
            for sample in family.samples:
                # The promise of all of them is the default, 1 s, which is a bound of a bucket.
                late += sample.value * (sample.name.endswith("_count"))
                late -= sample.value * (sample.labels.get("le") == "1.0")
    return {
        "at": time.monotonic(),
        "detected": sum(c["ledger"]["settled"].get("detected", 0) for c in cameras),
        "dropped": dropped,
        "late": late,
        "p99_s": max(c["latency_p99_s"] or 0.0 for c in cameras),
    }


def between(first: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    return {
        "fps": (last["detected"] - first["detected"]) / (last["at"] - first["at"]),
        "dropped": {
            why: count - first["dropped"][why]
            for why, count in last["dropped"].items()
            if count > first["dropped"][why]
        },
        "late": int(last["late"] - first["late"]),
        "p99_s": last["p99_s"],
    }


def measure(*, cameras: int, fps: float, senders: int, seconds: float) -> dict[str, Any]:
    with streamer(cameras, fps) as (_, address):
        time.sleep(min(WARM_S, seconds))
        first = reading(address)
        time.sleep(seconds)
        alone = between(first, reading(address))
        spawned = multiprocessing.get_context("spawn")
        ours, theirs = spawned.Pipe()
        process = spawned.Process(target=send_all, args=(address, senders, theirs))
        process.start()
        try:
            while not status(address)["watching"]["asked"]:
                time.sleep(0.1)
            first = reading(address)
            time.sleep(seconds)
            meanwhile = between(first, reading(address))
            ours.send("end")
            answers, took_s = ours.recv()
            process.join(60)
        finally:
            process.kill()
    both = (alone, meanwhile)
    return {
        "cameras": cameras, "fps": fps, "senders": senders, "seconds": seconds,
        "detected_fps": [round(each["fps"], 2) for each in both],
        "change": meanwhile["fps"] / alone["fps"] - 1.0,
        "late": [each["late"] for each in both],
        "dropped": [each["dropped"] for each in both],
        "p99_s": [each["p99_s"] for each in both],
        "answers": {str(code): count for code, count in sorted(answers.items())},
        "answer_s": [round(float(np.quantile(took_s, q)), 3) for q in (0.5, 0.95, 0.99)],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--fps", type=float, default=10.0, help="of each camera")
    parser.add_argument("--senders", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0, help="without, and with them")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    found = measure(
        cameras=given.cameras, fps=given.fps, senders=given.senders, seconds=given.seconds
    )
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(found, indent=1) + "\n")
    table = Table(
        "", "before", "meanwhile", title=f"{given.senders} send to {given.cameras} cameras"
    )
    table.add_row("frames looked at a second", *(f"{each:.1f}" for each in found["detected_fps"]))
    table.add_row("results older than max_age_s", *map(str, found["late"]))
    table.add_row("frames let go", *(str(each or 0) for each in found["dropped"]))
    table.add_row("p99, s", *(f"{each:.3f}" for each in found["p99_s"]))
    Console().print(table)
    Console().print(f"answers {found['answers']}; p50, p95, p99 of 200: {found['answer_s']} s")


if __name__ == "__main__":
    main()
