from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from streamer.capture.reconnect import Backoff, Reconnecting
from streamer.errors import LossReason, SourceLost
from streamer.types import Frame, NoPicture, SourceUrl
from tests.capture.clocks import Clock, Stop

URL = SourceUrl("rtsp://cam:hunter2@10.0.0.1/x")


class Lives:
    """A source whose lives are written down: how many frames, how long each, and what then."""

    live = True
    camera = "door"

    def __init__(self, clock: Clock, *lives: tuple[int, float, LossReason | None]) -> None:
        self.clock, self.lives, self.dials, self.decode_errors = clock, list(lives), 0, 0
        self.dialled_at: list[float] = []

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        self.dialled_at.append(self.clock.now)
        count, step_s, reason = self.lives[min(self.dials, len(self.lives) - 1)]
        self.dials += 1
        for n in range(count):
            if stop.is_set():
                return
            self.clock.now += step_s
            yield Frame("door", 0, n, self.clock.now, 0.0, None, NoPicture(4, 4))
        if reason:
            self.decode_errors += 1
            raise SourceLost(reason, f"10.0.0.1:554 {reason}; do this")


def wrap(source: Lives, random: Callable[[], float] = lambda: 1.0) -> Reconnecting:
    return Reconnecting(source, url=URL, clock=source.clock, random=random)


def test_epoch_counts_lives_with_frames_and_index_goes_on() -> None:
    clock = Clock()
    source = Lives(clock, (3, 0.1, "stall"), (0, 0, "refused"), (2, 0.1, "eof"), (1, 0.1, "eof"))
    stop = Stop(clock, most=4)
    frames = list(wrap(source).frames(stop))
    assert [(f.epoch, f.index) for f in frames] == [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (2, 5)]


def test_gaps_a_source_leaves_in_its_index_are_kept() -> None:
    clock = Clock()

    class Gaps(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for n in (0, 4):
                yield Frame("door", 0, n, clock.now, 0.0, None, NoPicture(4, 4))
            raise SourceLost("eof", "x")

    frames = list(wrap(Gaps(clock)).frames(Stop(clock, most=2)))
    assert [f.index for f in frames] == [0, 4, 5, 9]


def test_waits_double_to_the_longest_and_have_full_jitter() -> None:
    clock = Clock()
    stop = Stop(clock, most=9)
    list(wrap(Lives(clock, (0, 0, "refused"))).frames(stop))
    assert stop.waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    draws = iter([0.5, 0.25, 0.0, 1.0])
    stop = Stop(clock, most=3)  # a wait of nothing is no wait
    list(wrap(Lives(clock, (0, 0, "refused")), lambda: next(draws)).frames(stop))
    assert stop.waits == [0.25, 0.25, 4.0]


def test_only_a_minute_of_health_forgives() -> None:
    clock = Clock()
    source = Lives(
        clock, (2, 1.0, "eof"), (2, 1.0, "eof"), (2, 1.0, "eof"), (62, 1.0, "eof"), (0, 0, "eof")
    )
    stop = Stop(clock, most=6)
    list(wrap(source).frames(stop))
    assert stop.waits == [0.5, 1, 2, 0.5, 1, 2]


def test_refused_credentials_wait_a_minute_and_more() -> None:
    clock = Clock()
    source = Lives(clock, (0, 0, "auth"))
    stop = Stop(clock, most=6)
    list(wrap(source, lambda: 0.0).frames(stop))
    assert stop.waits == [60, 120, 240, 480, 600, 600]
    begun_at = source.dialled_at[0]
    assert sum(at < begun_at + 600 for at in source.dialled_at) <= 5


@given(
    st.lists(st.sampled_from(["auth", "stall", "refused", "eof"]), max_size=60),
    st.floats(0, 1),
    st.floats(0.01, 5),
    st.floats(1, 100),
)
def test_waits_stay_in_their_bounds(
    losses: list[LossReason], draw: float, first_s: float, times: float
) -> None:
    most_s = first_s * times
    backoff = Backoff(first_s=first_s, most_s=most_s, auth_s=60.0, random=lambda: draw)
    seen = 0
    for reason in losses:
        wait_s = backoff.next_s(reason)
        if reason == "auth":
            assert 60 <= wait_s <= 660.0001
        else:
            assert 0 <= wait_s <= min(most_s, first_s * 2**seen) * 1.0001
            seen += 1


def test_years_of_failures_do_not_overflow() -> None:
    backoff = Backoff(first_s=0.5, most_s=30, auth_s=60, random=lambda: 1.0)
    for _ in range(5000):
        assert backoff.next_s("refused") <= 30
        assert backoff.next_s("auth") <= 660.0001


def test_state_tells_what_happens_and_why() -> None:
    clock = Clock()
    source = Lives(clock, (1, 0.1, "stall"), (0, 0, "auth"), (1, 0.1, "eof"))
    camera = wrap(source)
    assert camera.state().state == "connecting"
    seen = []

    class Watching(Stop):
        def wait(self, timeout: float | None = None) -> bool:
            seen.append(camera.state())
            return super().wait(timeout)

    for _ in camera.frames(Watching(clock, most=3)):
        now = camera.state()
        assert (now.state, now.reason, now.detail) == ("live", "", "")
    assert [(s.state, s.reason) for s in seen] == [
        ("backing_off", "stall"), ("backing_off", "auth"), ("backing_off", "eof"),
    ]  # fmt: skip
    assert seen[1].detail == "10.0.0.1:554 auth; do this"
    assert seen[1].losses == {"stall": 1, "auth": 1}
    assert seen[2].decode_errors == 3
    assert camera.state().state == "stopped"
    assert camera.state().losses == {"stall": 1, "auth": 1, "eof": 1}


def test_a_source_that_just_ends_is_a_loss() -> None:
    clock = Clock()
    camera = wrap(Lives(clock, (1, 0.1, None)))
    assert len(list(camera.frames(Stop(clock, most=2)))) == 2
    assert camera.state().losses == {"eof": 2}


def test_one_line_for_each_change_and_no_secret() -> None:
    clock = Clock()
    source = Lives(clock, (5, 0.1, "stall"), (0, 0, "refused"), (5, 0.1, "eof"))
    with capture_logs() as lines:
        list(wrap(source).frames(Stop(clock, most=3)))
    assert [line["event"] for line in lines] == [
        "camera_live", "camera_lost", "camera_lost", "camera_live", "camera_lost", "camera_stopped",
    ]  # fmt: skip
    assert {line["camera"] for line in lines} == {"door"}
    assert lines[1]["reason"] == "stall"
    assert lines[1]["retry_in_s"] == 0.5
    assert "hunter2" not in str(lines)


def test_stop_ends_a_real_wait_at_once() -> None:
    source = Lives(Clock(), (0, 0, "auth"))
    stop = threading.Event()
    camera = Reconnecting(source, url=URL)
    thread = threading.Thread(target=lambda: list(camera.frames(stop)))
    thread.start()
    for _ in range(2000):
        if camera.state().state == "backing_off":
            break
        stop.wait(0.005)
    assert camera.state().state == "backing_off"
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert camera.state().state == "stopped"


def test_a_loss_after_stop_is_no_loss() -> None:
    clock = Clock()
    stop = Stop(clock)

    class Last(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            stop.set()
            raise SourceLost("stall", "x")
            yield

    camera = wrap(Last(clock))
    assert list(camera.frames(stop)) == []
    assert camera.state().losses == {}


def test_bugs_are_not_swallowed() -> None:
    class Broken(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            raise ZeroDivisionError
            yield

    camera = wrap(Broken(Clock()))
    with pytest.raises(ZeroDivisionError):
        list(camera.frames(threading.Event()))
    assert camera.state().state == "stopped"


def test_leaving_early_closes_the_source() -> None:
    closed = []

    class Closing(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            try:
                yield from super().frames(stop)
            finally:
                closed.append(threading.current_thread())

    frames = wrap(Closing(Clock(), (9, 0.1, "eof"))).frames(threading.Event())
    next(frames)
    frames.close()
    assert closed == [threading.current_thread()]
