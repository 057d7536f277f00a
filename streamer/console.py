"""What people see in a terminal: the live table, the ledger at the end, log lines otherwise."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamer.errors import StreamerError
from streamer.log import get_logger
from streamer.status import CameraStatus, Status

REFRESH_S = 0.5
LOG_EVERY_S = 60.0
"""Between two lines of a camera, seconds: what changes has lines of its own."""
TABLE_WIDTH = 100
"""Columns that the tables need; narrower terminals get lines."""

_STATE_STYLES = {"live": "green", "ended": "dim", "stopped": "dim", "connecting": "yellow"}


def _whole_ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f}"


def _state(camera: CameraStatus) -> Text:
    source = camera.source
    text = source.state.replace("_", " ")
    if source.reason:
        text += f": {source.reason.replace('_', ' ')}"
    return Text(text, style=_STATE_STYLES.get(source.state, "red"))


def live_table(status: Status) -> Table:
    """The cameras now: state, frames per second, faces, latency, drops."""
    table = Table(
        title=f"streamer · {status.model} on {status.provider} · {status.uptime_s:.0f} s",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    for name, align in (
        ("camera", "left"), ("state", "left"), ("fps in", "right"), ("fps detected", "right"),
        ("faces", "right"), ("p50 ms", "right"), ("p99 ms", "right"), ("skipped", "right"),
        ("dropped", "right"),
    ):  # fmt: skip
        table.add_column(name, justify="right" if align == "right" else "left", no_wrap=True)
    for camera in status.cameras:
        dropped = sum(camera.ledger.dropped.values())
        table.add_row(
            camera.name,
            _state(camera),
            f"{camera.capture_fps:.1f}",
            f"{camera.detect_fps:.1f}",
            str(camera.faces_now),
            _ms(camera.latency_p50_s),
            _ms(camera.latency_p99_s),
            str(camera.ledger.skipped),
            Text(str(dropped), style="yellow" if dropped else ""),
        )
    return table


def ledger_table(status: Status) -> Table:
    """Where every frame of every camera went."""
    table = Table(title="Ledger: every frame accounted for", box=box.SIMPLE_HEAD)
    table.add_column("camera", no_wrap=True)
    for name in ("captured", "detected", "tracked", "skipped", "dropped", "in flight", "closes"):
        table.add_column(name, justify="right")
    table.add_column("drops by stage and reason")
    for camera in status.cameras:
        ledger = camera.ledger
        reasons = ", ".join(
            f"{stage}/{reason} {n}" for (stage, reason), n in sorted(ledger.dropped.items())
        )
        closes = (
            Text("yes", style="green")
            if ledger.closes
            else Text(f"NO, {ledger.imbalance} lost", style="bold red")
        )
        table.add_row(
            camera.name,
            str(ledger.captured),
            str(ledger.settled.get("detected", 0)),
            str(ledger.settled.get("tracked", 0)),
            str(ledger.skipped),
            str(sum(ledger.dropped.values())),
            str(ledger.in_flight),
            closes,
            reasons,
        )
    return table


def ledger_lines(status: Status) -> list[str]:
    """The same as :func:`ledger_table` for a narrow terminal: a block for each camera."""
    lines = ["Ledger: every frame accounted for"]
    for camera in status.cameras:
        ledger = camera.ledger
        lines += [
            camera.name,
            f"  captured  {ledger.captured}",
            f"  detected  {ledger.settled.get('detected', 0)}",
            f"  tracked   {ledger.settled.get('tracked', 0)}",
            f"  skipped   {ledger.skipped}",
            f"  dropped   {sum(ledger.dropped.values())}",
            *(f"    {stage}/{why} {n}" for (stage, why), n in sorted(ledger.dropped.items())),
            f"  in flight {ledger.in_flight}",
            f"  closes    {'yes' if ledger.closes else f'NO, {ledger.imbalance} lost'}",
        ]
    return lines


class _Output(Console):
    """Standard output. That nobody reads it any more is told as any output that is gone."""

    def on_broken_pipe(self) -> None:
        """Raise StreamerError; rich and click would end the program without a word."""
        # Nothing may be flushed to it at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StreamerError("the output cannot be written (Broken pipe); give it another place")


def print_ledger(status: Status) -> None:
    """Print the ledger to standard output, in the shape that fits where it goes.

    Raises StreamerError when nobody reads it any more.
    """
    console = _Output() if sys.stdout.isatty() else _Output(width=160)
    if console.width < TABLE_WIDTH:
        for line in ledger_lines(status):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(ledger_table(status))


class Watch:
    """Shows a running program until it is left: a live table in a terminal, else log lines."""

    def __init__(self, read: Callable[[], Status]) -> None:
        """``read`` gives the status; it is called from a thread of this object."""
        self._read = read
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)

    def __enter__(self) -> Watch:
        """Begin to show."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop showing and wait for the last line."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        console = Console()
        if not console.is_terminal:
            self._log_lines()
            return
        with Live(live_table(self._read()), console=console, auto_refresh=False) as live:
            while not self._stop.wait(REFRESH_S):
                live.update(live_table(self._read()), refresh=True)

    def _log_lines(self) -> None:
        log = get_logger("console")
        while not self._stop.wait(LOG_EVERY_S):
            for camera in self._read().cameras:
                if camera.source.state in ("ended", "stopped"):
                    continue  # nothing comes any more; the ledger at the end has it
                log.info(
                    "camera_status",
                    camera=camera.name,
                    state=camera.source.state,
                    fps_in=round(camera.capture_fps, 1),
                    fps_detected=round(camera.detect_fps, 1),
                    faces=camera.faces_now,
                    p50_ms=_whole_ms(camera.latency_p50_s),
                    p99_ms=_whole_ms(camera.latency_p99_s),
                    skipped=camera.ledger.skipped,
                    dropped=sum(camera.ledger.dropped.values()),
                )
