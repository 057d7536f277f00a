"""What all rows promise together: others go on, books close, nothing is left, no secret shows."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from tests.faults.program import HEALTHY, HEALTHY_FPS, Ended, Program, Sample
from tests.faults.record import Record

STOP_S = 9.0

MOST_MB = 10
"""Seen in both scenes of streams, at any load: 3.5 to 5.7. What grows by a little each time is for
the soak to find."""


def grown(before: Sample, after: Sample) -> list[str]:
    """What is used more than before the faults, beyond what is allowed; in words."""
    found = []
    if (extra := (after.usage.own - before.usage.own) / 2**20) > MOST_MB:
        found.append(f"memory grew by {extra:.1f} MB, {MOST_MB} allowed")
    if (fds := after.usage.fds - before.usage.fds) > 2:
        found.append(f"{fds} more open files, 2 allowed")
    if (threads := after.usage.threads - before.usage.threads) > 0:
        found.append(f"{threads} more threads, none allowed")
    return found


def others(title: str, program: Program, start: Sample, end: Sample, worked_s: float) -> Record:
    """O1: detected frames a second of the healthy cameras between two samples.

    They are held against what they send, 20 a second, since they are all detected when all is
    well. ``worked_s`` are CPU seconds of the machine meanwhile, without this process: what is
    left of them after the program's own is noted, since a machine that others use judges nobody.
    """
    record = Record("O1", title, "other cameras' rate moves less than 5 %")
    for name in HEALTHY:
        rate = (end.detected(name) - start.detected(name)) / (end.at - start.at)
        worst = worst_rate(program.samples, name, start.at, end.at)
        record.measure(name, abs(rate / HEALTHY_FPS - 1) * 100, at_most=5.0, unit="%")
        record.note(f"worst 5 s {abs(worst / HEALTHY_FPS - 1) * 100:.1f} %")
    strangers_s = max(0.0, worked_s - (end.usage.cpu_s - start.usage.cpu_s))
    share = strangers_s / (end.at - start.at) / (os.cpu_count() or 1) * 100
    record.note(f"other programs used {share:.0f} % of the machine")
    return record


def worst_rate(samples: Sequence[Sample], name: str, start_at: float, end_at: float) -> float:
    """Detected frames a second in the slowest 5 seconds between two instants."""
    points = [(s.at, s.detected(name)) for s in samples if start_at <= s.at <= end_at]
    rates = [
        (points[j][1] - points[i][1]) / (points[j][0] - points[i][0])
        for i, j in ((i, i + 50) for i in range(max(0, len(points) - 50)))
    ]
    return min(rates, default=math.nan)


def books(title: str, program: Program, ended: Ended) -> Record:
    """O2: the ledger closes in every reading and at the end, with nothing in flight."""
    record = Record("O2", title, "every ledger closes, at the end with nothing in flight")
    record.note(f"{len(program.samples)} readings")
    record.require(not program.seen.unclosed, f"a ledger is open: {program.seen.unclosed[:2]}")
    record.require(
        ended.code == 0, f"exit code {ended.code} after {ended.seconds:.1f} s: {ended.err[-800:]}"
    )
    record.measure("ended in", ended.seconds, at_most=STOP_S)
    ledger = ended.ledger()
    record.require(set(ledger) >= set(HEALTHY), "no ledger was printed at the end")
    for name, (in_flight, closes) in ledger.items():
        record.require(closes and in_flight == 0, f"{name} ends with {in_flight} in flight")
    return record


def resources(title: str, before: Sample, after: Sample) -> Record:
    """O3: memory, files and threads are back where they were before the faults."""
    record = Record("O3", title, f"memory +{MOST_MB} MB, files +-2, threads +-0 of the start")
    record.note(f"{(after.usage.own - before.usage.own) / 2**20:+.1f} MB")
    record.note(f"{after.usage.fds - before.usage.fds:+d} files")
    record.note(f"{after.usage.threads - before.usage.threads:+d} threads")
    record.failures += grown(before, after)
    return record


def canary(title: str, program: Program) -> Record:
    """O4: neither the password nor the user's name shows anywhere, raw or encoded."""
    record = Record("O4", title, "no secret in output, metrics, status, events, argv, names")
    record.note(f"{len(program.seen.leaks)} places")
    record.require(not program.seen.leaks, f"it shows: {program.seen.leaks[:2]}")
    return record
