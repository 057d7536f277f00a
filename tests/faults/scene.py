"""A scene: one run of the program in which several cameras fail at once, each in its own way.

Every camera begins live. Then the rows are played, each on a thread of its own with a camera of
its own; at the end every camera is healed and must come back. What all rows promise together
(the oracle: O1 to O4) is checked once for the whole scene.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.faults.oracle import books, canary, grown, others, resources
from tests.faults.passwords import USER, encoded_secret
from tests.faults.process import machine_cpu_s
from tests.faults.program import HEALTHY, Ended, Program, Sample
from tests.faults.proxy import FaultProxy
from tests.faults.record import Record
from tests.faults.server import ScriptedCamera

LEAST_S = 8.0
"""The rate of the other cameras is counted for so long at least."""
BACK_S = 35.0
"""Frames flow at most so long after a camera is back: the longest wait and one opening."""


class GaveUp(Exception):
    """The row cannot be played on; the failure is noted already."""


@dataclass
class Take:
    """One row in play: the camera it may hurt, the program that must bear it, and its record."""

    name: str
    camera: ScriptedCamera
    program: Program
    record: Record
    proxy: FaultProxy
    healed_at: float = 0.0

    def wait(self, wanted: Callable[[Sample], bool], within_s: float, what: str) -> Sample:
        """A sample that is ``wanted``. Raises :class:`GaveUp` when there is none in time."""
        sample = self.program.wait(wanted, within_s)
        if sample is None:
            now = self.program.now.cameras.get(self.name, {})
            said = f"{now.get('state')}, {now.get('reason')!r}, {now.get('losses')}"
            self.record.failures.append(f"{what} did not come within {within_s:g} s ({said})")
            raise GaveUp
        return sample

    def not_live(self, within_s: float = 15.0) -> float:
        """The instant at which the camera left the state live."""
        return self.wait(
            lambda s: s.state(self.name) != "live", within_s, "leaving the state live"
        ).since(self.name)

    def lost(self, reason: str, within_s: float, *, before: int | None = None) -> float:
        """The instant at which a loss of ``reason`` was counted; notes it when it is another."""
        count = self.program.now.losses(self.name, reason) if before is None else before
        return self.wait(
            lambda s: s.losses(self.name, reason) > count, within_s, f"a loss counted as {reason}"
        ).at

    def live(self, within_s: float = BACK_S) -> float:
        """The instant from which new frames were captured in the state live."""
        start = self.program.now.captured(self.name)
        return self.wait(
            lambda s: s.state(self.name) == "live" and s.captured(self.name) > start,
            within_s,
            "being live with new frames",
        ).at

    def fail_at_dialling(self, **script: Any) -> tuple[int, int]:
        """Behave otherwise from the next dial on; how many losses, and dials, there were before."""
        losses = self.program.now.losses(self.name)
        dials = len(self.camera.dials)
        self.camera.change(**script)
        self.camera.cut("reset")
        return losses, dials

    def dialled(self, dials: int, within_s: float = 10.0) -> float:
        """The instant of the first dial after the first ``dials`` of them."""
        self.wait(lambda _: len(self.camera.dials) > dials, within_s, "a new dial")
        return self.camera.dials[dials]

    def log_lines(self, since: float) -> list[str]:
        """Log lines about the camera, but for the regular table of all cameras."""
        mine = f'"camera": "{self.name}"'
        return [
            line
            for at, line in list(self.program.seen.lines)
            if at >= since and mine in line and '"camera_status"' not in line
        ]

    def heal(self) -> None:
        """Let the camera and the wire be healthy again, and note when."""
        self.proxy.mode = "pass"
        self.camera.heal()
        self.healed_at = time.monotonic()


@dataclass(frozen=True)
class Row:
    """One row: its number in reliability.md, what it says, and how it is played."""

    number: str
    fault: str
    bound: str
    play: Callable[[Take], None]
    options: Mapping[str, Any] = field(default_factory=dict)
    proxy: bool = False
    """Whether a fault proxy stands between the camera and the program."""
    host: str = ""
    """The name the camera is called by, instead of its address."""
    returns: bool = True
    """Whether the camera must be live again at the end; after a 401 that takes a minute."""

    @property
    def name(self) -> str:
        """The camera's name in the program."""
        return f"row-{self.number.lower()}"


@dataclass
class Played:
    """What a scene gave: a record for each row and one for each promise of the oracle."""

    rows: dict[str, Record]
    oracle: dict[str, Record]
    ended: Ended
    program: Program
    cameras: dict[str, ScriptedCamera]


def run_scene(title: str, rows: Sequence[Row], folder: Path, **program: Any) -> Played:
    """Play ``rows`` at once against one program; further arguments go to :class:`Program`."""
    with ExitStack() as stack:
        cameras = {row.number: stack.enter_context(ScriptedCamera()) for row in rows}
        proxies = {
            number: stack.enter_context(FaultProxy(camera.port))
            for number, camera in cameras.items()
        }
        settings = {}
        for row in rows:
            port = proxies[row.number].port if row.proxy else 0
            url = cameras[row.number].url(USER, encoded_secret(), host=row.host, port=port)
            settings[row.name] = {"source": url, "every": 2, **row.options}
        running = stack.enter_context(Program(settings, folder, **program))
        takes = [
            Take(
                row.name,
                cameras[row.number],
                running,
                Record(row.number, row.fault, row.bound),
                proxies[row.number],
            )
            for row in rows
        ]
        everyone = [*HEALTHY, *(row.name for row in rows)]
        running.wait(lambda s: all(s.state(name) == "live" for name in everyone), 30)
        running.rest(4.0)
        baseline = running.now
        worked_s = machine_cpu_s() - sum(os.times()[:2])
        threads = [
            threading.Thread(target=_play, args=(row, take), name=row.name, daemon=True)
            for row, take in zip(rows, takes, strict=True)
        ]
        if running.process.poll() is None:  # else it is told below
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        live = [take for row, take in zip(rows, takes, strict=True) if row.returns]
        _come_back(live)
        running.rest(0.5)  # changes are looked for four times a second
        _check_events(takes)
        _check_changes(takes, live)
        running.rest(max(0.0, baseline.at + LEAST_S - time.monotonic()))
        until = running.now
        worked_s = machine_cpu_s() - sum(os.times()[:2]) - worked_s
        if running.process.poll() is not None:
            said = running.stop()
            raise AssertionError(f"streamer ended by itself with {said.code}: {said.err[-2000:]}")
        after = _settle(running, baseline)
        ended = running.stop()
        oracle = {
            "O1": others(title, running, baseline, until, worked_s),
            "O2": books(title, running, ended),
            "O3": resources(title, baseline, after),
            "O4": canary(title, running),
        }
        records = {take.record.row: take.record for take in takes}
        return Played(records, oracle, ended, running, cameras)


def _play(row: Row, take: Take) -> None:
    began_at = time.monotonic()
    try:
        row.play(take)
    except GaveUp:
        pass
    except Exception:
        take.record.failures.append(f"the test itself broke: {traceback.format_exc(limit=-3)}")
    if not take.healed_at:
        take.heal()
    verdict = "ok" if not take.record.failures else f"FAILED: {'; '.join(take.record.failures)}"
    print(f"row {row.number:<5} {time.monotonic() - began_at:5.1f} s  {verdict}", flush=True)


def _come_back(takes: Sequence[Take]) -> None:
    """Every camera must be live with new frames at most ``BACK_S`` after it was healed."""
    for take in takes:
        start = take.program.now.captured(take.name)
        left_s = max(1.0, take.healed_at + BACK_S - time.monotonic())
        sample = take.program.wait(
            lambda s, name=take.name, start=start: (
                s.state(name) == "live" and s.captured(name) > start
            ),
            left_s,
        )
        take.record.require(sample is not None, f"not live {BACK_S:g} s after it was healed")


def _check_events(takes: Sequence[Take]) -> None:
    """What subscribers got of each camera goes forward, and its ages are sane."""
    for take in takes:
        mine = take.program.seen.events[take.name]
        frames = [(e["epoch"], e["frame"], e["seq"]) for e in mine]
        forward = all(a[0] <= b[0] and a[1] < b[1] and a[2] < b[2] for a, b in pairwise(frames))
        take.record.require(forward, "epoch, frame and seq of the events do not go forward")
        ages = [e["age_ms"] for e in mine]
        take.record.require(all(0 <= age < 5000 for age in ages), f"ages of {ages[:3]} ms")


def _check_changes(takes: Sequence[Take], live: Sequence[Take]) -> None:
    """Subscribers were told what each camera did, and what it does in the end; so was the log."""
    for take in takes:
        said = list(take.program.seen.changes[take.name])
        seqs = [change["seq"] for change in said]
        take.record.require(
            bool(seqs) and seqs == list(range(seqs[0], seqs[0] + len(seqs))),
            f"changes are missing: {seqs}",
        )
        losses = take.program.now.losses(take.name)
        if take in live and said:
            take.record.require(said[-1]["state"] == "live", f"last told: {said[-1]['state']}")
        if losses:
            # A loss that is over between two looks shows in the number of the life alone.
            told = [c for c in said if c["reason"] or c["epoch"]]
            take.record.require(bool(told), "no event told of the loss")
        lines = sum('"camera_lost"' in line for line in take.log_lines(0.0))
        take.record.require(
            (lines > 0) == (losses > 0) and lines <= losses,
            f"{losses} losses, {lines} log lines",
        )


def _settle(program: Program, baseline: Sample) -> Sample:
    """The first sample that uses what the baseline used, or the last after 30 s."""
    found = program.wait(lambda s: not grown(baseline, s), 30.0)
    return found or program.now
