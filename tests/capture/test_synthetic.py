from __future__ import annotations

import threading
from itertools import islice
from pathlib import Path

import pytest

from streamer.capture.synthetic import DemoSource, SyntheticSource, read_number
from streamer.capture.urls import DemoOptions, SyntheticOptions
from streamer.errors import SourceLost
from tests.capture.clips import bar_of, make_clip
from tests.capture.clocks import Clock, Stop


def test_pictures_carry_their_number_also_when_shrunk() -> None:
    options = SyntheticOptions(1280, 720, frames=300, live=False)
    source = SyntheticSource(camera="a", options=options)
    assert not source.live
    frames = list(source.frames(threading.Event()))
    assert [f.index for f in frames] == list(range(300))
    for frame in frames[::37]:
        assert read_number(frame.picture.bgr()) == frame.index
        assert read_number(frame.picture.bgr(640, 360)) == frame.index
        assert read_number(frame.picture.bgr(416, 234)) == frame.index
    assert frames[50].pts == 2.0


@pytest.mark.parametrize("size", [(64, 64), (333, 187), (1920, 1080)])
def test_sizes(size: tuple[int, int]) -> None:
    source = SyntheticSource(camera="a", options=SyntheticOptions(*size, frames=9, live=False))
    frames = list(source.frames(threading.Event()))
    assert (frames[8].picture.width, frames[8].picture.height) == size
    assert read_number(frames[8].picture.bgr()) == 8


def test_live_ones_keep_their_schedule_without_drift() -> None:
    clock = Clock()
    source = SyntheticSource(camera="a", options=SyntheticOptions(64, 64, fps=10), clock=clock)
    stamps = []
    for frame in islice(source.frames(Stop(clock)), 50):
        stamps.append(frame.captured_at)
        clock.now += 0.03  # the consumer takes its time
    assert stamps == pytest.approx([100 + n / 10 for n in range(50)])


def test_late_ones_do_not_burst() -> None:
    clock = Clock()
    source = SyntheticSource(camera="a", options=SyntheticOptions(64, 64, fps=10), clock=clock)
    frames = source.frames(Stop(clock))
    next(frames)
    clock.now += 5
    stamps = [frame.captured_at for frame in islice(frames, 4)]
    assert stamps == pytest.approx([105, 105.1, 105.2, 105.3])


def test_a_live_one_that_ends_is_lost_and_stop_ends_its_wait() -> None:
    clock = Clock()
    options = SyntheticOptions(64, 64, frames=3)
    with pytest.raises(SourceLost) as lost:
        list(SyntheticSource(camera="a", options=options, clock=clock).frames(Stop(clock)))
    assert lost.value.reason == "eof"

    stop = threading.Event()
    slow = SyntheticSource(camera="a", options=SyntheticOptions(64, 64, fps=0.1))
    thread = threading.Thread(target=lambda: list(slow.frames(stop)))
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_the_demo_goes_on_over_its_seam(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "demo.mp4", frames=10, fps=25)
    clock = Clock()
    source = DemoSource(camera="a", clip=clip, options=DemoOptions(2.5), clock=clock)
    assert source.live
    frames = list(islice(source.frames(Stop(clock)), 35))
    assert [f.index for f in frames] == list(range(35))
    assert [bar_of(f.picture.bgr()) for f in frames] == [n % 10 for n in range(35)]
    assert [f.captured_at for f in frames] == pytest.approx([102.5 + n / 25 for n in range(35)])
    assert [f.pts for f in frames] == pytest.approx([n / 25 for n in range(35)])


def test_the_demo_plays_at_another_rate(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "demo.mp4", frames=10, fps=25)
    clock = Clock()
    source = DemoSource(camera="a", clip=clip, options=DemoOptions(fps=10.0), clock=clock)
    frames = list(islice(source.frames(Stop(clock)), 25))
    assert [f.captured_at for f in frames] == pytest.approx([100.0 + n / 10 for n in range(25)])
    assert [f.pts for f in frames] == pytest.approx([n / 10 for n in range(25)])


@pytest.mark.parametrize("delay_s", [0.0, 3600.0])
def test_stop_ends_the_demo(tmp_path: Path, delay_s: float) -> None:
    clip = make_clip(tmp_path / "demo.mp4", frames=5, fps=1)
    stop = threading.Event()
    source = DemoSource(camera="a", clip=clip, options=DemoOptions(delay_s))
    thread = threading.Thread(target=lambda: list(source.frames(stop)))
    thread.start()
    stop.wait(0.1)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_a_demo_without_its_clip_is_lost(tmp_path: Path) -> None:
    with pytest.raises(SourceLost) as lost:
        next(DemoSource(camera="a", clip=tmp_path / "no.mp4").frames(threading.Event()))
    assert lost.value.reason == "not_found"
