from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from streamer.capture.reconnect import Reconnecting
from streamer.capture.refusals import Refusals
from streamer.errors import LossReason, SourceLost
from streamer.status import SourceState
from streamer.types import Frame, NoPicture, Picture, SourceUrl
from streamer.vision.picture import ArrayPicture
from tests.capture.clocks import Clock, Stop

URL = SourceUrl("rtsp://cam:hunter2@10.0.0.1/x")
PICTURE = NoPicture(4, 4)


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


def wrap(
    source: Lives, random: Callable[[], float] = lambda: 1.0, **options: float
) -> Reconnecting:
    return Reconnecting(source, url=URL, clock=source.clock, random=random, **options)


def test_epoch_counts_lives_with_frames_and_index_goes_on() -> None:
    clock = Clock()
    source = Lives(clock, (3, 0.1, "stall"), (0, 0, "refused"), (2, 0.1, "eof"), (1, 0.1, "eof"))
    stop = Stop(clock, most=4)
    frames = list(wrap(source).frames(stop))
    assert [(f.epoch, f.index) for f in frames] == [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (2, 5)]


def test_a_camera_that_was_there_before_goes_on_counting() -> None:
    clock = Clock()
    camera = wrap(
        Lives(clock, (0, 0, "refused"), (2, 0.1, "eof"), (1, 0.1, "eof")),
        first_epoch=3, first_index=7,
    )  # fmt: skip
    epochs = []

    class Watching(Stop):
        def wait(self, timeout: float | None = None) -> bool:
            epochs.append(camera.state().epoch)
            return super().wait(timeout)

    with capture_logs() as lines:
        frames = [(f.epoch, f.index) for f in camera.frames(Watching(clock, most=3))]
    assert frames == [(3, 7), (3, 8), (4, 9)]
    assert epochs == [None, 3, 4]
    assert [line["epoch"] for line in lines if line["event"] == "camera_live"] == [3, 4]


def test_no_picture_is_kept_once_its_reader_has_let_it_go() -> None:
    clock = Clock()
    alive: list[weakref.ref[ArrayPicture]] = []

    class Referable(ArrayPicture):
        pass

    class Watched(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for n in range(4):
                assert [seen() for seen in alive] == [None] * n
                picture = Referable(np.full((16, 16, 3), n, np.uint8))
                alive.append(weakref.ref(picture))
                frame = Frame("door", 0, n, clock.now, 0.0, None, picture)
                del picture
                handed, frame = [frame], None
                yield handed.pop()
            raise SourceLost("eof", "x")

    for frame in wrap(Watched(clock)).frames(Stop(clock, most=1)):
        assert frame.picture is not None
        del frame
    assert len(alive) == 4


def test_gaps_a_source_leaves_in_its_index_are_kept() -> None:
    clock = Clock()

    class Gaps(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for n in (0, 4):
                yield Frame("door", 0, n, clock.now, 0.0, None, NoPicture(4, 4))
            raise SourceLost("eof", "x")

    frames = list(wrap(Gaps(clock)).frames(Stop(clock, most=2)))
    assert [f.index for f in frames] == [0, 4, 5, 9]


def test_waits_grow_to_the_longest_and_have_full_jitter() -> None:
    clock = Clock()
    stop = Stop(clock, most=7)
    list(wrap(Lives(clock, (0, 0, "refused"))).frames(stop))
    assert stop.waits == [0.5, 1.5, 4.5, 13.5, 30, 30, 30]
    draws = iter([0.5, 0.25, 0.0, 1.0])
    stop = Stop(clock, most=3)  # a wait of nothing is no wait
    list(wrap(Lives(clock, (0, 0, "refused")), lambda: next(draws)).frames(stop))
    assert stop.waits == [0.25, 0.375, 13.5]


def test_only_a_minute_of_health_forgives() -> None:
    clock = Clock()
    source = Lives(
        clock, (2, 1.0, "eof"), (2, 1.0, "eof"), (2, 1.0, "eof"), (62, 1.0, "eof"), (0, 0, "eof")
    )
    stop = Stop(clock, most=6)
    list(wrap(source).frames(stop))
    assert stop.waits == [0.5, 1.5, 4.5, 0.5, 1.5, 4.5]


def test_a_minute_with_a_hole_in_it_is_no_health() -> None:
    clock = Clock()

    class Holes(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for n in range(90):
                clock.now += 6.0 if n % 20 == 19 else 1.0
                yield Frame("door", 0, n, clock.now, 0.0, None, NoPicture(4, 4))
            raise SourceLost("eof", "x")

    stop = Stop(clock, most=3)
    list(wrap(Holes(clock)).frames(stop))
    assert stop.waits == [0.5, 1.5, 4.5]


def test_a_flapping_camera_is_dialled_ever_less() -> None:
    clock = Clock()
    source = Lives(clock, *[(20, 0.1, "eof"), (0, 0, "refused")] * 50)
    with capture_logs() as lines:
        list(wrap(source, lambda: 0.0).frames(Stop(clock, most=40)))  # the hastiest draws
    minutes = [at // 60 for at in source.dialled_at]
    assert max(minutes.count(minute) for minute in set(minutes)) <= 8
    assert len(lines) < 20 + (clock.now - 100) / 30 + 3
    assert sum(line.get("left_out", 0) for line in lines) > 0


def test_refused_credentials_wait_a_minute_and_more() -> None:
    clock = Clock()
    source = Lives(clock, (0, 0, "auth"))
    stop = Stop(clock, most=6)
    list(wrap(source, lambda: 0.0).frames(stop))
    assert stop.waits == [60, 120, 240, 480, 600, 600]
    begun_at = source.dialled_at[0]
    assert sum(at < begun_at + 600 for at in source.dialled_at) <= 5


def test_a_full_camera_that_says_401_is_not_given_up() -> None:
    clock = Clock()
    source = Lives(clock, *[(0, 0, "auth")] * 9, (3, 0.1, "eof"))
    frames = wrap(source).frames(Stop(clock))
    assert next(frames).index == 0
    assert source.dials == 10


class Away(Lives):
    """A camera that is away until ``back_at``; a dial before that fails after a while."""

    def __init__(self, clock: Clock, back_at: float, lasting: list[float]) -> None:
        super().__init__(clock)
        self.back_at, self.lasting = back_at, lasting

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        dialled_at = self.clock.now
        self.dialled_at.append(dialled_at)
        if dialled_at < self.back_at:
            if len(self.dialled_at) % 3 == 1:  # half alive: a picture, then silence
                yield Frame("door", 0, 0, self.clock.now, 0.0, None, NoPicture(4, 4))
            self.clock.now += self.lasting[len(self.dialled_at) % len(self.lasting)]
            raise SourceLost("stall", "x")
        yield Frame("door", 0, 1, self.clock.now, 0.0, None, NoPicture(4, 4))


@settings(max_examples=200)
@given(
    st.floats(0, 600),
    st.lists(st.floats(0, 10), min_size=1, max_size=9),
    st.randoms(use_true_random=False),
)
def test_a_camera_that_is_back_is_dialled_within_half_a_minute(
    away_s: float, lasting: list[float], draw: object
) -> None:
    clock = Clock()
    source = Away(clock, clock.now + away_s, lasting)
    for frame in wrap(source, draw.random).frames(Stop(clock)):  # type: ignore[attr-defined]
        if frame.captured_at >= source.back_at:
            break
    # With a first picture within 5 s of dialling, that is within the 35 s promised.
    assert source.dialled_at[-1] - source.back_at <= 30.0 + 1e-6
    begun_at = source.dialled_at[0]
    assert sum(at < begun_at + 60 - 1e-6 for at in source.dialled_at) <= 8 or away_s < 60


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
        ("backing_off", "stall"), ("refused", "auth"), ("backing_off", "eof"),
    ]  # fmt: skip
    assert seen[1].detail == "10.0.0.1:554 auth; do this"
    assert seen[1].losses == {"stall": 1, "auth": 1}
    assert [s.attempts for s in seen] == [1, 2, 3]
    assert [s.epoch for s in seen] == [0, 0, 1]
    assert seen[0].retry_at == pytest.approx(seen[0].since_at + 0.5)
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
        "camera_connecting", "camera_live", "camera_lost", "camera_connecting", "camera_lost",
        "camera_connecting", "camera_live", "camera_lost", "camera_stopped",
    ]  # fmt: skip
    assert {line["camera"] for line in lines} == {"door"}
    assert [line["attempt"] for line in lines if "attempt" in line] == [1, 2, 3]
    assert lines[2]["reason"] == "stall"
    assert lines[2]["retry_in_s"] == 0.5
    assert "hunter2" not in str(lines)


def test_stop_ends_a_real_wait_at_once() -> None:
    source = Lives(Clock(), (0, 0, "auth"))
    stop = threading.Event()
    camera = Reconnecting(source, url=URL)
    thread = threading.Thread(target=lambda: list(camera.frames(stop)))
    thread.start()
    for _ in range(2000):
        if camera.state().state == "refused":
            break
        stop.wait(0.005)
    seen = camera.state()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert seen.state == "refused"
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


class Blocked(Lives):
    """Gives ``count`` frames a tenth of a second apart and then blocks, as a read in C does."""

    def __init__(self, clock: Clock, count: int, *, picture: Picture = PICTURE) -> None:
        super().__init__(clock)
        self.count, self.picture = count, picture
        self.blocked, self.free = threading.Event(), threading.Event()

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        for n in range(self.count):
            self.clock.now += 0.1
            yield Frame("door", 0, n, self.clock.now, 0.0, None, self.picture)
        self.blocked.set()
        assert self.free.wait(20)
        yield Frame("door", 0, self.count, self.clock.now, 0.0, None, self.picture)


def states_while_blocked(source: Blocked, camera: Reconnecting, *ages: float) -> list[SourceState]:
    """What ``camera`` says at these ages, seconds after it began to block."""
    stop = threading.Event()

    def read() -> None:
        for frame in camera.frames(stop):
            if frame.index >= source.count:
                return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert source.blocked.wait(10)
        blocked_at, seen = source.clock.now, []
        for age_s in ages:
            source.clock.now = blocked_at + age_s
            seen.append(camera.state())
    finally:
        stop.set()
        source.free.set()
        thread.join(10)
    assert not thread.is_alive()
    return seen


def test_a_blocked_live_camera_says_that_it_is_stalled() -> None:
    clock = Clock()
    source = Blocked(clock, 3)
    seen = states_while_blocked(source, wrap(source), 0.0, 4.9, 5.0, 3600.0)
    assert [s.state for s in seen] == ["live", "live", "stalled", "stalled"]
    assert [s.reason for s in seen] == ["", "", "stall", "stall"]
    assert "5.0 s" in seen[2].detail
    assert "camera" in seen[2].detail
    assert seen[3].since_at == pytest.approx(seen[2].since_at) == pytest.approx(105.3)
    assert all(s.newest_frame_at == pytest.approx(100.3) for s in seen)
    assert all(s.losses == {} for s in seen)


def test_a_dial_that_lasts_says_so() -> None:
    clock = Clock()
    source = Blocked(clock, 0)
    seen = states_while_blocked(source, wrap(source), 0.0, 9.9, 10.0)
    assert [(s.state, s.reason) for s in seen] == [
        ("connecting", ""), ("connecting", ""), ("connecting", "no_frames"),
    ]  # fmt: skip
    assert seen[0].newest_frame_at is None
    assert seen[0].epoch is None


def test_a_slow_reader_is_not_the_cameras_fault() -> None:
    clock = Clock()
    camera = wrap(Lives(clock, (3, 0.1, "eof")))
    with capture_logs() as lines:
        for frame in camera.frames(Stop(clock, most=1)):
            if frame.index == 0:
                clock.now += 60
                assert camera.state().state == "stalled"
                assert "streamer is still busy" in camera.state().detail
    assert "camera_resumed" not in [line["event"] for line in lines]


def test_a_camera_that_comes_back_by_itself_is_noted() -> None:
    clock = Clock()
    with capture_logs() as lines:
        list(wrap(Lives(clock, (3, 6.0, "eof"))).frames(Stop(clock, most=1)))
    assert [line["event"] for line in lines] == [
        "camera_connecting", "camera_live", "camera_resumed", "camera_resumed", "camera_lost",
        "camera_stopped",
    ]  # fmt: skip
    assert lines[2]["quiet_s"] == 6.0


def test_a_frozen_picture_is_told_and_logged_once_each_way() -> None:
    clock = Clock()

    class Standing(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for n in range(500):
                clock.now += 0.1
                pixels = np.full((16, 16, 3), 7 if 100 <= n < 400 else n % 200, np.uint8)
                yield Frame("door", 0, n, clock.now, 0.0, None, ArrayPicture(pixels))

    camera = wrap(Standing(clock))
    frozen = []
    with capture_logs() as lines:
        for _ in camera.frames(Stop(clock, most=1)):
            frozen.append(camera.state().frozen)
    assert 290 > sum(frozen) >= 185, "from ten seconds on to the first change"
    assert not any(frozen[:200])
    assert not any(frozen[400:])
    assert [line["event"] for line in lines] == [
        "camera_connecting", "camera_live", "camera_frozen", "camera_moves", "camera_lost",
        "camera_stopped",
    ]  # fmt: skip
    assert not camera.state().frozen


def test_a_stalled_camera_is_not_called_frozen() -> None:
    clock = Clock()
    source = Blocked(clock, 150, picture=ArrayPicture(np.zeros((16, 16, 3), np.uint8)))
    seen = states_while_blocked(source, wrap(source), 0.0, 6.0)
    assert [(s.state, s.frozen) for s in seen] == [("live", True), ("stalled", False)]


def test_pictures_that_are_left_out_are_told_once_a_minute() -> None:
    clock = Clock()

    class Late(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for n in range(1300):
                clock.now += 0.125
                pixels = np.full((16, 16, 3), n % 200, np.uint8)
                picture = ArrayPicture(pixels)
                yield Frame("door", 0, n, clock.now, 0.0, None, picture, 3 if n % 8 == 5 else 0)

    with capture_logs() as lines:
        for _ in wrap(Late(clock)).frames(Stop(clock, most=1)):
            pass
    told = [line["pictures"] for line in lines if line["event"] == "camera_behind"]
    assert told == [3, 180, 180]


def test_a_flood_is_one_although_most_of_it_is_left_out() -> None:
    clock = Clock()

    class Flooding(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for n in range(20):
                clock.now += 0.5
                picture = ArrayPicture(np.full((16, 16, 3), n % 200, np.uint8))
                yield Frame("door", 0, n, clock.now, 0.0, None, picture, 400 if n else 0)

    camera = wrap(Flooding(clock), max_fps_in=500.0)
    assert len(list(camera.frames(Stop(clock, most=1)))) < 5
    assert camera.state().losses == {"flood": 1}


def test_many_pictures_that_were_left_out_in_a_long_time_are_no_flood() -> None:
    clock = Clock()

    class Rare(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for n in range(5):
                clock.now += 40.0
                picture = ArrayPicture(np.full((16, 16, 3), n % 200, np.uint8))
                yield Frame("door", 0, n, clock.now, 0.0, None, picture, 1000)

    camera = wrap(Rare(clock), max_fps_in=500.0, stall_s=60.0)
    assert len(list(camera.frames(Stop(clock, most=1)))) == 5
    assert camera.state().losses == {"eof": 1}


def test_a_flood_ends_one_life_and_no_more() -> None:
    clock = Clock()
    source = Lives(clock, (10_000, 0.0001, None), (3, 0.1, "eof"))
    camera = wrap(source, max_fps_in=500.0)
    frames = list(camera.frames(Stop(clock, most=2)))
    assert len(frames) == 500 + 3
    assert camera.state().losses == {"flood": 1, "eof": 1}
    assert frames[-1].epoch == 1


@pytest.mark.parametrize("fps", [1.0, 25.0, 240.0, 499.0])
def test_fast_cameras_are_no_flood(fps: float) -> None:
    clock = Clock()
    camera = wrap(Lives(clock, (int(5 * fps), 1 / fps, "eof")))
    assert len(list(camera.frames(Stop(clock, most=1)))) == int(5 * fps)
    assert camera.state().losses == {"eof": 1}


@given(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_the_streams_own_time_disturbs_nothing(times: list[float | None]) -> None:
    clock = Clock()

    class Stamped(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for n, pts in enumerate(times):
                clock.now += 0.04
                yield Frame("door", 0, n, clock.now, 0.0, pts, NoPicture(4, 4))

    camera = wrap(Stamped(clock))
    frames = list(camera.frames(Stop(clock, most=1)))
    assert [f.index for f in frames] == list(range(len(times)))
    assert [f.pts for f in frames] == times
    stamps = [f.captured_at for f in frames]
    assert stamps == sorted(stamps)
    told = [pts for pts in times if pts is not None]
    back = sum(b <= a for a, b in pairwise(told))
    assert back <= camera.state().timestamp_jumps <= max(0, len(told) - 1)


class Decoder:
    """Stands for a decoder with its pictures."""


class Heavy(Lives):
    """Each life is lost while it holds something big; the next one looks whether it is gone."""

    held: list[weakref.ref[Decoder]]

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        assert not any(decoder() for decoder in self.held), "an earlier life is still held"
        decoder = Decoder()
        self.held.append(weakref.ref(decoder))
        yield from super().frames(stop)


def test_nothing_of_a_lost_life_is_held_in_the_next() -> None:
    clock = Clock()
    source = Heavy(clock, (2, 0.1, "reset"))
    source.held = []
    assert len(list(wrap(source).frames(Stop(clock, most=4)))) == 8
    assert len(source.held) == 4


def test_one_in_the_place_of_another_waits_out_its_refusal_and_keeps_its_counters() -> None:
    clock = Clock()
    source = Lives(clock, (1, 0.1, "reset"), (0, 0, "auth"), (1, 0.1, "eof"))
    first = wrap(source, random=lambda: 0.0)
    stop = Stop(clock, most=1)  # paused in the wait after the wrong password
    list(first.frames(stop))
    refused_at = source.dialled_at[1]
    clock.now = refused_at + 3
    second = wrap(source, before=first)
    assert second.state().losses == {"reset": 1, "auth": 1}
    frames = second.frames(Stop(clock, most=5))
    next(frames)
    assert source.dialled_at[2] >= refused_at + 60
    state = second.state()
    assert (state.attempts, state.decode_errors) == (3, first.state().decode_errors * 2)
    frames.close()


def test_one_that_is_added_anew_waits_out_the_refusal_of_the_one_before() -> None:
    clock = Clock()
    refusals = Refusals(clock=clock)
    source = Lives(clock, (0, 0, "auth"), (0, 0, "auth"), (1, 0.1, "eof"))
    list(wrap(source, lambda: 0.0, refusals=refusals).frames(Stop(clock, most=2)))
    refused_at = source.dialled_at[1]
    clock.now = refused_at + 3
    added = wrap(source, refusals=refusals)
    seen = []

    class Watching(Stop):
        def wait(self, timeout: float | None = None) -> bool:
            seen.append(added.state())
            return super().wait(timeout)

    frames = added.frames(Watching(clock))
    next(frames)
    assert source.dialled_at[2] >= refused_at + 120  # it was the second refusal
    assert [(s.state, s.reason, s.losses) for s in seen] == [("refused", "auth", {})]
    frames.close()
    assert refusals.held(refusals.key(URL)) is None  # the picture let it in


def test_another_password_is_tried_at_once() -> None:
    clock = Clock()
    refusals = Refusals(clock=clock)
    list(wrap(Lives(clock, (0, 0, "auth")), refusals=refusals).frames(Stop(clock, most=1)))
    assert refusals.held(refusals.key(URL)) is None  # the clock of the test has waited
    clock.now -= 30
    assert refusals.held(refusals.key(URL)) is not None
    source = Lives(clock, (1, 0.1, "eof"))
    right = SourceUrl("rtsp://cam:hunter3@10.0.0.1/x")
    now = clock.now
    next(Reconnecting(source, url=right, clock=clock, refusals=refusals).frames(Stop(clock)))
    assert source.dialled_at == [now]


def test_a_refusal_that_comes_after_the_stop_still_holds_who_comes_next() -> None:
    clock = Clock()
    stop = threading.Event()

    class Late(Lives):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            stop.set()  # paused while it is being dialled
            return super().frames(stop)

    source = Late(clock, (0, 0, "auth"))
    first = wrap(source)
    list(first.frames(stop))
    second = wrap(source, before=first)
    waits = Stop(clock, most=1)
    assert list(second.frames(waits)) == []
    assert len(source.dialled_at) == 1
    assert waits.waits[0] >= 60
    assert second.state().losses == {"auth": 1}
