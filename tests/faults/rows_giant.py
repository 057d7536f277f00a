"""Rows of pictures that are far too large: one at a time, since memory is what is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.faults.clips import giant
from tests.faults.rows_dial import FIRST_FRAME_S, OPEN_S, detail, dialled_into
from tests.faults.rows_stream import SEEN_S, STALL_S
from tests.faults.scene import Row, Take

_ONE_AT_A_TIME = threading.Lock()
_MOST_MB = 50.0


def _measured(take: Take, play: Callable[[], None]) -> None:
    giant()  # made before the clock runs
    with _ONE_AT_A_TIME:
        began_at, own = time.monotonic(), take.program.now.usage.own
        play()
        most = max(s.usage.own for s in take.program.samples if s.at >= began_at)
        take.record.measure("memory grew by", (most - own) / 2**20, at_most=_MOST_MB, unit="MB")
        take.heal()


def row_30(take: Take) -> None:
    def play() -> None:
        dialled_into(take, "too_large", OPEN_S, clip=giant())
        detail(take, "8192", "pixels")

    _measured(take, play)


def row_30b(take: Take) -> None:
    def play() -> None:
        before = take.program.now.losses(take.name, "too_large")
        began_at = time.monotonic()
        take.camera.change(clip=giant())
        take.record.measure("seen after", take.not_live() - began_at, at_most=STALL_S + SEEN_S)
        take.lost("too_large", FIRST_FRAME_S, before=before)

    _measured(take, play)


def row_30c(take: Take) -> None:
    def play() -> None:
        dialled_into(take, "too_large", FIRST_FRAME_S, clip=giant(), sets_in_sdp=False)

    _measured(take, play)


GIANTS = (
    Row("30", "8192x8192 in the SDP", "too_large in 4 s, 50 MB more at most", row_30),
    Row("30b", "8192x8192 in mid-stream", "seen in 5 s, 50 MB more at most", row_30b),
    Row("30c", "8192x8192, not in the SDP", "too_large in 10 s, 50 MB more at most", row_30c),
)
