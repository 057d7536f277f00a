"""What it costs to decode a camera in a process of its own.

Run it by ``python benchmarks/isolation.py`` on an otherwise idle machine; it takes five minutes.
Direct and isolated take turns, so that a noisy machine disturbs both alike; of CPU-milliseconds
the least is taken, of all else the median. Written to ``build/bench/isolation.json``, for the
demo clip at 720p and scaled to 1080p:

* ``cpu_ms``: CPU-milliseconds per frame of decoding, and of decoding and converting each frame
  to 640x360, in this process ("direct") and in a child ("isolated": both processes together,
  without the child's start);
* ``handover_ms``: from the instant of capture until the program has the frame, at 25 fps;
* ``memory_mib``: what one more camera takes: private memory of the child and pages of its ring;
* ``start_s``: from asking for frames to the first one;
* ``rtsp``: 8 and 16 cameras of a real RTSP server, all in this process and each in its own:
  frames a second, CPU-milliseconds per frame, and by how much a thread of the program that
  sleeps for 5 ms oversleeps (it waits for the interpreter's lock, which PyAV takes at each poll
  of each socket).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import av
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for the RTSP server of the tests

from streamer.capture.isolate import Isolated  # noqa: E402
from streamer.capture.pyav import PyAvSource  # noqa: E402
from streamer.capture.schemes import make_source  # noqa: E402
from streamer.capture.synthetic import DemoSource  # noqa: E402
from streamer.protocols import Source  # noqa: E402
from streamer.resources import resource  # noqa: E402
from streamer.types import SourceUrl  # noqa: E402
from tests.rtsp import rtsp_server  # noqa: E402

ASKED = (640, 360)
OUTPUT = ROOT / "build" / "bench" / "isolation.json"


def cpu_s(children: list[int]) -> float:
    """CPU-seconds until now of this process and of all threads of ``children``, which run."""
    used = time.process_time()
    for pid in children:
        for task in Path(f"/proc/{pid}/task").iterdir():
            used += int((task / "schedstat").read_text().split()[0]) / 1e9  # nanoseconds
    return used


def children() -> list[int]:
    """The decoder processes of this process."""
    return [
        int(pid)
        for listing in Path("/proc/self/task").glob("*/children")
        for pid in listing.read_text().split()
        if b"isolated_child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def scaled_clip(clip: Path, width: int, height: int) -> Path:
    """The clip at another size, H.264 as cameras send it; kept in build/bench."""
    path = OUTPUT.parent / f"demo-{height}p.mp4"
    if path.is_file():
        return path
    unfinished = path.with_suffix(".part.mp4")
    with av.open(str(clip)) as source, av.open(str(unfinished), "w") as target:
        options = {"preset": "veryfast", "tune": "zerolatency", "g": "50"}
        stream = target.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in source.decode(video=0):
            bigger = frame.reformat(width, height, "yuv420p")
            bigger.pict_type = 0
            target.mux(stream.encode(bigger))
        target.mux(stream.encode(None))
    unfinished.rename(path)
    return path


def file_source(clip: Path) -> Callable[[], Source]:
    return partial(PyAvSource, SourceUrl(f"file:{clip}"), camera="bench", live=False)


def cpu_ms(clip: Path, *, isolated: bool, convert: bool) -> float:
    """CPU-ms per frame of both processes, from the 20th frame to the 20th before the end."""
    make = file_source(clip)
    source = Isolated(make, camera="bench", live=False) if isolated else make()
    first, last = 20, 230
    used = 0.0
    with closing(source.frames(threading.Event())) as frames:  # type: ignore[type-var]
        for frame in frames:
            if convert:
                frame.picture.bgr(*ASKED)
            if frame.index == first:
                used = -cpu_s(children())
            if frame.index == last:
                used += cpu_s(children())
                break
    return used / (last - first) * 1e3


def camera(clip: Path, *, isolated: bool) -> Source:
    """The clip as a camera of 25 fps."""
    make = partial(DemoSource, camera="bench", clip=clip)
    return Isolated(make, camera="bench", live=True) if isolated else make()


def handover_ms(clip: Path, *, isolated: bool, seconds: float) -> dict[str, float]:
    ages: list[float] = []
    with closing(camera(clip, isolated=isolated).frames(threading.Event())) as frames:  # type: ignore[type-var]
        for frame in frames:
            ages.append((time.monotonic() - frame.captured_at) * 1e3)
            frame.picture.bgr(*ASKED)
            if len(ages) >= 25 * seconds:
                break
    return {"p50": statistics.median(ages), "p99": statistics.quantiles(ages, n=100)[98]}


def smaps(pid: int | str) -> str:
    return Path(f"/proc/{pid}/smaps_rollup").read_text()


def mib(text: str, *names: str) -> float:
    found = (re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE) for name in names)
    return sum(int(match[1]) for match in found if match) / 1024


def memory_mib(clip: Path) -> dict[str, float]:
    """Of one isolated camera after two seconds, and of one more direct one."""
    source = camera(clip, isolated=True)
    assert isinstance(source, Isolated)
    with closing(source.frames(threading.Event())) as frames:  # type: ignore[type-var]
        for _ in range(50):
            next(frames).picture.bgr(*ASKED)
        assert source.pid is not None
        child = smaps(source.pid)
        ring = sum(
            int(size)
            for size in re.findall(
                r"memfd:streamer-ring.*\n(?:.*\n)*?Rss:\s+(\d+)",
                Path(f"/proc/{source.pid}/smaps").read_text(),
            )
        )
    before = mib(smaps("self"), "Rss")
    with closing(camera(clip, isolated=False).frames(threading.Event())) as frames:  # type: ignore[type-var]
        for _ in range(50):
            next(frames).picture.bgr(*ASKED)
        direct = mib(smaps("self"), "Rss") - before
    return {
        "child_rss": mib(child, "Rss"),
        "child_pss": mib(child, "Pss"),
        "child_private": mib(child, "Private_Clean", "Private_Dirty"),
        "ring": ring / 1024,
        "direct_rss": direct,
    }


def start_s(clip: Path, *, isolated: bool) -> float:
    make = file_source(clip)
    source = Isolated(make, camera="bench", live=False) if isolated else make()
    began = time.monotonic()
    with closing(source.frames(threading.Event())) as frames:  # type: ignore[type-var]
        next(frames)
        return time.monotonic() - began


def oversleep_ms(stop: threading.Event) -> list[float]:
    """How much too long sleeps of 5 ms are, until ``stop``."""
    over = []
    while not stop.is_set():
        began = time.monotonic()
        time.sleep(0.005)
        over.append((time.monotonic() - began - 0.005) * 1e3)
    return over


def rtsp(url: str, cameras: int, *, isolated: bool, seconds: float) -> dict[str, float]:
    """Frames a second and costs of ``cameras`` clients of one server."""
    stop, going = threading.Event(), threading.Barrier(cameras + 1)
    counts = [0] * cameras
    over: list[float] = []

    def read(number: int) -> None:
        name = f"camera-{number}"
        make = partial(make_source, SourceUrl(url), camera=name, base_folder=ROOT)
        source = Isolated(make, camera=name, live=True) if isolated else make()
        for frame in source.frames(stop):
            if counts[number] == 0:
                going.wait(60)
            counts[number] += 1
            del frame

    def sleep() -> None:
        over.extend(oversleep_ms(stop))

    threads = [threading.Thread(target=read, args=(n,)) for n in range(cameras)]
    for thread in threads:
        thread.start()
    going.wait(60)
    time.sleep(1.0)
    sleeper = threading.Thread(target=sleep)
    sleeper.start()
    decoders = children()
    began, cpu, before = time.monotonic(), cpu_s(decoders), sum(counts)
    time.sleep(seconds)
    took, cpu, frames = time.monotonic() - began, cpu_s(decoders) - cpu, sum(counts) - before
    stop.set()
    for thread in (*threads, sleeper):
        thread.join()
    return {
        "frames_per_s": frames / took,
        "cpu_ms": cpu / frames * 1e3,
        "oversleep_p50_ms": statistics.median(over),
        "oversleep_p99_ms": statistics.quantiles(over, n=100)[98],
    }


def show(result: dict[str, Any]) -> None:
    table = Table(title=f"Direct and isolated; also in {OUTPUT.relative_to(ROOT)}")
    table.add_column("figure")
    for column in ("direct", "isolated"):
        table.add_column(column, justify="right")
    for size, figures in result["sizes"].items():
        for name, pair in figures["cpu_ms"].items():
            table.add_row(f"{size} CPU-ms per frame, {name}", *(f"{x:.2f}" for x in pair))
        for name in ("p50", "p99"):
            pair = [figures["handover_ms"][way][name] for way in ("direct", "isolated")]
            table.add_row(f"{size} handover {name}, ms", *(f"{x:.2f}" for x in pair))
        memory = figures["memory_mib"]
        table.add_row(
            f"{size} memory, MiB",
            f"{memory['direct_rss']:.0f}",
            f"{memory['child_private']:.0f} + {memory['ring']:.0f} ring",
        )
        table.add_row(f"{size} first frame after, s", *(f"{x:.2f}" for x in figures["start_s"]))
    for cameras, ways in result.get("rtsp", {}).items():
        for name, unit in (
            ("frames_per_s", "frames/s"), ("cpu_ms", "CPU-ms per frame"),
            ("oversleep_p50_ms", "oversleep p50, ms"), ("oversleep_p99_ms", "oversleep p99, ms"),
        ):  # fmt: skip
            pair = [ways[way][name] for way in ("direct", "isolated")]
            table.add_row(f"{cameras} RTSP cameras, {unit}", *(f"{x:.2f}" for x in pair))
    Console(width=90).print(table)


WAYS = {"direct": False, "isolated": True}


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}


def of_size(clip: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """All figures of one clip."""
    cpu_ms(clip, isolated=False, convert=True)  # warm
    taken: dict[str, list[list[float]]] = {"decoded": [], "decoded, converted": []}
    for _ in range(rounds):
        for name, convert in (("decoded", False), ("decoded, converted", True)):
            taken[name].append([cpu_ms(clip, isolated=w, convert=convert) for w in WAYS.values()])
    starts = [[start_s(clip, isolated=way) for way in WAYS.values()] for _ in range(rounds)]
    ages = [
        {name: handover_ms(clip, isolated=way, seconds=seconds) for name, way in WAYS.items()}
        for _ in range(rounds)
    ]
    return {
        "cpu_ms": {
            name: [min(pair[n] for pair in pairs) for n in (0, 1)] for name, pairs in taken.items()
        },
        "handover_ms": {name: medians([age[name] for age in ages]) for name in WAYS},
        "memory_mib": memory_mib(clip),
        "start_s": [statistics.median(pair[n] for pair in starts) for n in (0, 1)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--no-rtsp", action="store_true", help="without Debian's RTSP server")
    given = parser.parse_args()
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    demo = resource("demo.mp4")
    clips = {"720p": demo, "1080p": scaled_clip(demo, 1920, 1080)}
    result: dict[str, Any] = {
        "sizes": {s: of_size(clip, given.rounds, given.seconds) for s, clip in clips.items()}
    }
    if not given.no_rtsp:
        with rtsp_server(demo) as server:
            rounds = {
                cameras: [
                    {
                        name: rtsp(server.url(), cameras, isolated=way, seconds=given.seconds)
                        for name, way in WAYS.items()
                    }
                    for _ in range(given.rounds)
                ]
                for cameras in (8, 16)
            }
        result["rtsp"] = {
            cameras: {name: medians([one[name] for one in taken]) for name in WAYS}
            for cameras, taken in rounds.items()
        }
    OUTPUT.write_text(json.dumps(result, indent=2) + "\n")
    show(result)


if __name__ == "__main__":
    main()
