"""A camera whose pictures are not decoded as fast as they come, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_network
from typing import Any

import pytest

from streamer.capture.arrivals import LASTING_S, LATE_S
from streamer.capture.isolate import Isolated
from streamer.capture.pyav import PyAvSource
from streamer.capture.reach import Reach
from streamer.capture.reconnect import Reconnecting
from streamer.errors import SourceLost
from streamer.protocols import Source
from streamer.types import Frame, SourceUrl
from tests.capture.clips import access_units, bar_of
from tests.capture.scripted_rtsp import Script, ScriptedRtsp

FPS = 25.0
BEGINNING = 12
"""Pictures that FFmpeg keeps while it looks what the stream is."""


class Camera:
    """A scripted camera of 25 pictures a second that knows when it sent each."""

    def __init__(self, units: list[bytes], **script: object) -> None:
        self.sent_at: list[float] = []

        def stamp(number: int) -> int:
            self.sent_at.append(time.monotonic())
            return number * 3600

        self.server = ScriptedRtsp(Script(units, fps=FPS, stamp=stamp, **script))  # type: ignore[arg-type]

    def error_s(self, frame: Frame) -> float:
        """By how much a picture is said to be captured later than it was sent.

        40 ms are usual: FFmpeg hands out a picture when the next begins.
        """
        return frame.captured_at - self.sent_at[frame.index]


@pytest.fixture(scope="module")
def units() -> list[bytes]:
    return list(access_units(40, width=640, height=480))


def source(port: int, **options: object) -> PyAvSource:
    return PyAvSource(
        SourceUrl(f"rtsp://127.0.0.1:{port}/x"), camera="door", live=True, **options  # type: ignore[arg-type]
    )  # fmt: skip


class SlowlyRead(PyAvSource):
    """Takes a quarter of a second for each of the first eight pictures."""

    def _decode(self, packet: Any, stream: Any) -> list[Any]:
        found = super()._decode(packet, stream)
        self._slow = getattr(self, "_slow", 0) + 1
        if self._slow < 9:
            time.sleep(0.25)
        return found


def looked_at(of: Source, slow_s: float, seconds: float) -> Iterator[Frame]:
    """Its frames for a while, to each of which something takes ``slow_s``, as decoding does."""
    until_at = time.monotonic() + seconds
    for frame in of.frames(threading.Event()):
        yield frame
        if time.monotonic() >= until_at:
            return
        time.sleep(slow_s)


def test_pictures_that_wait_here_are_as_old_as_they_are(units: list[bytes]) -> None:
    camera = Camera(units)
    with camera.server as server:
        frames, read_at = [], []
        for frame in looked_at(source(server.port), 0.12, 4.0):
            frames.append(frame)
            read_at.append(time.monotonic())
    errors = [camera.error_s(frame) for frame in frames[BEGINNING:]]
    assert 0 <= min(errors) <= max(errors) < 1.0, "else it were 2.6 s"
    instants = [frame.captured_at for frame in frames]
    assert instants == sorted(instants)
    ages = [at - instant for at, instant in zip(read_at, instants, strict=True)]
    assert max(ages) > 0.4, "they did wait"
    walls = [frame.wall_at - frame.captured_at for frame in frames]
    assert max(walls) - min(walls) < 0.3


@pytest.mark.parametrize("reach", [None, Reach((ip_network("127.0.0.0/8"),))])
def test_pictures_are_left_out_so_that_the_others_are_in_time(
    units: list[bytes], reach: Reach | None
) -> None:
    camera = Camera(units)
    with camera.server as server:
        of = Reconnecting(source(server.port, reach=reach), url=SourceUrl("rtsp://door"))
        ages, frames, shown = [], [], []
        for frame in looked_at(of, 0.2, 4.0):
            ages.append(time.monotonic() - frame.captured_at)
            frames.append(frame)
            shown.append(bar_of(frame.picture.bgr()))
        sent = len(camera.sent_at)
        assert of.state().losses == {}
        assert of.state().timestamp_jumps == 0
    assert max(ages) < LATE_S + LASTING_S + 0.8, "else it were 3.2 s"
    left_out = sum(frame.left_out for frame in frames)
    assert left_out > 30
    assert frames[-1].index + 1 == len(frames) + left_out
    assert frames[-1].index + 1 >= sent - 60, "what was sent came, but for what is on its way"
    assert shown == [frame.index % 10 for frame in frames], "every one has its own number"
    assert of._source.decode_errors == 0  # type: ignore[attr-defined]


def test_a_camera_that_is_kept_up_with_loses_nothing(units: list[bytes]) -> None:
    camera = Camera(units)
    with camera.server as server:
        frames = list(looked_at(source(server.port), 0.02, 2.0))
    left_out = sum(frame.left_out for frame in frames)
    assert left_out <= len(frames) / 4, "none, but for a machine that stands still meanwhile"
    assert frames[-1].index + 1 == len(frames) + left_out


def test_without_a_key_picture_to_go_on_with_it_is_dialled_again() -> None:
    camera = Camera(list(access_units(400, keys=400)))
    with camera.server as server:
        with pytest.raises(SourceLost) as lost:
            for frame in source(server.port, read_timeout_s=1.5).frames(threading.Event()):
                assert frame.left_out == 0
                if frame.index < 8:
                    time.sleep(0.25)
        assert len(camera.sent_at) < 400
    assert lost.value.reason == "stall"
    assert "more than this machine decodes" in str(lost.value)


@pytest.mark.parametrize("isolate", [False, True])
def test_pictures_that_no_picture_came_behind_are_told_in_the_next_life(isolate: bool) -> None:
    with Camera(list(access_units(400, keys=400))).server as server:
        url = SourceUrl(f"rtsp://127.0.0.1:{server.port}/x")
        slow = partial(SlowlyRead, url, camera="door", live=True, read_timeout_s=1.0)
        inner = Isolated(slow, camera="door", live=True) if isolate else slow()
        of = Reconnecting(inner, url=url, first_backoff_s=0.1)
        last = None
        for frame in of.frames(threading.Event()):
            if frame.epoch:
                break
            last = frame
        assert last is not None
        assert frame.left_out > 20
        assert frame.index == last.index + 1 + frame.left_out
        assert of.left_out == 0


def test_pictures_that_no_picture_comes_behind_any_more_are_told_by_the_source() -> None:
    with Camera(list(access_units(400, keys=400))).server as server:
        url = SourceUrl(f"rtsp://127.0.0.1:{server.port}/x")
        of = Reconnecting(
            SlowlyRead(url, camera="door", live=True, read_timeout_s=1.0), url=url,
            first_backoff_s=60.0,
        )  # fmt: skip
        stop = threading.Event()
        until = threading.Timer(7.0, stop.set)
        until.start()
        frames = list(of.frames(stop))
    assert of.left_out > 20
    assert all(frame.left_out == 0 for frame in frames)


def test_rubbish_does_not_put_off_that_a_silence_is_noticed(units: list[bytes]) -> None:
    """What cannot be decoded, and then nothing: the silence counts from the last picture."""
    rubbish = [b"\x00\x00\x00\x01\x41" + bytes(range(1, 250)) * 4] * 40
    camera = Camera([*units[:20], *rubbish], stop_after=60, then="stall")
    newest_at = 0.0
    with camera.server as server, pytest.raises(SourceLost) as lost:
        for frame in source(server.port, read_timeout_s=2.0).frames(threading.Event()):
            newest_at = frame.captured_at
    assert lost.value.reason == "stall"
    assert time.monotonic() - newest_at < 3.0, "not the rest of the rubbish, 1.6 s, besides"


def test_an_isolated_camera_says_the_same(units: list[bytes]) -> None:
    camera = Camera(units)
    with camera.server as server:
        url = SourceUrl(f"rtsp://127.0.0.1:{server.port}/x")
        make = partial(PyAvSource, url, camera="door", live=True)
        frames = list(looked_at(Isolated(make, camera="door", live=True), 0.0, 3.0))
    assert max(abs(camera.error_s(frame)) for frame in frames[BEGINNING:]) < 1.0
