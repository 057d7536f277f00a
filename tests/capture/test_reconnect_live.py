"""The state machine over real sockets and the real decoder."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from streamer.capture.pyav import PyAvSource
from streamer.capture.reconnect import Reconnecting
from streamer.status import SourceState
from streamer.types import Frame, SourceUrl
from tests.capture.clips import access_units, bar_of
from tests.capture.scripted_rtsp import Script, ScriptedRtsp

SECRET = "hunter2%40zz"


@pytest.fixture(scope="module")
def units() -> list[bytes]:
    return list(access_units(40))


class Watched:
    """A camera read on a thread of its own; what it gave, and a way to wait for it."""

    def __init__(self, port: int, **options: float) -> None:
        url = SourceUrl(f"rtsp://cam:{SECRET}@127.0.0.1:{port}/live")
        wall = options.pop("wall_clock", time.time)
        source = PyAvSource(
            url, camera="door", live=True, open_timeout_s=2.0, read_timeout_s=1.0,
            first_frame_s=4.0, wall_clock=wall,  # type: ignore[arg-type]
        )  # fmt: skip
        waits = {"stall_s": 1.0, "first_backoff_s": 0.05, "max_backoff_s": 0.4} | options
        self.camera = Reconnecting(source, url=url, **waits)
        self.frames: list[Frame] = []
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for frame in self.camera.frames(self.stop):
            self.frames.append(frame)

    def until(self, so: Callable[[SourceState], bool], what: str) -> SourceState:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            state = self.camera.state()
            if so(state):
                return state
            self.stop.wait(0.01)
        raise AssertionError(f"not {what} within 20 s, but {self.camera.state()}")

    def until_epoch(self, epoch: int) -> SourceState:
        live = lambda s: s.state == "live" and s.epoch is not None and s.epoch >= epoch  # noqa: E731
        return self.until(live, f"in life {epoch}")

    def end(self) -> None:
        self.stop.set()
        self._thread.join(15)
        assert not self._thread.is_alive()


@contextmanager
def watched(port: int, **options: float) -> Iterator[Watched]:
    camera = Watched(port, **options)
    try:
        yield camera
    finally:
        camera.end()
    assert camera.camera.state().state == "stopped"
    assert [f.index for f in camera.frames] == sorted({f.index for f in camera.frames})
    epochs = [f.epoch for f in camera.frames]
    assert epochs == sorted(epochs)


@pytest.mark.parametrize("then", ["close", "reset", "stall", "drip", "rtcp", "rubbish"])
def test_each_end_of_a_life_is_followed_by_another(units: list[bytes], then: str) -> None:
    with (
        ScriptedRtsp(Script(units, stop_after=15, then=then)) as server,
        watched(server.port) as camera,
    ):
        camera.until_epoch(2)
        losses = camera.camera.state().losses
    assert losses is not None
    assert set(losses) <= ({"eof", "reset"} if then in ("close", "reset") else {"stall"})


def test_a_reboot_goes_on_with_the_next_epoch(units: list[bytes]) -> None:
    server = ScriptedRtsp(Script(units))
    port = server.port
    with capture_logs() as lines, watched(port) as camera:
        with server:
            camera.until_epoch(0)
        away = camera.until(lambda s: s.reason == "refused", "refused while the port is closed")
        assert away.state in ("backing_off", "connecting")
        before = len(camera.frames)
        with ScriptedRtsp(Script(units), port=port):
            back = camera.until_epoch(1)
        assert camera.frames[before].index == camera.frames[before - 1].index + 1
        assert back.reason == ""
    assert SECRET not in str(lines)
    assert "hunter2" not in str(lines)
    events = [line["event"] for line in lines]
    assert events[:2] == ["camera_connecting", "camera_live"]
    assert events[-1] == "camera_stopped"
    assert events.count("camera_live") >= 2


def test_a_password_is_tried_again_only_after_a_minute(units: list[bytes]) -> None:
    with ScriptedRtsp(Script(units, status="401 Unauthorized")) as server:
        with watched(server.port) as camera:
            state = camera.until(lambda s: s.state == "refused", "refused")
            assert state.reason == "auth"
            assert state.retry_at is not None
            assert state.retry_at - state.since_at >= 60
        tried = sum("Authorization" in request for request in server.requests)
        assert tried == 1


def test_too_many_viewers_pass(units: list[bytes]) -> None:
    script = Script(units, status="401 Unauthorized", refusals=5)
    with ScriptedRtsp(script) as server, watched(server.port, auth_backoff_s=0.05) as camera:
        assert camera.until_epoch(0).losses == {"auth": 2}


def test_a_jump_of_the_wall_clock_changes_nothing(units: list[bytes]) -> None:
    hours = iter(range(100_000))

    def leaping() -> float:
        return 1.7e9 + (3600 if next(hours) % 2 else -3600)

    with (
        ScriptedRtsp(Script(units)) as server,
        watched(
            server.port,
            wall_clock=leaping,  # type: ignore[arg-type]
        ) as camera,
    ):
        state = camera.until(lambda s: (s.epoch, len(camera.frames) > 60) == (0, True), "going on")
        assert (state.state, state.losses, state.timestamp_jumps) == ("live", {}, 0)
        walls = [f.wall_at for f in camera.frames[:60]]
        stamps = [f.captured_at for f in camera.frames[:60]]
    assert min(walls) < 1.7e9 < max(walls)
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] < 10


def test_a_leap_of_the_streams_time_is_counted_and_nothing_else(units: list[bytes]) -> None:
    script = Script(units, stamp=lambda n: n * 3600 + (1 << 31 if n >= 20 else 0))
    with ScriptedRtsp(script) as server, watched(server.port) as camera:
        state = camera.until(lambda s: len(camera.frames) > 40, "going on")
    assert (state.epoch, state.losses) == (0, {})
    assert state.timestamp_jumps == 1


def test_sizes_are_right_from_the_first_changed_picture_on(units: list[bytes]) -> None:
    larger = list(access_units(10, width=640, height=480))
    with ScriptedRtsp(Script([*units[:10], *larger])) as server, watched(server.port) as camera:
        state = camera.until(lambda s: len(camera.frames) > 40, "going on")
    assert state.losses == {}
    for n, frame in enumerate(camera.frames[:40]):
        assert frame.picture.width == (640 if n // 10 % 2 else 320)
        assert bar_of(frame.picture.bgr()) == n % 10


def test_a_frozen_picture_is_noticed_and_so_is_its_end(units: list[bytes]) -> None:
    script = Script(units[:1])
    with ScriptedRtsp(script) as server, watched(server.port, frozen_s=1.0) as camera:
        assert camera.until(lambda s: s.frozen, "frozen").state == "live"
        script.units = units
        camera.until(lambda s: not s.frozen, "moving")
        assert camera.camera.state().losses == {}


def test_a_flood_costs_the_camera_its_life_only(units: list[bytes]) -> None:
    script = Script(units, fps=1e6)
    with ScriptedRtsp(script) as server, watched(server.port, max_fps_in=100.0) as camera:
        camera.until(lambda s: (s.losses or {}).get("flood", 0) >= 1, "lost by the flood")
        script.fps = 25.0
        camera.until(lambda s: s.state == "live" and len(camera.frames) > 200, "live again")
    assert all(sum(f.epoch == e for f in camera.frames) <= 100 for e in (0,))


def test_a_closed_port_costs_next_to_nothing(free_port: int) -> None:
    before_s = time.thread_time()
    with watched(free_port, first_backoff_s=0.5, max_backoff_s=30.0) as camera:
        camera.until(lambda s: (s.losses or {}).get("refused", 0) >= 2, "refused twice")
        assert camera.camera.state().attempts <= 5
    assert time.thread_time() - before_s < 5


@pytest.mark.parametrize(
    "script",
    [{}, {"silent": True}, {"stop_after": 5, "then": "stall"}, {"stop_after": 0, "then": "rtcp"},
     {"status": "401 No"}, {"stop_after": 1}],
    ids=["live", "silent", "stalled", "no pictures", "refused", "flapping"],
)  # fmt: skip
def test_stop_is_heard_in_every_state(units: list[bytes], script: dict[str, object]) -> None:
    with ScriptedRtsp(Script(units, **script)) as server:  # type: ignore[arg-type]
        camera = Watched(server.port)
        deadline = time.monotonic() + 10
        while not server.requests and time.monotonic() < deadline:
            camera.stop.wait(0.01)
        begun_at = time.monotonic()
        camera.end()
        assert time.monotonic() - begun_at < 9.0, "no wait is longer than first_frame_s"
        assert camera.camera.state().losses is not None


def test_the_state_is_true_while_the_reading_thread_is_blocked(units: list[bytes]) -> None:
    """The source reads for 1 s at most; told that half of it is a stall, the state says so."""
    script = Script(units, stop_after=15, then="stall")
    with ScriptedRtsp(script) as server, watched(server.port, stall_s=0.4) as camera:
        stalled = camera.until(lambda s: s.state == "stalled", "stalled")
        assert stalled.newest_frame_at is not None
        assert stalled.since_at == pytest.approx(stalled.newest_frame_at + 0.4)
        assert not stalled.losses, "the thread has not come back yet"
        camera.until(lambda s: (s.losses or {}).get("stall", 0) == 1, "lost")


def test_nobody_listens_on_an_odd_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with watched(port) as camera:  # accepted by the kernel, answered by nobody
            state = camera.until(lambda s: s.reason == "open_timeout", "timed out")
    assert state.epoch is None
