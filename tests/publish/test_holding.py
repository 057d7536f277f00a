"""Held for another end that may be away: what was wanted, counted, and told to who sends."""

from __future__ import annotations

from streamer.publish.holding import HoldingSink
from streamer.publish.link import Link
from streamer.publish.messages import Messages
from streamer.publish.outbox import Outbox
from tests.publish.news import beat, change, failure, result, track


class Held(HoldingSink):
    def __init__(self, most: int) -> None:
        messages = Messages(boot_id="b", model="m", when="changes", max_per_s=2.0)
        super().__init__(Link("x"), messages, Outbox(most=most, most_bytes=2**20), lambda: 5.0)
        self.woken = 0

    def _wake(self) -> None:
        self.woken += 1

    def topics(self) -> list[str]:
        return [entry.message.topic for entry in self._outbox.next(99, 2**20)]


def test_what_is_wanted_is_held_in_order_and_each_wakes_who_sends() -> None:
    sink = Held(9)
    for write, said in (
        (sink.write, result("door", [1])),
        (sink.write, result("door", [1])),  # nothing new
        (sink.write, failure("yard")),
        (sink.write_track, track("door")),
        (sink.write_track, track("door", "best")),  # not asked for
        (sink.write_change, change("door")),
        (sink.write_beat, beat("door")),
    ):
        write(said)  # type: ignore[operator]
    assert sink.topics()[0] == "faces/door/"
    assert sink.topics()[-2:] == ["track/door/", "camera/door/"]
    assert sink.woken == len(sink.topics()) == sink.link.waiting


def test_what_has_no_room_is_counted_as_lost() -> None:
    sink = Held(2)
    for number in range(5):
        sink.write_track(track("door", number=number))
    assert sink.link.waiting == 2
    assert sink.link.lost == {"queue_full": 3}
