"""Faces that come and go, as subscribers of the running program hear of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.app import App
from streamer.client import CameraEvent, FacesEvent, TrackEvent, subscribe
from streamer.testing import CollectingSink
from streamer.types import TrackChange
from tests.test_cameras import ROOT, Running, config

REPLAY = {"zeromq": {"bind": "tcp://127.0.0.1:*", "replay": "tcp://127.0.0.1:*"}}
DEMO = {"source": "demo:", "input_size": 320, "max_fps": 8}


def kinds_of(told: list[TrackEvent]) -> dict[int, list[str]]:
    """What was told of each face, in order."""
    kinds: dict[int, list[str]] = {}
    for event in told:
        kinds.setdefault(event.id, []).append(event.kind)
    return kinds


@pytest.fixture
def running(model_path: Path) -> Iterator[Running]:
    del model_path
    with Running({"door": DEMO}, publish=REPLAY) as one:
        yield one


def test_faces_appear_and_leave_with_their_camera(running: Running) -> None:
    """A camera that is paused takes its faces with it; resumed, they have new ids."""
    app = running.app
    assert app.zeromq is not None and app.zeromq.replay is not None
    told: list[TrackEvent] = []
    with subscribe(
        app.zeromq.endpoint, replay=app.zeromq.replay.endpoint, tracks=True, changes=True,
        timeout_s=30,
    ) as events:  # fmt: skip
        seen: set[int] = set()
        there: set[int] = set()
        for round_ in range(2):
            for event in events:
                if isinstance(event, TrackEvent):
                    told.append(event)
                    there.add(event.id)
                elif isinstance(event, FacesEvent):
                    seen |= {face.id for face in event.faces or ()}
                if len(there) >= 3:
                    break
            app.roster.pause("door")
            for event in events:
                if isinstance(event, TrackEvent):
                    told.append(event)
                elif isinstance(event, FacesEvent):
                    seen |= {face.id for face in event.faces or ()}
                elif isinstance(event, CameraEvent) and event.state == "stopped":
                    break
            left = {event.id for event in told if event.kind == "left"}
            assert left == {event.id for event in told}
            assert all(kinds[-1] == "left" for kinds in kinds_of(told).values())
            if not round_:
                first, there = set(left), set()
                app.roster.resume("door")
        assert not first & {event.id for event in told if event.epoch == 1}
        assert events.lost == 0
    assert [event.seq for event in told] == list(range(told[0].seq, told[0].seq + len(told)))
    assert {event.id for event in told} <= seen
    assert "camera" in {event.reason for event in told if event.kind == "left"}
    assert all(0 <= event.quality.score <= 1 and event.age_ms >= 0 for event in told)


class Told(CollectingSink):
    """A sink of one's own that asks to be told of faces."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[TrackChange] = []
        self.results = 0

    def write_track(self, change: TrackChange) -> None:
        self.told.append(change)
        self.results = len(self.outcomes)


def test_of_a_file_every_face_is_told_to_the_end(model_path: Path) -> None:
    """Each that appears leaves, and those of the last frame after all its results."""
    del model_path
    clip = {"source": "streamer/assets/demo.mp4", "input_size": 320, "every": 3}
    sink = Told()
    settings = config({"clip": clip})
    App(settings, base_folder=ROOT, environ={}, extra_sinks={"own": sink}).run()
    kinds: dict[int, list[str]] = {}
    for change in sink.told:
        kinds.setdefault(change.id, []).append(change.kind)
    assert len(kinds) >= 3
    for of_one in kinds.values():
        assert of_one[0] == "appeared" and of_one[-1] == "left"
        assert set(of_one[1:-1]) <= {"best"}
    assert any("best" in of_one for of_one in kinds.values()), "the demo's faces grow"
    assert sink.results == len(sink.outcomes)
    # However fast it was read: on its own time, 25 frames a second.
    assert max(change.seen_s for change in sink.told) > 5
    for change in sink.told:
        assert change.seen_s <= change.frame / 25 + 0.01
