"""What a person reads of each event."""

from streamer.client.lines import line_of
from streamer.events import camera_event, faces_event
from streamer.types import CameraChange, Failure, Frame, NoPicture, Result, Stamps, Tracks
from tests.test_track_events import CHANGES, event_of

FRAME = Frame("door", 0, 41, 1.0, 0.0, None, NoPicture(64, 48))
STAMPS = Stamps(1.0, 1.0, 1.0)


def test_each_event_is_a_line() -> None:
    said = []
    for outcome in (Result(FRAME, Tracks.none(), STAMPS), Failure(FRAME, STAMPS, "x")):
        event = faces_event(outcome, seq=1, boot_id="b", model="m", now_at=1.0125)
        said.append(line_of(event))
    change = CameraChange("door", "backing_off", 0.0, 0.0, reason="stall")
    said.append(line_of(camera_event(change, seq=1, boot_id="b", now_at=1.0)))
    said += [line_of(event_of(change)) for change in CHANGES.values()]
    assert [" ".join(line.split()) for line in said] == [
        "door frame 41 0 faces 12.5 ms old",
        "door frame 41 failed 12.5 ms old",
        "door backing_off stall",
        "door frame 41 face 7 appeared, quality 0.55",
        "door frame 63 face 7 best, quality 0.50",
        "door frame 120 face 7 left after 5.2 s (unseen), quality 0.55",
    ]
