"""Events for bridges: those chosen, numbered without a hole, in the shape of the wire."""

from __future__ import annotations

import time

from streamer.events import decode, decode_camera
from streamer.publish.messages import Messages
from streamer.track_events import decode_track
from tests.publish.news import change, result, track


def made(**options: object) -> Messages:
    return Messages(boot_id="b", model="m", when="all", max_per_s=1000.0, **options)  # type: ignore[arg-type]


def test_each_topic_counts_by_itself_and_only_what_is_chosen() -> None:
    messages, now = made(), time.monotonic()
    first = messages.faces(result("a", [1]), now)
    assert messages.faces(result("a"), now) is None  # too soon
    second = messages.faces(result("a"), now + 1)
    seen = messages.track(track("a"), now)
    assert messages.track(track("a", "best"), now) is None
    left = messages.track(track("a", "left"), now)
    told = messages.change(change("b"), now)
    assert first and second and seen and left and told
    assert [(m.topic, m.seq) for m in (first, second, seen, left, told)] == [
        ("faces/a/", 1), ("faces/a/", 2), ("track/a/", 1), ("track/a/", 2), ("camera/b/", 1),
    ]  # fmt: skip
    assert (told.kind, told.camera) == ("camera", "b")
    assert decode(second.body).seq == 2
    assert decode_track(left.body).seq == 2
    assert decode_camera(told.body).camera == "b"


def test_what_is_not_wanted_is_not_made() -> None:
    messages = made(tracks=False, cameras=False)
    assert messages.track(track("a"), 0.0) is None
    assert messages.change(change("a"), 0.0) is None
    assert made(best=True).track(track("a", "best"), 0.0) is not None


def test_numbers_go_on_when_a_camera_comes_back() -> None:
    messages = made()
    messages.change(change("a"), 0.0)
    messages.keep([])
    again = messages.change(change("a"), 0.0)
    assert again is not None
    assert again.seq == 2
