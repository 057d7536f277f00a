"""Restream with a stand-in for the push, where time decides; test_rtsp_push.py has the real one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from structlog.testing import capture_logs

import streamer.publish.restream as restream
from streamer.capture.backoff import Backoff
from streamer.config import parse_config
from streamer.errors import ConfigError, SourceLost
from streamer.flow.stage import Stage
from streamer.publish.restream import Form, RestreamSink, drawn
from streamer.status import RestreamStatus
from streamer.testing import ManualClock
from streamer.types import Beat
from streamer.vision.picture import ArrayPicture
from streamer.vision.privacy import MaskedPicture, Privacy
from tests.web.synthetic import outcome, until

BEAT = Beat(0.0, 0.0, {})


def waits() -> Backoff:
    return Backoff(first_s=0.5, most_s=30.0, auth_s=60.0, random=lambda: 1.0)


class Stages:
    """Runs stages on threads, as the group does."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def start(self, stage: Stage) -> None:
        thread = threading.Thread(target=stage.run, name=stage.name, daemon=True)
        self.threads.append(thread)
        thread.start()

    def join(self, limit_s: float = 30.0) -> None:
        for thread in self.threads:
            thread.join(limit_s)
            assert not thread.is_alive()


class FakePush:
    """Stands for the push: what is written to it, and whether the server is there."""

    made: ClassVar[list[FakePush]] = []
    there: ClassVar[bool] = True

    def __init__(self, url: Any, *, width: int, height: int, **_: Any) -> None:
        if not FakePush.there:
            raise SourceLost("refused", "refused the connection")
        self.url, self.size, self.pictures, self.closed = url, (width, height), [], False
        FakePush.made.append(self)

    def write(self, image: np.ndarray, at: float) -> None:
        if not FakePush.there:
            raise SourceLost("reset", "broke the connection")
        self.pictures.append((image, at))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pushes(monkeypatch: pytest.MonkeyPatch) -> list[FakePush]:
    FakePush.made, FakePush.there = [], True
    monkeypatch.setattr(restream, "RtspPush", FakePush)
    return FakePush.made


@pytest.fixture
def stages() -> Iterator[Stages]:
    stages = Stages()
    yield stages
    stages.join()


def handled(status: RestreamStatus) -> int:
    return status.sent + status.skipped + sum(status.dropped.values()) + sum(
        status.losses.values()
    )  # fmt: skip


def test_pictures_are_paced_drawn_and_of_even_size(pushes: list[FakePush], stages: Stages) -> None:
    clock = ManualClock(100.0)
    sink = RestreamSink("rtsp://h/{camera}", Form(width=301, fps=10), waits=waits, clock=clock)
    sink.begin(stages.start)
    for n in range(20):  # 25 a second
        sink.write(outcome("door", n, at=clock()))
        until(lambda n=n: sink.status() and handled(sink.status()[0]) == n + 1)  # type: ignore[misc]
        clock.advance(0.04)
    sink.close()
    stages.join()
    (push,) = pushes
    assert str(push.url) == "rtsp://h/door"
    assert push.size == (300, 168)
    assert 7 <= len(push.pictures) <= 10
    image = push.pictures[0][0]
    assert image.shape == (168, 300, 3)
    bare = drawn(outcome("door", 0, faces=0), 300, 168, old=False)
    assert (image != bare).any()
    assert push.closed
    assert sink.status()[0].state == "stopped"


def test_a_lost_server_is_dialled_again_later_and_later(
    pushes: list[FakePush], stages: Stages
) -> None:
    clock = ManualClock(100.0)
    sink = RestreamSink("rtsp://u:secret@h/{camera}", Form(fps=50), waits=waits, clock=clock)
    sink.begin(stages.start)
    states = []
    with capture_logs() as lines:
        for n in range(200):
            FakePush.there = not 20 <= n < 120
            sink.write(outcome("door", n, at=clock()))
            until(lambda n=n: sink.status() and handled(sink.status()[0]) == n + 1)  # type: ignore[misc]
            states.append(sink.status()[0].state)
            clock.advance(0.04)
    status = sink.status()[0]
    sink.close()
    assert states[10] == "live"
    assert states[60] == "backing_off"
    assert states[-1] == "live"
    assert status.losses == {"reset": 1, "refused": 2}  # 0.5 s, 1.5 s, 4.5 s
    assert status.dropped["not_connected"] > 90
    assert len(pushes) == 2
    assert pushes[0].closed
    assert [line["event"] for line in lines].count("restream_lost") == 3
    assert "secret" not in str(lines) + str(status)


def test_where_no_picture_comes_the_last_is_sent_and_says_that_it_is_old(
    pushes: list[FakePush], stages: Stages
) -> None:
    clock = ManualClock(100.0)
    sink = RestreamSink("rtsp://h/{camera}", Form(), waits=waits, clock=clock)
    sink.begin(stages.start)
    sink.write(outcome("door", 0, at=clock()))
    until(lambda: bool(sink.status()) and sink.status()[0].sent == 1)
    sink.write_beat(BEAT)  # it is not old yet
    clock.advance(4.0)
    sink.write_beat(BEAT)
    until(lambda: sink.status()[0].sent == 2)
    sink.close()
    stages.join()
    (first, _), (second, _) = pushes[0].pictures
    assert second.mean() < 0.7 * first.mean()


def test_what_was_not_looked_at_is_dimmed() -> None:
    seen = drawn(outcome("door", 0, faces=0), 320, 180, old=False)
    failed = drawn(outcome("door", 0, failed=True), 320, 180, old=False)
    assert failed.mean() < 0.7 * seen.mean()


def test_covered_faces_are_covered_here_too() -> None:
    bare = outcome("door", 0)
    assert not hasattr(bare, "reason")
    noise = ArrayPicture(np.random.default_rng(0).integers(0, 256, (180, 320, 3), np.uint8))
    privacy = Privacy("box")
    frame = privacy.looked(outcome("door", 0, picture=noise).frame, bare.tracks.faces, 1.0)  # type: ignore[union-attr]
    assert isinstance(frame.picture, MaskedPicture)
    image = drawn(outcome("door", 0, picture=frame.picture), 320, 180, old=False)
    x1, y1, x2, y2 = bare.tracks.faces.boxes[0].astype(int)  # type: ignore[union-attr]
    assert (image[y1:y2, x1:x2] == 48).all()


def test_a_camera_that_is_gone_is_sent_no_more(pushes: list[FakePush], stages: Stages) -> None:
    sink = RestreamSink("rtsp://h/{camera}", Form(), waits=waits)
    sink.write(outcome("door", 0))  # nobody runs stages yet
    assert sink.status() == []
    sink.begin(stages.start)
    sink.show(["door", "yard"])
    for name in ("door", "yard", "hall"):
        sink.write(outcome(name, 0))
    until(lambda: [s.sent for s in sink.status()] == [1, 1])
    sink.show(["yard"])
    sink.write(outcome("door", 1))
    until(lambda: pushes[0].closed or pushes[1].closed)
    assert [s.camera for s in sink.status()] == ["yard"]
    sink.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("rtsp://127.0.0.1:8554/door", "pattern"),
        ("http://127.0.0.1:8554/{camera}", "pattern"),
        ("rtsp://user:sec ret@127.0.0.1/{camera}", "space"),
    ],
)
def test_a_bad_url_is_refused_without_its_secret(url: str, said: str) -> None:
    values = {"cameras": {"a": {"source": "demo:"}}, "publish": {"restream": {"url": url}}}
    with pytest.raises(ConfigError, match=rf"publish\.restream\.url.*{said}") as refused:
        parse_config(values, {})
    assert "sec ret" not in str(refused.value)
