"""Beside the line: looks at the cameras and tells what each does and which faces left with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from streamer.flow.fan_out import FanOut
from streamer.log import get_logger
from streamer.types import Beat, CameraChange, Published

log = get_logger("watch")

WATCH_S = 0.25
"""How often the cameras are looked at, seconds."""

LAST_S = 1.0
"""Longest wait for frames in flight when the program ends, before the last is told, seconds."""

BEAT_S = 1.0
"""How often a sign of life is given, seconds."""


def watch(
    changes: Callable[[], Mapping[str, CameraChange]],
    outlet: FanOut[Published],
    over: threading.Event,
    *,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
    beat: Callable[[], Beat] | None = None,
    depart: Callable[[bool], None] | None = None,
    drained: Callable[[], bool] = lambda: True,
) -> None:
    """Beside the line: tell what each camera does whenever that changes, until ``over``.

    ``changes`` reads what every camera does now, by name, ``beat`` gives what is told each
    second, and ``depart`` tells which faces left where nobody looks (True: all have). The last
    look is when no frame is in flight any more (``drained``), or a second after ``over``.

    Looking instead of being told keeps the threads that read cameras free of this, bounds how
    much a flapping camera can say, and finds what no thread reports: that one of them is blocked.
    """
    told: dict[str, CameraChange] = {}
    last, beat_at = False, clock()
    while not last:
        last = over.wait(WATCH_S)  # one more look after the end: all have stopped by then
        end_at = clock() + LAST_S
        while last and not drained() and clock() < end_at:
            time.sleep(0.01)
        if depart is not None:
            depart(last)
        now = changes()
        for name in told.keys() - now.keys():
            gone = replace(
                told.pop(name), state="stopped", since_at=clock(), wall_at=wall_clock(),
                reason="", detail="removed from the configuration", retry_at=None, frozen=False,
            )  # fmt: skip
            outlet.put(gone)
        for name, change in now.items():
            if name not in told or _differ(told[name], change):
                outlet.put(change)
                if change.state == "stalled" and name in told and told[name].state != "stalled":
                    log.warning("camera_stalled", camera=name, detail=change.detail)
                told[name] = change
        if beat is not None and (last or clock() >= beat_at):
            beat_at = clock() + BEAT_S - WATCH_S / 2
            outlet.put(beat())


def _differ(a: CameraChange, b: CameraChange) -> bool:
    """Whether ``b`` is news after ``a``; the words of ``detail`` alone are none."""
    return replace(a, detail="", wall_at=0.0) != replace(b, detail="", wall_at=0.0)
