"""What is counted of a source outlives the line that dialled it."""

from __future__ import annotations

from streamer.capture.backoff import Backoff
from streamer.capture.dials import Dials
from streamer.errors import SourceLost

WRONG = SourceLost("auth", "wrong password")


def test_refusals_of_earlier_cameras_count() -> None:
    one = Dials(Backoff(first_s=0.5, most_s=30.0, auth_s=60.0, random=lambda: 0.0))
    assert (one.begin(), one.begin()) == (1, 2)
    one.refused_before(2)
    assert one.wait_s(WRONG, 0.0) == 240.0
    assert one.refusals == 3
    one.refused_before(1)  # it knows of more
    assert one.refusals == 3
    one.reset()
    assert one.wait_s(WRONG, 0.0) == 60.0
