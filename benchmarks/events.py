"""What publishing costs, and what stopped and fleeting subscribers do to it: `make bench-events`.

Four parts, each with the last stage as streamer has it (a channel, ``ZeroMqSink`` with replay) in
this process and subscribers in others, which use ``streamer.client``:

* throughput: 10 subscribers, 20 cameras at 30 results a second with 5 faces each;
* late: how long a late subscriber waits for the state of all cameras;
* stop: one of three subscribers is stopped (SIGSTOP) under that load and goes on later;
* crowd: subscribers connect and leave without end.

Figures go to docs/events.json, from where `make docs` puts them into docs/events.md. All of them
are of this machine and over loopback.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq

from streamer.client import FacesEvent, Gap, Stopped, subscribe
from streamer.events import Format
from streamer.flow.channel import Channel
from streamer.publish.zeromq import ZeroMqSink
from streamer.types import (
    Beat,
    Faces,
    Frame,
    NoPicture,
    Outcome,
    Published,
    Result,
    Stamps,
    Tracks,
)

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "events.json"
CAMERAS, FPS, FACES = 20, 30, 5
PARTS = ("throughput", "late", "stop", "crowd")
FORMATS: tuple[Format, ...] = ("json", "msgpack")


class Timed(ZeroMqSink):
    """The sink, which keeps how old each result was when it had been sent, in seconds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.ages: list[float] = []
        self.bursts: list[float] = []
        self._offered: list[float] = []

    def write(self, outcome: Outcome) -> None:
        """Note when it was offered."""
        super().write(outcome)
        self._offered.append(outcome.frame.captured_at)

    @contextmanager
    def burst(self) -> Iterator[None]:
        """Note when it had been sent."""
        began_at = time.monotonic()
        with super().burst():
            yield
        now = time.monotonic()
        self.bursts.append(now - began_at)
        self.ages.extend(now - at for at in self._offered)
        self._offered.clear()

    def forget(self) -> None:
        """Begin to measure anew."""
        self.ages, self.bursts = [], []


class Publisher:
    """The last stage, with replay, and what feeds it ``CAMERAS`` cameras at ``FPS`` each."""

    def __init__(self, *, form: Format = "json", history_mb: int = 64) -> None:
        self.sink = Timed(
            "tcp://127.0.0.1:*", replay="tcp://127.0.0.1:*", boot_id="bench", model="m",
            form=form, history_bytes=history_mb * 2**20, final=lambda: Beat(0.0, 0.0, {}),
        )  # fmt: skip
        assert self.sink.replay is not None
        self.ends = self.sink.endpoint, self.sink.replay.endpoint
        self.late_s = 0.0
        self.ending = threading.Event()
        self.channel: Channel[Published] = Channel("zeromq", capacity=64, overflow="drop_oldest")
        self.publishing = threading.Thread(target=self.run, name="publish")
        self.threads = [
            threading.Thread(target=self.sink.replay.serve, name="replay"),
            self.publishing,
            threading.Thread(target=self.feed, name="feed"),
        ]
        for thread in self.threads:
            thread.start()

    def run(self) -> None:
        """Publish, as streamer does."""
        from streamer.stages import publish  # subscribers need not load it

        publish(self.channel, self.sink, None, None, clock=time.monotonic)

    def feed(self) -> None:
        """Give results, evenly, until :meth:`end`."""
        random = np.random.default_rng(1)
        boxes = random.uniform(0, 1000, (FACES, 4)).astype(np.float32)
        points = random.uniform(0, 1000, (FACES, 5, 2)).astype(np.float32)
        faces = Faces(boxes, np.linspace(0.99, 0.7, FACES, dtype=np.float32), points)
        tracks = Tracks(np.arange(FACES, dtype=np.int64), faces)
        names = [f"camera-{number}" for number in range(CAMERAS)]
        began_at, sent, beat_at = time.monotonic(), 0, 0.0
        while not self.ending.is_set():
            due_at = began_at + sent / (CAMERAS * FPS)
            if (early_s := due_at - time.monotonic()) > 0:
                time.sleep(early_s)
            now = time.monotonic()
            self.late_s = max(self.late_s, now - due_at)
            frame = Frame(
                names[sent % CAMERAS], 0, sent // CAMERAS, now, 1.7e9, None, NoPicture(1920, 1080)
            )
            self.channel.put(Result(frame, tracks, Stamps(now, now, now)))
            sent += 1
            if now >= beat_at:
                beat_at = now + 1.0
                self.channel.put(Beat(now, 1.7e9, {}))
        self.channel.close()

    def cpu_s(self) -> float:
        """Processor time of the publishing thread so far, seconds."""
        assert self.publishing.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(self.publishing.ident))

    def end(self) -> None:
        """Stop publishing and say so."""
        self.ending.set()
        for thread in self.threads:
            thread.join()


def listen(events: str, replay: str) -> None:
    """A subscriber: says "ready" at its first event, and in one line what it heard, at the end."""
    reached: dict[str, int] = {}
    heard = wrong = gaps = lost = 0
    ready = False
    with subscribe(events, replay=replay, timeout_s=120) as subscription:
        for event in subscription:
            if not ready:
                ready = True
                print("ready", flush=True)
            if isinstance(event, FacesEvent):
                heard += 1
                wrong += event.seq != reached.get(event.camera, event.seq - 1) + 1
                reached[event.camera] = event.seq
            elif isinstance(event, Gap):
                gaps += 1
                lost += event.count
                wrong += event.first_seq != reached.get(event.camera, event.first_seq - 1) + 1
                reached[event.camera] = event.last_seq
            elif isinstance(event, Stopped):
                break
    said = {"heard": heard, "out_of_order": wrong, "gaps": gaps, "lost": lost}
    print(json.dumps(said | {"cpu_s": round(time.process_time(), 2)}), flush=True)


class Subscriber:
    """The process of :func:`listen`."""

    def __init__(self, ends: tuple[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.events", "--subscriber", *ends],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def said(self) -> dict[str, Any]:
        """What it heard, once the publisher has stopped."""
        out, _ = self.process.communicate(timeout=180)
        return json.loads(out)  # type: ignore[no-any-return]


def io_cpu_s() -> float:
    """Processor time of the threads that libzmq sends with, seconds so far."""
    return (
        sum(
            int((task / "schedstat").read_text().split()[0])
            for task in Path("/proc/self/task").iterdir()
            if "ZMQ" in (task / "comm").read_text()
        )
        / 1e9
    )


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def milliseconds(durations: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(durations, [50, 99]) * 1000
    return {"p50": round(p50, 3), "p99": round(p99, 3), "max": round(max(durations) * 1000, 2)}


def throughput(seconds: float, form: Format) -> dict[str, Any]:
    publisher = Publisher(form=form)
    subscribers = [Subscriber(publisher.ends) for _ in range(10)]
    publisher.sink.forget()
    cpu, io, began_at = publisher.cpu_s(), io_cpu_s(), time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began_at
    io, cpu, sink = io_cpu_s() - io, publisher.cpu_s() - cpu, publisher.sink
    ages, bursts = list(sink.ages), list(sink.bursts)
    publisher.end()
    said = [one.said() for one in subscribers]
    return {
        "format": form,
        "results_per_s": round(len(ages) / took_s, 1),
        "encode_and_send_percent": round(100 * cpu / took_s, 2),
        "zeromq_thread_percent": round(100 * io / took_s, 2),
        "bursts_per_s": round(len(bursts) / took_s, 1),
        "burst_ms": milliseconds(bursts),
        "age_ms": milliseconds(ages),
        "late_ms": round(publisher.late_s * 1000, 1),
        "lost": sum(one["lost"] for one in said),
        "out_of_order": sum(one["out_of_order"] for one in said),
    }


def late(tries: int) -> dict[str, Any]:
    """How long after it subscribes a late subscriber knows the newest result of every camera."""
    publisher = Publisher()
    time.sleep(1.0)
    took = []
    for _ in range(tries):
        began_at = time.perf_counter()
        known: set[str] = set()
        with subscribe(publisher.ends[0], replay=publisher.ends[1], timeout_s=60) as subscription:
            while len(known) < CAMERAS:
                event = next(subscription)
                if isinstance(event, FacesEvent):
                    known.add(event.camera)
        took.append(time.perf_counter() - began_at)
    publisher.end()
    return {"tries": tries, **milliseconds(took)}


def stop(seconds: float) -> dict[str, Any]:
    publisher = Publisher()
    stopped, *others = [Subscriber(publisher.ends) for _ in range(3)]

    def phase(length_s: float) -> tuple[dict[str, float], float]:
        publisher.sink.forget()
        time.sleep(length_s)
        return milliseconds(list(publisher.sink.bursts)), round(resident_mb(), 1)

    phase(2.0)
    before, mb_before = phase(seconds)
    stopped.process.send_signal(signal.SIGSTOP)
    during, mb_during = phase(seconds)
    stopped.process.send_signal(signal.SIGCONT)
    after, _ = phase(max(5.0, seconds / 2))
    publisher.end()
    return {
        "stopped_s": seconds,
        "burst_ms": {"before": before, "during": during, "after": after},
        "memory_mb": {"before": mb_before, "during": mb_during},
        "stopped": stopped.said(),
        "others": [one.said() for one in others],
    }


def crowd(seconds: float, most: int = 200) -> dict[str, Any]:
    """Subscribers come and go, each for half a second; from threads of one other process."""
    publisher = Publisher(history_mb=16)  # full in 20 seconds: what grows then is a leak
    steady = Subscriber(publisher.ends)
    before = len(list(Path("/proc/self/fd").iterdir()))
    crowd = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.events", "--crowd", publisher.ends[0], str(most)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    readings = []
    for _ in range(8):
        time.sleep(seconds / 8)
        publisher.sink.forget()  # what is measured here is no leak
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        readings.append((round(resident_mb(), 1), descriptors, threading.active_count()))
    out, _ = crowd.communicate("")
    give_up_at = time.monotonic() + 20
    while len(list(Path("/proc/self/fd").iterdir())) > before and time.monotonic() < give_up_at:
        time.sleep(0.1)
    left = len(list(Path("/proc/self/fd").iterdir()))
    publisher.end()
    return {
        "seconds": seconds,
        "connections": int(out),
        "memory_mb": [one[0] for one in readings],
        "descriptors": [one[1] for one in readings],
        "descriptors_before": before,
        "descriptors_after": left,
        "threads": readings[-1][2],
        "steady_subscriber": steady.said(),
    }


def come_and_go(endpoint: str, most: int) -> None:
    """Keep ``most`` subscribers connected, always others, until standard input ends."""
    context, made = zmq.Context(), 0
    context.set(zmq.MAX_SOCKETS, 4 * most)
    here: list[zmq.Socket[bytes]] = []
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        one = context.socket(zmq.SUB)
        one.linger = 0
        one.connect(endpoint)
        for number in range(5):
            one.subscribe(b"faces/camera-%d/" % ((made + number) % CAMERAS))
        here.append(one)
        made += 1
        if len(here) >= most:
            here.pop(0).close()
        time.sleep(0.5 / most)
    context.destroy(linger=0)
    print(made, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscriber", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--crowd", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--short", action="store_true", help="a few seconds for each part")
    parser.add_argument("--write", action="store_true", help=f"into {FIGURES.relative_to(ROOT)}")
    options = parser.parse_args()
    if options.subscriber:
        return listen(*options.subscriber)
    if options.crowd:
        return come_and_go(options.crowd[0], int(options.crowd[1]))
    parts = options.part or PARTS
    found: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    if "throughput" in parts:
        seconds = 3.0 if options.short else 20.0
        found["throughput"] = [throughput(seconds, form) for form in FORMATS]
    if "late" in parts:
        found["late"] = late(3 if options.short else 20)
    if "stop" in parts:
        found["stop"] = stop(3.0 if options.short else 20.0)
    if "crowd" in parts:
        found["crowd"] = crowd(5.0 if options.short else 120.0)
    text = json.dumps(found, indent=1) + "\n"
    print(text)
    if options.write:
        FIGURES.write_text(text)
    return None


if __name__ == "__main__":
    main()
