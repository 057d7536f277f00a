"""How many cameras are held: the recorded cameras, and how a program that has them is heard."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import cameras_run
from benchmarks.cameras import STREAMER
from benchmarks.cameras_run import FPS, Run, chosen, measure, recorded_clip
from benchmarks.peers import RUNNERS, PeerFailed, Side
from streamer.resources import resource
from streamer.testing import ManualClock


def test_three_frames_of_five_make_15_a_second_of_25() -> None:
    kept = [(number, chosen(number)) for number in range(250) if chosen(number) is not None]
    assert [mine for _, mine in kept] == list(range(150))
    assert all(abs(number / 25 - mine / FPS) < 1 / 25 for number, mine in kept if mine is not None)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_clip(resource("demo.mp4"), tmp_path_factory.mktemp("clip"))


def test_the_clip_goes_on_evenly_over_its_seams(clip: Path) -> None:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        times = [float(packet.pts * packet.time_base) for packet in packets]
        keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    assert (stream.width, stream.height, len(packets)) == (1280, 720, 12 * 150)
    assert times == pytest.approx([n / FPS for n in range(len(times))], abs=1e-4)
    assert keys == list(range(0, 1800, 30))
    assert recorded_clip(Path("not there"), clip.parent) == clip


@pytest.fixture(scope="module")
def recorded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recorded", RUNNERS / "recorded.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@given(st.integers(1, 50), st.floats(1, 60), st.integers(0, 5000), st.floats(0, 100))
def test_a_camera_waits_for_nobody(
    recorded: ModuleType, cameras: int, fps: float, frame: int, late_s: float
) -> None:
    clock = ManualClock(1000.0)
    schedule = recorded.Schedule(cameras, fps, clock=clock)
    schedule.begin()
    assert len({round(start, 6) for start in schedule.starts}) == cameras
    assert all(1000 < start < 1000 + 3 for start in schedule.starts)
    camera = cameras - 1
    assert schedule.newest(camera) == -1 or schedule.newest(camera) < -1
    due = schedule.due(camera, frame)
    assert schedule.wait_s(camera, frame) == pytest.approx(due - 1000)
    clock.advance(due - 1000 + late_s + 1e-6)
    assert schedule.wait_s(camera, frame) == 0
    assert schedule.newest(camera) >= frame
    assert schedule.newest(camera) == pytest.approx(frame + late_s * fps, abs=1.01)


RUNNER = f"""
import os, sys, time
sys.path.insert(0, {str(RUNNERS)!r})
from recorded import Schedule, end_with_parent, say_begun, say_end, say_looked
how = sys.argv[1]
if how == "broken":
    raise ValueError("no such thing")
if how == "silent":
    time.sleep(60)
if how != "deaf":
    end_with_parent(lambda: (say_end({{"paused": 1}}), os._exit(0)))
schedule = Schedule(2, 15.0)
schedule.begin()
print("words of a library")
say_begun(schedule, about="it 1")
for frame in range(10_000):
    for camera in (0, 1):
        time.sleep(schedule.wait_s(camera, frame))
        say_looked(camera, frame)
    if how == "short" and frame == 10:
        sys.exit("enough")
"""


@pytest.fixture
def side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Run]:
    """Measures a small program, which behaves as it is told, for a second."""
    (tmp_path / "it.py").write_text(RUNNER)
    monkeypatch.setattr(cameras_run, "RUNNERS", tmp_path)
    monkeypatch.setattr(cameras_run, "WARM_S", 0.0)
    monkeypatch.setattr(cameras_run, "KILL_S", 1.0)
    monkeypatch.setattr(cameras_run, "END_S", 1.0)
    monkeypatch.setattr(cameras_run, "START_S", 20.0)

    def run(how: str) -> Run:
        return measure(
            Side("it", "it.py", ("{how}",)), Path(sys.executable), {"how": how},
            cameras=2, seconds=1.5,
        )  # fmt: skip

    return run


def no_child_is_left() -> bool:
    own = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return not any(b"it.py" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in own)


def test_a_program_is_heard_from_when_its_cameras_begin(side: Callable[[str], Run]) -> None:
    run = side("well")
    assert run.about == "it 1"
    assert run.score.seconds == 1.5
    assert all(one.detections_per_s > 2 for one in run.score.per_camera)
    assert run.score.p50_age_ms is not None
    assert -1 < run.score.p50_age_ms < 1000
    assert run.ended == {"paused": 1}
    assert run.used >= 0
    assert "1 cameras were paused" in run.faults
    assert no_child_is_left()


def test_a_program_that_does_not_end_is_ended(side: Callable[[str], Run]) -> None:
    assert side("deaf").ended == {}
    assert no_child_is_left()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("broken", "ended by itself with 1: ValueError: no such thing"),
        ("short", "ended by itself with 1: enough"),
    ],
)
def test_a_program_that_fails_is_told_in_a_line(
    side: Callable[[str], Run], how: str, words: str
) -> None:
    with pytest.raises(PeerFailed, match=words):
        side(how)
    assert no_child_is_left()


def test_a_program_that_never_begins_is_given_up(
    side: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras_run, "START_S", 0.5)
    with pytest.raises(PeerFailed, match="said nothing within"):
        side("silent")
    assert no_child_is_left()


def test_streamer_itself_is_measured_with_cameras_that_are_put_in(
    clip: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras_run, "WARM_S", 0.5)
    given_ = {"clip": str(clip), "fps": str(FPS), "model": str(model_path)}
    run = measure(STREAMER, Path(sys.executable), given_, cameras=2, seconds=2.0)
    assert run.about.startswith("streamer ")
    assert all(one.detections_per_s > 0 for one in run.score.per_camera)
    assert run.ended["lost"] == 0
    # Two cameras of 15 a second for no longer than the run with its phases and its end.
    assert 0 < run.ended["captured"] < 2 * FPS * 60
    assert run.ended["settled"]["detected"] > 0
