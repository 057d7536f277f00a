"""Rows that take a minute or more: cameras that are away for long, or come back for a moment."""

from __future__ import annotations

import time

from tests.faults.passwords import Auth
from tests.faults.rows_dial import dialled_into, waits_grow
from tests.faults.scene import BACK_S, Row, Take

MOST_IN_A_MINUTE = 9
"""Losses in the first minute: the first, and the 8 dials that backoff.py promises at most. Waits of
a third made 10 to 14 in 20 000 simulated minutes, so they are found."""
LEAST_IN_A_MINUTE = 5
"""The longest waits that it may draw make these."""
MOST_IN_75_S = 9
"""Tries of a camera that comes and goes: 5 to 8 in 20 000 simulated runs, with waits of a third 11
to 15."""


def _away(take: Take, seconds: float) -> None:
    """No camera for so long, then there again: frames flow, and the numbers go on."""
    events = take.program.seen.events[take.name]
    take.camera.down()
    take.lost("refused", 10.0)
    went_at = time.monotonic()
    last = events[-1]
    take.program.rest(seconds)
    take.heal()
    take.record.measure("frames after", take.live() - take.healed_at, at_most=BACK_S)
    take.program.rest(1.0)
    fresh = [event for event in list(events) if event["at"] > went_at + 1.0]
    take.record.require(bool(fresh), "no event came after it was back")
    if fresh:
        take.record.require(fresh[0]["epoch"] == last["epoch"] + 1, "epoch did not grow by one")
        take.record.require(fresh[0]["seq"] == last["seq"] + 1, "seq did not go on")
        take.record.require(
            last["frame"] < fresh[0]["frame"] <= last["frame"] + 12, "frame did not go on"
        )


def row_9(take: Take) -> None:
    since = time.monotonic()
    before = take.program.now.losses(take.name)
    take.camera.down()
    take.lost("refused", 10.0)
    take.program.rest(60.0)
    tries = take.program.now.losses(take.name) - before
    take.record.measure("tries in 60 s", tries, at_most=MOST_IN_A_MINUTE, unit="")
    take.record.require(tries >= LEAST_IN_A_MINUTE, f"only {tries} tries: it waits too long")
    waits_grow(take, since)


def row_14(take: Take) -> None:
    auth = Auth("digest", password="another")
    dialled_into(take, "auth", 1.0, auth=auth)
    take.program.rest(80.0)
    # What locks an account is a wrong password; a question without one does not count.
    tries = [r.at for r in take.camera.requests if "\nAuthorization:" in r.head]
    take.record.measure("tries in 80 s", len(tries), at_most=2, unit="")
    take.record.require(len(tries) >= 2, "it was not tried again: it gave up")
    if len(tries) >= 2:
        waited = tries[1] - tries[0]
        take.record.note(f"waited {waited:.1f} s")
        take.record.require(waited >= 60, f"tried again after {waited:.1f} s, 60 s is the least")


def row_15(take: Take) -> None:
    began_at = time.monotonic()
    dialled_into(take, "auth", 1.0, auth=Auth("digest", refusals=1))
    take.record.measure("live again after", take.live(80.0) - began_at, at_most=80.0)


def row_18(take: Take) -> None:
    _away(take, 60.0)


def row_18a(take: Take) -> None:
    _away(take, 6.0)


def row_19(take: Take) -> None:
    """The wire breaks without a goodbye, and the camera still holds the only session."""
    take.camera.change(sessions=1, session_s=30.0)
    take.program.rest(1.0)
    began_at = time.monotonic()
    take.camera.cut("reset")
    take.not_live()
    take.record.measure("live after", take.live(30.0 + BACK_S) - began_at, at_most=30.0 + BACK_S)
    refused = len(take.camera.said("SETUP", began_at))
    take.record.note(f"{refused} times SETUP was tried")


def row_21(take: Take) -> None:
    dials = len(take.proxy.dials)
    take.proxy.flap(2.0, 2.0, 18)
    take.program.rest(3.0)
    take.record.measure(
        "tries in 75 s", len(take.proxy.dials) - dials, at_most=MOST_IN_75_S, unit=""
    )


LIFE = (
    Row("9", "port closed", f"{MOST_IN_A_MINUTE} tries in the first minute at most", row_9),
    Row("14", "401, wrong password", "at least 60 s between tries, never given up", row_14,
        returns=False),
    Row("15", "401 while the camera is full", "live again in 80 s", row_15),
    Row("18", "reboot of 60 s", "frames in 35 s, epoch + 1, frame and seq go on", row_18),
    Row("19", "dead session is kept for 30 s, one allowed", "live in 65 s", row_19),
    Row("21", "up 2 s, down 2 s, again and again", f"{MOST_IN_75_S} tries in 75 s at most",
        row_21, proxy=True),
)  # fmt: skip
SHORT_LIFE = (
    Row("18a", "away for 6 s", "frames in 35 s, epoch + 1, frame and seq go on", row_18a),
)
