"""Looks at how it goes, once a second, and has less done while there is too much to do.

What is given up, and in what order, is decided in :mod:`streamer.inference.overload`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from streamer.flow.ledger import Ledger
from streamer.inference.overload import CameraReading, Overload, Reading, Step
from streamer.inference.service import ServiceTimes
from streamer.log import get_logger
from streamer.status import Load

EVERY_S: Final = 1.0
"""Between two looks, seconds."""

WINDOW: Final = 4
"""A reading is of the last so many looks: two detections a second are not told from one or three
in a single second."""

log = get_logger("infer")


@dataclass(frozen=True, slots=True)
class Steered:
    """A camera that may be given less.

    ``age_s`` is of its newest result, seconds, None before the first; ``max_age_s`` its promise;
    ``scales``: whether its input may be made smaller.
    """

    ledger: Ledger
    age_s: float | None
    max_age_s: float
    priority: float
    scales: bool = True


class Steering:
    """What is given up now, and how that came about. :meth:`load` may be read by any thread."""

    def __init__(self, times: ServiceTimes, *, workers: int) -> None:
        """Nothing is given up. ``times`` are those of ``workers`` workers together."""
        self._times = times
        self._workers = workers
        self._overload = Overload()
        self._looks: deque[tuple[float, float, dict[str, Ledger]]] = deque(maxlen=WINDOW + 1)
        self._down = self._up = 0

    def look(self, cameras: Mapping[str, Steered], now: float) -> Step | None:
        """Take in how it goes at the instant ``now``; the new step where it changed, else None."""
        busy_s = self._times.busy_s
        self._looks.append((now, busy_s, {name: c.ledger for name, c in cameras.items()}))
        then, busy_then_s, before = self._looks[0]
        seconds = now - then
        if seconds < EVERY_S * (WINDOW - 1):
            return None
        each = self._times.items_per_second
        reading = Reading(
            now,
            {
                name: CameraReading.between(
                    before[name], c.ledger, seconds,
                    age_s=c.age_s, max_age_s=c.max_age_s, priority=c.priority, scales=c.scales,
                )
                for name, c in cameras.items()
                if name in before and before[name].captured  # it sends for that long
            },
            min(1.0, (busy_s - busy_then_s) / (seconds * max(1, min(self._workers, len(cameras))))),
            None if each is None else each * self._workers,
        )  # fmt: skip
        last = self._overload.step
        step = self._overload.update(reading)
        if step == last:
            return None
        self._looks.clear()  # what was before says nothing of the new step
        # "level" is taken: it says how serious a line is.
        figures = {
            "overload_level": step.level,
            "input_scale": step.scale,
            "paused": sorted(step.paused),
        }
        if step.level > last.level:
            self._down += 1
            log.warning("overload_step", **figures, reason=step.reason)
        else:
            self._up += 1
            log.info("overload_eased", **figures, reason=step.reason)
        return step

    def load(self) -> Load:
        """How much there is to do now, and what is given up."""
        step, each = self._overload.step, self._times.items_per_second
        return Load(
            level=step.level,
            input_scale=step.scale,
            paused=step.paused,
            steps={"down": self._down, "up": self._up},
            capacity=None if each is None else each * self._workers,
            busy_s=self._times.busy_s,
            service_s={
                (int(kind) if isinstance(kind, int) else 0, size): seconds
                for (kind, size), seconds in self._times.table().items()
            },
        )


def steer(
    steering: Steering,
    cameras: Callable[[], Mapping[str, Steered]],
    give_up: Callable[[Step], None],
    over: threading.Event,
    *,
    clock: Callable[[], float],
) -> None:
    """Beside the line: look at the cameras and have them do what is decided, until ``over``."""
    while not over.wait(EVERY_S):
        step = steering.look(cameras(), clock())
        if step is not None:
            give_up(step)
