"""What the live table shows."""

import io

from rich.console import Console

from streamer.client.notices import Gap, Restarted, Resumed, Stale, Stopped
from streamer.events import decode, decode_camera
from streamer.heartbeat_events import HEARTBEAT_SCHEMA, HeartbeatEvent
from streamer.watch.view import MAX_CAMERAS, Watched, table
from tests.client.publisher import change, faces


def beat(states: dict[str, str]) -> HeartbeatEvent:
    return HeartbeatEvent(HEARTBEAT_SCHEMA, "b" * 32, 1, 0.0, {}, {}, states)  # type: ignore[arg-type]


def shown(watched: Watched, now: float) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(table(watched, now))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_camera_shows_its_state_rate_age_faces_and_losses() -> None:
    watched = Watched("tcp://here:5555")
    assert "nothing was heard yet" in shown(watched, 0.0)
    watched.take(beat({"door": "live", "yard": "backing_off"}), 1.0)
    for step in range(20):
        watched.take(decode(faces("door", step + 1, "b")), 1.0 + step / 10)
    watched.take(Gap("faces/door/", "b", 21, 27), 3.0)
    text = shown(watched, 3.0)
    assert "run bbbbbbbb" in text
    door = next(line for line in text.splitlines() if "door" in line).split()
    assert door == ["door", "live", "4.0", "100", "3", "7"]
    yard = next(line for line in text.splitlines() if "yard" in line).split()
    assert yard == ["yard", "backing", "off", "0.0", "-", "-", "0"]
    assert watched.rows["door"].fps(60.0) == 0.0


def test_a_change_of_a_camera_is_shown_with_its_reason() -> None:
    watched = Watched("e")
    lost = change("door", 1, "b").replace(b'"live"', b'"backing_off"').replace(
        b'"reason":""', b'"reason":"stall"'
    )  # fmt: skip
    watched.take(decode_camera(lost), 0.0)
    watched.take(beat({"door": "backing_off"}), 0.1)  # says no more than that
    assert "backing off: stall" in shown(watched, 0.2)
    watched.take(beat({"door": "live"}), 1.0)
    assert "stall" not in shown(watched, 1.0)


def test_silence_restart_and_end_are_shown() -> None:
    watched = Watched("e")
    for notice, said in (
        (Stale(3.0, "b"), "silent"),
        (Resumed(3.5, "c" * 32), "run cccccccc"),
        (Restarted("c", "d" * 32), "run dddddddd · 1 restarts"),
        (Stopped("d"), "stopped, as it should"),
    ):
        watched.take(notice, 0.0)
        assert said in shown(watched, 0.0)


def test_a_failure_is_not_shown_as_nobody() -> None:
    watched = Watched("e")
    body = faces("door", 1, "b")
    start = body.index(b'"faces":[')
    failed = body[:start].replace(b'"detected"', b'"failed"') + b'"faces":null}'
    watched.take(decode(failed), 0.0)
    assert "failed" in shown(watched, 0.0)


def test_strangers_cannot_fill_the_table() -> None:
    watched = Watched("e")
    for number in range(MAX_CAMERAS + 5):
        watched.take(decode_camera(change(f"c{number}", 1, "b")), 0.0)
    assert len(watched.rows) == MAX_CAMERAS
