"""The watch on the cameras: what it tells, once each, and last of all."""

from __future__ import annotations

import threading
from typing import Any

from structlog.testing import capture_logs

from streamer.flow.channel import Channel
from streamer.flow.fan_out import FanOut
from streamer.types import Beat, CameraChange, Published, State
from streamer.watching import watch


def change(
    camera: str, state: State = "live", *, since_at: float = 0.0, **more: Any
) -> CameraChange:
    return CameraChange(camera, state, since_at, wall_at=0.0, **more)


class Watched:
    """A watch on cameras whose changes are set by the test."""

    def __init__(self) -> None:
        self.now: dict[str, CameraChange] = {}
        self.looks = threading.Semaphore(0)
        self.over = threading.Event()
        self.told: Channel[Published] = Channel("told", capacity=100, overflow="block")
        outlet: FanOut[Published] = FanOut()
        outlet.add(self.told)

        def run() -> None:
            watch(self.read, outlet, self.over, clock=lambda: 5.0, wall_clock=lambda: 7.0)
            self.told.close()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def read(self) -> dict[str, CameraChange]:
        self.looks.release()
        return self.now

    def look(self) -> None:
        """Until what is there now was surely seen."""
        for _ in range(2):
            assert self.looks.acquire(timeout=30)

    def end(self) -> list[CameraChange]:
        self.over.set()
        self.thread.join(30)
        return [item for item in self.told if isinstance(item, CameraChange)]


def test_a_watch_tells_each_change_once_and_the_last_for_certain() -> None:
    watched = Watched()
    watched.now = {"a": change("a", "connecting")}
    watched.look()
    watched.now = {"a": change("a", epoch=0), "b": change("b", "connecting")}
    watched.look()
    watched.now = {"a": change("a", epoch=0, detail="other words"), "b": change("b", "connecting")}
    watched.look()
    watched.now = {"a": change("a", "stopped"), "b": change("b", "stopped")}
    told = watched.end()
    assert [c.state for c in told if c.camera == "a"] == ["connecting", "live", "stopped"]
    assert [c.state for c in told if c.camera == "b"] == ["connecting", "stopped"]


def test_a_watch_tells_of_another_loss_of_the_same_kind_and_of_what_is_gone() -> None:
    watched = Watched()
    watched.now = {"a": change("a", "backing_off", since_at=1.0, reason="reset", retry_at=2.0)}
    watched.look()
    watched.now = {"a": change("a", "backing_off", since_at=3.0, reason="reset", retry_at=4.0)}
    watched.look()
    watched.now = {}
    watched.look()
    watched.now = {"a": change("a", "connecting", since_at=9.0)}
    told = watched.end()
    assert [(c.state, c.since_at) for c in told] == [
        ("backing_off", 1.0), ("backing_off", 3.0), ("stopped", 5.0), ("connecting", 9.0),
    ]  # fmt: skip
    assert told[2].reason == "" and told[2].retry_at is None
    assert "removed" in told[2].detail


def test_a_camera_that_stalls_is_logged_when_it_begins() -> None:
    with capture_logs() as lines:
        watched = Watched()
        watched.now = {"a": change("a", epoch=0), "b": change("b", "stalled")}
        watched.look()
        watched.now = {"a": change("a", "stalled", epoch=0, detail="no picture for 5.0 s")}
        watched.look()
        watched.now = {"a": change("a", "stalled", epoch=0, detail="no picture for 6.0 s")}
        watched.look()
        watched.end()
    assert [(line["event"], line["camera"], line["detail"]) for line in lines] == [
        ("camera_stalled", "a", "no picture for 5.0 s")
    ]


def test_faces_leave_before_the_last_change_and_after_the_last_frame() -> None:
    """What is told at the end, in order: who left, then what the cameras do."""
    over, drained = threading.Event(), threading.Event()
    told: list[object] = []
    asked = threading.Event()

    def is_drained() -> bool:
        asked.set()
        return drained.is_set()

    outlet: FanOut[Published] = FanOut()
    channel: Channel[Published] = Channel("told", capacity=100, overflow="block")
    outlet.add(channel)
    state = {"a": change("a")}

    def depart(last: bool) -> None:
        if last:
            told.append(drained.is_set())
            outlet.put(Beat(0.0, 0.0, {}))  # stands for a face that leaves

    watching = threading.Thread(
        target=watch, args=(lambda: state, outlet, over), daemon=True,
        kwargs={
            "clock": lambda: 5.0, "wall_clock": lambda: 7.0, "depart": depart,
            "drained": is_drained,
        },
    )  # fmt: skip
    watching.start()
    over.set()
    assert asked.wait(30)
    assert not told
    state = {"a": change("a", "stopped")}
    drained.set()
    watching.join(30)
    channel.close()
    assert told == [True]
    kinds = [type(item) for item in channel]
    assert kinds[-2:] == [Beat, CameraChange]
