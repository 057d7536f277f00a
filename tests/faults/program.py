"""The real program under faults: started as a user does, watched from outside while it runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
import zmq

from tests.e2e.program import free_port
from tests.faults.passwords import secrets_in
from tests.faults.process import Usage, children, command, usage, words

ROOT = Path(__file__).resolve().parents[2]
HEALTHY_FPS = 20.0
HEALTHY = dict.fromkeys(("well-1", "well-2"), f"synthetic:?fps={HEALTHY_FPS:g}&size=320x192")
"""The cameras beside the one under fault: small, and without a network."""
SAMPLE_S = 0.1
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Tells the C library to give each block of 64 kB or more back to the kernel when it is freed.

By default it learns from the largest blocks seen (mallopt(3), M_MMAP_THRESHOLD) and keeps up to
32 MB for later. Where pictures happen to lie in that, and how many are on their way at once, moves
a reading: by 1 MB from round to round of the soak, and by -4 to +25 MB from before the faults to
after them, the more the busier the machine, where 3.5 to 5.7 MB are read with this. What is kept
for ever is kept under either.
"""
_ROW = re.compile(r"^\s*(\S+)((?:\s+\d+){6})\s+(yes|NO)\b", re.MULTILINE)


@dataclass(frozen=True)
class Sample:
    """One reading of /api/v1/status, at a monotonic instant, and what the kernel said last."""

    at: float
    cameras: Mapping[str, Mapping[str, Any]]
    usage: Usage

    def state(self, name: str) -> str:
        """The camera's state; empty when there is no such camera."""
        return str(self.cameras[name]["state"]) if name in self.cameras else ""

    def since(self, name: str) -> float:
        """The monotonic instant at which the camera came into its state."""
        return self.at - float(self.cameras[name]["for_s"])

    def losses(self, name: str, reason: str = "") -> int:
        """Losses of the camera, of one reason or of all."""
        found: Mapping[str, int] = self.cameras.get(name, {}).get("losses", {})
        return found.get(reason, 0) if reason else sum(found.values())

    def captured(self, name: str) -> int:
        """Frames decoded so far."""
        return int(self.cameras[name]["ledger"]["captured"]) if name in self.cameras else 0

    def detected(self, name: str) -> int:
        """Frames that the detector looked at so far."""
        return int(self.cameras[name]["ledger"]["settled"].get("detected", 0))


@dataclass
class Ended:
    """How the program ended: exit code, seconds it took, and what it had printed."""

    code: int
    seconds: float
    out: str
    err: str

    def ledger(self) -> dict[str, tuple[int, bool]]:
        """Per camera of the printed ledger: frames in flight at the end, and whether it closes."""
        rows = _ROW.findall(self.out)
        return {name: (int(numbers.split()[5]), closes == "yes") for name, numbers, closes in rows}


@dataclass
class Watched:
    """What was seen so far, besides the samples."""

    lines: list[tuple[float, str]] = field(default_factory=list)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    changes: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    topics: set[bytes] = field(default_factory=set)
    leaks: list[str] = field(default_factory=list)
    metrics: str = ""
    unclosed: list[str] = field(default_factory=list)


class Program:
    """``python -m streamer run`` with ``cameras`` beside two healthy ones; a context manager.

    ``cameras`` is by name what the configuration says of each. ``wrap`` goes before the command
    (``unshare`` and the like); ``fault`` names one of ``tests/faults/child.py``, which runs the
    same program with something broken inside. Raises ``AssertionError`` when it does not start.
    """

    def __init__(
        self,
        cameras: Mapping[str, Mapping[str, Any]],
        folder: Path,
        *,
        wrap: Sequence[str] = (),
        fault: str = "",
        healthy: bool = True,
        environ: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self._http = free_port()
        self._zmq = free_port()
        self.config = folder / "streamer.yaml"
        well = {name: {"source": url} for name, url in HEALTHY.items()} if healthy else {}
        self.values: dict[str, Any] = {
            "cameras": {**well, **cameras},
            "model": {"input_size": 320},
            "http": {"bind": f"127.0.0.1:{self._http}"},
            "publish": {"zeromq": {"bind": f"tcp://127.0.0.1:{self._zmq}"}},
            **(more or {}),
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.write_config()
        start = ["-m", "tests.faults.child", fault] if fault else ["-m", "streamer"]
        # Where it may, it goes before what else this machine does: that is not what is judged.
        before = ["nice", "-n", "-10"] if os.geteuid() == 0 else []
        if shutil.which("setpriv"):  # a test that is killed must not leave it running
            before += ["setpriv", "--pdeathsig", "KILL"]
        self._command = [*before, *wrap, sys.executable, *start, "run", str(self.config)]
        self._environ = {**(environ or os.environ), **GIVES_BACK}
        self.samples: list[Sample] = []
        self.seen = Watched()
        self._news = threading.Condition()
        self._over = threading.Event()
        self._out: list[str] = []

    def write_config(self) -> None:
        """Write the configuration file as ``values`` say, all at once as editors do."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(self.values))
        fresh.replace(self.config)

    def __enter__(self) -> Program:
        self.process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environ,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=each, daemon=True)
            for each in (self._read_out, self._read_err, self._sample, self._hear)
        ]
        for thread in self._threads:
            thread.start()
        if self.wait(lambda _: True, 60) is None:
            ended = self._gather(self.process.poll() or -1, 0.0)
            raise AssertionError(f"streamer did not start: {ended.code}\n{ended.err[-3000:]}")
        self._fill_pool()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self.process.poll() is None:
            for pid in [*children(self.process.pid), self.process.pid]:
                subprocess.run(["kill", "-KILL", str(pid)], check=False, capture_output=True)
        self.process.wait(10)
        for thread in self._threads:
            thread.join(10)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def _fill_pool(self) -> None:
        """Ask many things at once: threads that answer are made when first needed, and stay."""
        url = f"http://127.0.0.1:{self._http}/api/v1/status"

        def ask(_: int) -> None:
            with urllib.request.urlopen(url, timeout=10) as answer:
                answer.read()

        with ThreadPoolExecutor(16) as asking:
            list(asking.map(ask, range(64)))

    @property
    def pid(self) -> int:
        """The process that is streamer, which may be a child of what ``wrap`` started."""
        pid = self.process.pid
        while "streamer" in command(pid) and (below := children(pid)):
            if command(pid).split(" ")[0] == sys.executable:
                break
            pid = below[0]
        return pid

    @property
    def now(self) -> Sample:
        """The newest sample."""
        return self.samples[-1]

    def wait(self, wanted: Callable[[Sample], bool], within_s: float) -> Sample | None:
        """The first sample from now on that is ``wanted``; None after ``within_s`` seconds."""
        until = time.monotonic() + within_s
        checked = max(0, len(self.samples) - 1)
        while True:
            with self._news:
                while checked >= len(self.samples):
                    left_s = until - time.monotonic()
                    if left_s <= 0 or self.process.poll() is not None:
                        return None
                    self._news.wait(min(left_s, 0.5))
                sample = self.samples[checked]
            checked += 1
            if wanted(sample):
                return sample

    def need(self, wanted: Callable[[Sample], bool], within_s: float) -> Sample:
        """Like :meth:`wait`, but fails with all that is known when there is no such sample."""
        found = self.wait(wanted, within_s)
        if found is None:
            said = {n: (c["state"], c["reason"]) for n, c in self.now.cameras.items()}
            last = "".join(line for _, line in self.seen.lines[-8:])
            raise AssertionError(f"exit {self.process.poll()}, cameras {said}\n{last}")
        return found

    def rest(self, seconds: float) -> None:
        """Let it run for a while; ends early when the program does."""
        self.wait(lambda _: False, seconds)

    def send(self, number: int) -> None:
        """Send a signal to the program itself."""
        subprocess.run(["kill", f"-{number}", str(self.pid)], check=True)

    def stop(self, number: int = signal.SIGTERM, *, within_s: float = 30.0) -> Ended:
        """Ask it to end and wait; killed after ``within_s`` (the code is then -9)."""
        self._look_for_secrets()
        began_at = time.monotonic()
        self._over.set()
        if self.process.poll() is None:
            self.send(number)
        return self.ended(began_at, within_s=within_s)

    def ended(self, began_at: float, *, within_s: float = 30.0) -> Ended:
        """Wait for its end, counted from ``began_at``; killed after ``within_s``."""
        self._over.set()
        try:
            code = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            subprocess.run(["kill", "-KILL", str(self.pid)], check=False)
            self.process.kill()
            code = self.process.wait(10)
        return self._gather(code, time.monotonic() - began_at)

    def _gather(self, code: int, seconds: float) -> Ended:
        for thread in self._threads[:2]:
            thread.join(5)
        err = "".join(line for _, line in self.seen.lines)
        ended = Ended(code, seconds, "".join(self._out), err)
        for text in (ended.out, ended.err):
            self.seen.leaks += secrets_in(text)
        return ended

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._out.append(line)

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.seen.lines.append((time.monotonic(), line))

    def _sample(self) -> None:
        url = f"http://127.0.0.1:{self._http}"
        resources = Usage(0, 0, 0, 0, 0.0)
        count = 0
        while not self._over.wait(SAMPLE_S):
            try:
                with urllib.request.urlopen(f"{url}/api/v1/status", timeout=10) as answer:
                    text = answer.read().decode()
                if count % 20 == 0:
                    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
                        self.seen.metrics = answer.read().decode()
                    self.seen.leaks += secrets_in(self.seen.metrics)
                    self._look_for_secrets()
            except OSError:
                continue  # not up yet, or ended
            if count % 5 == 0:
                resources = usage(self.pid)
            at = time.monotonic()
            self.seen.leaks += secrets_in(text)
            cameras = {camera["name"]: camera for camera in json.loads(text)["cameras"]}
            for name, camera in cameras.items():
                if camera["ledger"]["imbalance"]:
                    self.seen.unclosed.append(f"{name}: {camera['ledger']}")
            with self._news:
                self.samples.append(Sample(at, cameras, resources))
                self._news.notify_all()
            count += 1

    def _look_for_secrets(self) -> None:
        for text in words(self.pid):
            self.seen.leaks += secrets_in(text)

    def _hear(self) -> None:
        context = zmq.Context()
        heard = context.socket(zmq.SUB)
        heard.setsockopt(zmq.RCVHWM, 100_000)
        heard.setsockopt(zmq.LINGER, 0)
        heard.connect(f"tcp://127.0.0.1:{self._zmq}")
        for prefix in (b"faces/", b"camera/"):
            heard.subscribe(prefix)
        while not self._over.is_set() or heard.poll(0):
            if not heard.poll(100):
                continue
            topic, body = heard.recv_multipart()
            self.seen.topics.add(topic)
            self.seen.leaks += secrets_in(topic.decode() + body.decode())
            event = json.loads(body)
            event["at"] = time.monotonic()
            told = self.seen.events if topic.startswith(b"faces/") else self.seen.changes
            told[event["camera"]].append(event)
        heard.close()
        context.term()
