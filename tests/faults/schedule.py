"""Faults at random, drawn from a seed: what befalls which camera, when and for how long."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.clips import frozen, moving
from tests.faults.proxy import FaultProxy
from tests.faults.server import AUDIO, ScriptedCamera, other_codec

LONGEST_S = 8.0


@dataclass(frozen=True)
class Victim:
    """A camera and the wire to it."""

    camera: ScriptedCamera
    proxy: FaultProxy

    def heal(self) -> None:
        """Everything is well again."""
        self.proxy.mode = "pass"
        self.proxy.delay_s, self.proxy.rate = 0.0, None
        self.camera.heal()


@dataclass(frozen=True)
class Step:
    """One fault: for ``wait_s`` nothing new, then it lasts ``seconds`` and is healed."""

    victim: int
    fault: str
    wait_s: float
    seconds: float


def _script(**fields: object) -> Callable[[Victim], None]:
    return lambda victim: victim.camera.change(**fields)


def _dialled(**fields: object) -> Callable[[Victim], None]:
    def play(victim: Victim) -> None:
        victim.camera.change(**fields)
        victim.proxy.cut("reset")

    return play


def _wire(mode: str) -> Callable[[Victim], None]:
    return lambda victim: setattr(victim.proxy, "mode", mode)


def _slow_wire(victim: Victim) -> None:
    victim.proxy.delay_s, victim.proxy.rate = 0.05, 20_000.0


FAULTS: dict[str, Callable[[Victim], None]] = {
    "stall": _script(act="stall"),
    "keepalive": _script(act="keepalive"),
    "drip": _script(act="drip"),
    "fin": lambda victim: victim.camera.cut("fin"),
    "reset": lambda victim: victim.camera.cut("reset"),
    "down": lambda victim: victim.camera.down(),
    "freeze": _wire("freeze"),
    "loris": _wire("loris"),
    "corrupt": _wire("corrupt"),
    "cut off": _wire("refuse"),
    "slow wire": _slow_wire,
    "silent": _dialled(silent_from="accept"),
    "404": _dialled(answers={"DESCRIBE": "404 Not Found"}),
    "503": _dialled(answers={"DESCRIBE": "503 Service Unavailable"}),
    "no pictures": _dialled(act="keepalive"),
    "sound only": _dialled(media=AUDIO),
    "other codec": _dialled(media=other_codec("MP4V-ES")),
    "no parameters": _dialled(sets=False),
    "damage": _script(damage=0.5),
    "larger": lambda victim: victim.camera.change(clip=moving(640, 384)),
    "h265": lambda victim: _dialled(clip=moving(codec="H265"))(victim),
    "frozen": lambda victim: victim.camera.change(clip=frozen()),
    "timestamps": _script(ticks=lambda n: n * 7919 * 104_729 % 2**32),
}
"""All that can befall a camera and passes. A refused password is not among them: the minute that
is then waited is as it should be."""


def draw(seed: int, seconds: float, victims: int) -> list[list[Step]]:
    """A schedule for each victim, about so many seconds long. The same seed gives the same."""
    chance = random.Random(seed)
    schedules = []
    for victim in range(victims):
        steps: list[Step] = []
        spent_s = 0.0
        while spent_s < seconds:
            step = Step(
                victim,
                chance.choice(sorted(FAULTS)),
                round(chance.uniform(0.2, 4.0), 1),
                round(chance.uniform(0.5, LONGEST_S), 1),
            )
            steps.append(step)
            spent_s += step.wait_s + step.seconds
        schedules.append(steps)
    return schedules


def play(
    schedules: Sequence[Sequence[Step]],
    victims: Sequence[Victim],
    until: float,
    *,
    idle: bool = True,
) -> None:
    """Play all schedules side by side; all cameras are healed at ``until`` at last.

    ``idle`` False: it returns as soon as all are through.
    """
    threads = [
        threading.Thread(target=_play_one, args=(steps, victim, until, idle), daemon=True)
        for steps, victim in zip(schedules, victims, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _play_one(steps: Sequence[Step], victim: Victim, until: float, idle: bool) -> None:
    for step in steps:
        for wait_s, act in ((step.wait_s, FAULTS[step.fault]), (step.seconds, Victim.heal)):
            time.sleep(max(0.0, min(wait_s, until - time.monotonic())))
            if time.monotonic() >= until:
                break
            act(victim)
    if idle:
        time.sleep(max(0.0, until - time.monotonic()))
    victim.heal()
