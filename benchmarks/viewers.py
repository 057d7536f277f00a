"""What viewers cost: detections a second without any, and with twenty of all cameras at once.

Run it by ``make bench-viewers`` on an otherwise idle machine; it takes two and a half minutes.
streamer runs as a process of its own with four demo cameras of ten pictures a second; all
viewers are one more process, which shares the same cores, as it would not in life. Each asks for
all cameras over ``/ws/live`` at one width, and one more asks and never reads. Written to
``build/bench/viewers.json``:

* ``detected_fps``: frames looked at per second, all cameras together, without and with viewers;
* ``change``: by how much that moved, as a share;
* ``pictures_fps``: pictures a second that the least and the best served viewer got;
* ``dropped``: pictures that viewers did not get, by reason, all together;
* ``rss_mib``: memory of streamer: before, and in the first and last third of the viewers' time;
* ``left``: threads and descriptors of streamer more than before, after all have gone;
* ``stuck_cut_off``: whether the one that does not read was sent away.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "bench" / "viewers.json"
STUCK_LIMIT_S = 25.0
"""A viewer that does not read is sent away after 10 seconds that a send took."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def streamer(cameras: int, fps: float) -> Iterator[tuple[int, str]]:
    """A streamer with demo cameras: its process id and the address of its page."""
    address = f"127.0.0.1:{free_port()}"
    config = {
        "cameras": {
            f"camera-{n}": {"source": f"demo:?fps={fps:g}&delay={n * 0.37:g}"}
            for n in range(cameras)
        },
        "publish": {"zeromq": None},
        "http": {"bind": address},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "viewers.yaml"
        path.write_text(yaml.safe_dump(config))
        process = subprocess.Popen(
            [sys.executable, "-m", "streamer", "run", str(path)],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(lambda: live(address) == cameras, 120.0, "not all cameras came up")
            yield process.pid, address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def status(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{address}/api/v1/status", timeout=10) as answer:
        return dict(json.load(answer))


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


def live(address: str) -> int:
    """How many cameras are live; 0 while nobody answers."""
    try:
        return sum(camera["state"] == "live" for camera in status(address)["cameras"])
    except OSError:
        return 0


def wait_for(true: Any, limit_s: float, otherwise: str) -> None:
    until = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > until:
            raise SystemExit(otherwise)
        time.sleep(0.1)


def process_numbers(pid: int) -> dict[str, float]:
    """Memory in MiB, threads and open descriptors of a process."""
    lines = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return {
        "rss_mib": int(lines["VmRSS"].split()[0]) / 1024,
        "threads": int(lines["Threads"]),
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def detected(address: str) -> int:
    return sum(c["ledger"]["settled"].get("detected", 0) for c in status(address)["cameras"])


def watch_all(address: str, viewers: int, width: int, orders: Connection) -> None:
    """In a process of its own: all viewers, until told to leave; then pictures a second of each."""

    async def one(counts: list[int], n: int) -> None:
        async with connect(f"ws://{address}/ws/live", compression=None, max_size=None) as viewer:
            await viewer.send(json.dumps({"width": width}))
            async for message in viewer:
                counts[n] += isinstance(message, bytes)

    async def all_of_them() -> list[float]:
        counts = [0] * viewers
        tasks = [asyncio.create_task(one(counts, n)) for n in range(viewers)]
        loop = asyncio.get_running_loop()
        while min(counts) == 0:
            await asyncio.sleep(0.05)
        orders.send("all watch")
        before, began = list(counts), loop.time()
        await loop.run_in_executor(None, orders.recv)
        took = loop.time() - began
        rates = [(count - was) / took for count, was in zip(counts, before, strict=True)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return rates

    orders.send(asyncio.run(all_of_them()))


def stuck_viewer(address: str) -> socket.socket:
    """One that shakes hands, asks for large pictures and never reads."""
    host, port = address.split(":")
    tcp = socket.socket()
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    tcp.connect((host, int(port)))
    tcp.sendall(
        f"GET /ws/live HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    tcp.recv(12)  # what is said before the handshake's answer is not heard
    data = b'{"width": 640}'
    tcp.sendall(bytes([0x81, 0x80 | len(data)]) + bytes(4) + data)
    return tcp


def measure(
    *, cameras: int, fps: float, viewers: int, width: int, seconds: float, stuck: bool
) -> dict[str, Any]:
    with streamer(cameras, fps) as (pid, address):
        time.sleep(min(10.0, seconds))  # the first pictures and the model's first runs
        with ThreadPoolExecutor(8) as pool:  # all threads of streamer's that there will be
            list(pool.map(read, [f"http://{address}/metrics"] * 24))
        before = process_numbers(pid)
        alone = rate(address, seconds, pid)
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=watch_all, args=(address, viewers, width, theirs)
        )
        process.start()
        tcp = stuck_viewer(address) if stuck else None
        try:
            assert ours.recv() == "all watch"
            watched = rate(address, seconds, pid)
            cut_off = 0
            if stuck:
                limit = time.monotonic() + STUCK_LIMIT_S
                while not cut_off and time.monotonic() < limit:
                    time.sleep(0.5)
                    cut_off = status(address)["watching"]["cut_off"]
            ours.send("leave")
            rates = ours.recv()
            process.join(30)
        finally:
            process.kill()
            if tcp is not None:
                tcp.close()
        wait_for(
            lambda: not status(address)["watching"]["viewers"], 20.0, "viewers were not forgotten"
        )
        time.sleep(1.0)  # the connection of the last question closes
        after = process_numbers(pid)
        watching = status(address)["watching"]
    third = max(1, len(watched["rss_mib"]) // 3)
    return {
        "cameras": cameras, "fps": fps, "viewers": viewers, "width": width, "seconds": seconds,
        "detected_fps": [alone["fps"], watched["fps"]],
        "change": watched["fps"] / alone["fps"] - 1.0,
        "pictures_fps": [min(rates), max(rates)],
        "sent": watching["sent"],
        "dropped": watching["dropped"],
        "rss_mib": [
            before["rss_mib"],
            statistics.median(watched["rss_mib"][:third]),
            statistics.median(watched["rss_mib"][-third:]),
        ],
        "rss_each_s": [round(rss, 1) for rss in watched["rss_mib"]],
        "left": {key: after[key] - before[key] for key in ("threads", "descriptors")},
        "stuck_cut_off": bool(cut_off) if stuck else None,
    }  # fmt: skip


def rate(address: str, seconds: float, pid: int) -> dict[str, Any]:
    """Frames looked at per second over ``seconds``, and the memory in each of them."""
    rss = []
    first, began = detected(address), time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(min(1.0, seconds / 3))
        rss.append(process_numbers(pid)["rss_mib"])
    return {"fps": (detected(address) - first) / (time.monotonic() - began), "rss_mib": rss}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--fps", type=float, default=10.0, help="of each camera")
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--width", type=int, default=640, help="of the pictures, pixels")
    parser.add_argument("--seconds", type=float, default=60.0, help="without, and with viewers")
    parser.add_argument("--no-stuck", action="store_true", help="without one that never reads")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    asked = parser.parse_args()
    found = measure(
        cameras=asked.cameras, fps=asked.fps, viewers=asked.viewers, width=asked.width,
        seconds=asked.seconds, stuck=not asked.no_stuck,
    )  # fmt: skip
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps(found, indent=1) + "\n")
    table = Table(title=f"{asked.viewers} viewers of {asked.cameras} cameras", show_header=False)
    alone, watched = found["detected_fps"]
    table.add_row("frames looked at a second, nobody watches", f"{alone:.1f}")
    table.add_row("the same, all watch", f"{watched:.1f} ({found['change']:+.1%})")
    table.add_row(
        "pictures a second, least and best served", "{:.1f}, {:.1f}".format(*found["pictures_fps"])
    )
    table.add_row("pictures not sent", str(found["dropped"]))
    table.add_row(
        "memory before, early, late, MiB", "{:.0f}, {:.0f}, {:.0f}".format(*found["rss_mib"])
    )
    table.add_row("threads and descriptors left behind", str(found["left"]))
    table.add_row("the one that does not read was cut off", str(found["stuck_cut_off"]))
    Console().print(table)


if __name__ == "__main__":
    main()
