"""Runs streamer as a user does: a process of its own, over real sockets."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def streamer(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one command of streamer to its end."""
    return subprocess.run(
        [sys.executable, "-m", "streamer", *arguments],
        capture_output=True, text=True, timeout=120, cwd=options.pop("cwd", ROOT), check=False,
        **options,
    )  # fmt: skip


def get(url: str) -> bytes:
    """The body at ``url``."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


@contextmanager
def running(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A running command of streamer; killed at the end if it has not ended by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streamer", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **options,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def wait_until_up(url: str, process: subprocess.Popen[str], seconds: float = 60) -> None:
    """Wait until ``url`` answers; fails with the program's own words when it ended instead."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            out, err = process.communicate()
            raise AssertionError(f"streamer ended with {process.returncode}: {out}\n{err}")
        try:
            get(url)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"{url} did not answer within {seconds} s")


def readme_block(heading: str, language: str) -> str:
    """The first code block of ``language`` under ``heading`` of the README."""
    text = (ROOT / "README.md").read_text()
    section = text.split(f"## {heading}\n", 1)[1]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found, f"no {language} block under {heading}"
    return found[1]


COLLECTOR = """
import sys, time, zmq
socket = zmq.Context.instance().socket(zmq.SUB)
socket.setsockopt(zmq.RCVHWM, 100000)
socket.connect(sys.argv[1])
socket.subscribe(b"faces/")
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    if socket.poll(200):
        topic, body = socket.recv_multipart()
        print(body.decode(), flush=True)
"""


def collect(endpoint: str, seconds: float) -> list[dict[str, Any]]:
    """All events of ``seconds``, received by a subscriber in another process."""
    done = subprocess.run(
        [sys.executable, "-c", COLLECTOR, endpoint, str(seconds)],
        capture_output=True, text=True, timeout=seconds + 60, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_contiguous(events: list[dict[str, Any]]) -> None:
    """Check that no event of any camera was lost on the way and frames go forward."""
    for camera in {event["camera"] for event in events}:
        mine = [event for event in events if event["camera"] == camera]
        numbers = [event["seq"] for event in mine]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        frames = [event["frame"] for event in mine]
        assert frames == sorted(set(frames))
