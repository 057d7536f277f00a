"""Real child processes throughout: what breaks in one must cost nobody else."""

from __future__ import annotations

import gc
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.capture.isolate import GRACE_S, Isolated
from streamer.capture.reconnect import Reconnecting
from streamer.capture.schemes import make_source
from streamer.capture.synthetic import read_number
from streamer.errors import SourceLost
from streamer.types import Frame, SourceUrl
from streamer.vision.picture import ArrayPicture
from tests.capture.clips import access_units, make_clip
from tests.capture.clocks import Clock, Stop
from tests.capture.scripted_rtsp import Script, ScriptedRtsp

SECRET = "canary-hunter2"


class Misbehaving:
    """A live source that gives ``good`` frames and then does as it is told. Runs in the child."""

    live = True
    decode_errors = 4

    def __init__(self, then: str, good: int = 3) -> None:
        self.then = then
        self.good = good

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        for n in range(self.good):
            picture = ArrayPicture(np.full((48, 64, 3), n, np.uint8))
            yield Frame("inside", 0, n, time.monotonic(), 1e9 + n, n / 25, picture)
        if self.then == "lost":
            raise SourceLost("auth", f"rtsp://cam:{SECRET}@door/ refused\x1b[2J the password")
        if self.then == "invented":
            raise SourceLost("bored", "has had enough")  # type: ignore[arg-type]
        if self.then == "bug":
            raise ValueError(SECRET)
        if self.then == "exit":
            os._exit(3)
        if self.then == "leak":
            leak = []
            while True:
                leak.append(bytearray(1 << 24))
        if self.then == "hang with the lock":
            re.match("(a+)+$", "a" * 64 + "b")  # exponential, in C, without letting go of the GIL
        if self.then == "hang":
            threading.Event().wait()
        if self.then != "end":
            os.kill(os.getpid(), getattr(signal, self.then))
            threading.Event().wait()


def misbehaving(then: str, *, good: int = 3, **options: Any) -> Isolated:
    return Isolated(partial(Misbehaving, then, good), camera="door", live=True, **options)


def spec(url: str, camera: str = "door") -> Any:
    return partial(make_source, SourceUrl(url), camera=camera, base_folder=Path("/"))


def isolated(url: str, *, live: bool, camera: str = "door", **options: Any) -> Isolated:
    return Isolated(spec(url, camera), camera=camera, live=live, **options)


def one_life(source: Isolated, stop: threading.Event | None = None) -> tuple[list[Frame], Any]:
    """Frames, and the loss that ended them or None. The child is gone."""
    frames: list[Frame] = []
    lost = None
    try:
        frames.extend(source.frames(stop or threading.Event()))
    except SourceLost as error:
        lost = error.with_traceback(None)  # it leads to the frames
        assert SECRET not in str(error)
        assert error.__cause__ is error.__context__ is None
    assert source.pid is None
    return frames, lost


def gone(pid: int, within_s: float) -> bool:
    give_up_at = time.monotonic() + within_s
    while Path(f"/proc/{pid}").exists():
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # dead, and for another to reap
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.01)
    return True


def same(ours: Frame, theirs: Frame) -> bool:
    numbers = [(f.camera, f.epoch, f.index, f.pts) for f in (ours, theirs)]
    sizes = [(f.picture.width, f.picture.height) for f in (ours, theirs)]
    return (
        numbers[0] == numbers[1]
        and sizes[0] == sizes[1]
        and all(
            np.array_equal(ours.picture.bgr(*asked), theirs.picture.bgr(*asked))
            for asked in ((None, None), (160, 90), (99, 55))
        )
    )


@pytest.mark.parametrize(
    ("name", "codec", "width", "height"),
    [("a.mp4", "libx264", 320, 240), ("a.mp4", "libx264", 642, 358),
     ("a.mkv", "mjpeg", 640, 360), ("a.webm", "libvpx-vp9", 641, 361),
     ("a.mp4", "libx264", 1920, 1080)],
)  # fmt: skip
def test_frames_are_the_same_as_without_isolation(
    tmp_path: Path, name: str, codec: str, width: int, height: int
) -> None:
    clip = make_clip(tmp_path / name, codec=codec, width=width, height=height, frames=20)
    source = isolated(str(clip), live=False)
    before = time.monotonic()
    frames, lost = one_life(source)
    direct = list(spec(str(clip))().frames(threading.Event()))
    assert lost is None
    assert len(frames) == 20, "a file loses nothing, though it has fewer slots"
    assert all(map(same, frames, direct))
    instants = [frame.captured_at for frame in frames]
    assert instants == sorted(instants)
    assert before < instants[0]
    assert instants[-1] < time.monotonic()
    assert abs(frames[0].wall_at - direct[0].wall_at) < 60
    assert source.dropped_in_child == 0


def test_a_change_of_size_in_mid_stream(tmp_path: Path) -> None:
    stream = tmp_path / "a.h264"
    small, large = access_units(10, width=320, height=240), access_units(10, width=640, height=480)
    stream.write_bytes(b"".join((*small, *large)))
    frames, _ = one_life(isolated(str(stream), live=False))
    direct = list(spec(str(stream))().frames(threading.Event()))
    assert {(f.picture.width, f.picture.height) for f in frames} == {(320, 240), (640, 480)}
    assert len(frames) == len(direct)
    assert all(map(same, frames, direct))


def test_a_picture_larger_than_the_ring_ends_the_life(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", width=320, height=240)
    frames, lost = one_life(isolated(str(clip), live=False, max_pixels=320 * 240 - 1))
    assert (frames, lost.reason) == ([], "too_large")


def test_the_source_s_own_loss_comes_through_without_its_secrets() -> None:
    source = misbehaving("lost")
    frames, lost = one_life(source)
    assert [f.index for f in frames] == [0, 1, 2]
    assert lost.reason == "auth"
    assert str(lost) == "rtsp://***@door/ refused?[2J the password"
    assert source.decode_errors == 4
    one_life(source)
    assert source.decode_errors == 8, "over all lives"


def test_a_camera_that_refuses_says_so(free_port: int) -> None:
    source = isolated(f"rtsp://cam:{SECRET}@127.0.0.1:{free_port}/live", live=True)
    frames, lost = one_life(source)
    assert frames == []
    assert lost.reason == "refused"
    assert f"127.0.0.1:{free_port}" in str(lost)


ENDS = [
    ("bug", "error", "failed with ValueError in test_isolate.py, line"),
    ("invented", "error", "said what cannot be"),
    ("exit", "error", "ended with code 3"),
    ("SIGSEGV", "error", "crashed (signal SEGV)"),
    ("SIGABRT", "error", "crashed (signal ABRT)"),
    ("SIGKILL", "error", "was killed (signal KILL); it is started again, and if that repeats "
     "check the memory"),
    ("leak", "error", "failed with MemoryError"),
]  # fmt: skip


@pytest.mark.parametrize(("then", "reason", "words"), ENDS)
def test_what_breaks_in_the_child_is_a_loss_of_one_life(then: str, reason: str, words: str) -> None:
    frames, lost = one_life(misbehaving(then, memory_limit=1 << 29))
    assert [f.picture.bgr()[0, 0, 0] for f in frames] == [0, 1, 2], "what came before is whole"
    assert lost.reason == reason
    assert words in str(lost)
    assert "door" in str(lost)


def test_an_end_is_an_end() -> None:
    frames, lost = one_life(misbehaving("end"))
    assert (len(frames), lost) == (3, None)


@pytest.mark.parametrize("then", ["SIGSTOP", "hang with the lock"])
def test_a_child_that_gives_no_sign_is_ended(then: str) -> None:
    began_at = time.monotonic()
    frames, lost = one_life(misbehaving(then, hang_s=2.0))
    assert len(frames) == 3
    assert lost.reason == "stall"
    assert "the decoder process of door was silent for 2." in str(lost)
    assert 2.0 <= time.monotonic() - began_at < 15


def test_a_child_that_lives_but_gives_no_frame_is_ended() -> None:
    began_at = time.monotonic()
    frames, lost = one_life(misbehaving("hang", hang_s=2.0, silence_s=3.0))
    assert len(frames) == 3
    assert lost.reason == "stall"
    assert "silent for 3." in str(lost)
    assert 3.0 <= time.monotonic() - began_at < 15


def test_a_child_is_not_blamed_for_a_slow_reader() -> None:
    source = misbehaving("end", good=2, hang_s=2.0, silence_s=2.0)
    frames = source.frames(threading.Event())
    next(frames)
    time.sleep(2.5)  # the reader's own time
    assert len(list(frames)) == 1


@pytest.mark.parametrize("quiet", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_for_everybody_are_left_to_the_program(quiet: str) -> None:
    source = isolated("synthetic:?size=64x64&fps=50", live=True)
    stop = threading.Event()
    with closing(source.frames(stop)) as frames:  # type: ignore[type-var]
        next(frames)
        assert source.pid is not None
        os.kill(source.pid, getattr(signal, quiet))
        assert [next(frames).index for _ in range(30)][-1] >= 30
        assert os.getpgid(source.pid) != os.getpgid(0), "Ctrl-C does not reach it"


@pytest.mark.parametrize("state", ["flowing", "SIGSTOP", "hang with the lock", "starting"])
def test_stop_takes_at_most_a_second_whatever_the_child_does(state: str) -> None:
    stop = threading.Event()
    flowing = state in ("flowing", "starting")
    source = (
        isolated("synthetic:?size=64x64&fps=50", live=True)
        if flowing
        else misbehaving(state, hang_s=60, silence_s=60)
    )
    asked_at = []

    def ask() -> None:
        asked_at.append(time.monotonic())
        stop.set()

    timer = threading.Timer(0.02 if state == "starting" else 1.0, ask)
    timer.start()
    _, lost = one_life(source, stop)
    took_s = time.monotonic() - asked_at[0]
    timer.join()
    assert lost is None
    assert took_s < 6.0 + GRACE_S  # a second, and what a busy machine takes


def test_frames_closed_by_the_reader_leave_nothing() -> None:
    source = isolated("synthetic:?size=64x64&fps=50", live=True)
    frames = source.frames(threading.Event())
    next(frames)
    pid = source.pid
    assert pid is not None
    frames.close()  # type: ignore[attr-defined]
    assert source.pid is None
    assert not Path(f"/proc/{pid}").exists(), "ended and reaped"


def test_stopped_before_it_began() -> None:
    stop = threading.Event()
    stop.set()
    assert one_life(misbehaving("SIGSEGV"), stop) == ([], None)


def resources() -> tuple[set[str], int, int, set[str]]:
    gc.collect()
    maps = Path("/proc/self/maps").read_text().count("streamer-ring")
    fds = {path.name for path in Path("/proc/self/fd").iterdir()}
    return fds, maps, threading.active_count(), set(Path("/dev/shm").iterdir())


def resident() -> int:
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return int(re.findall(r"^Rss:\s+(\d+)", rollup, re.MULTILINE)[0])


def test_twenty_lives_leave_nothing_behind() -> None:
    sources = [misbehaving(then) for then in ("SIGSEGV", "end", "lost", "exit")]
    for source in sources:
        one_life(source)
    before, kib = resources(), resident()
    for _ in range(5):
        for source in sources:
            frames, _ = one_life(source)
            assert len(frames) == 3
            del frames
    assert resources() == before
    assert resident() - kib < 8 << 10


def test_pictures_outlive_the_child_and_nothing_outlives_the_pictures() -> None:
    before = resources()
    frames, _ = one_life(misbehaving("SIGSEGV"))
    assert resources()[1] == before[1] + 1
    assert [f.picture.bgr(8, 8)[0, 0, 0] for f in frames] == [0, 1, 2]
    frames.clear()
    assert resources() == before


def test_a_loss_that_is_kept_keeps_no_memory() -> None:
    before = resources()
    with pytest.raises(SourceLost) as lost:
        deque(misbehaving("SIGSEGV").frames(threading.Event()), maxlen=0)
    assert lost.value.__traceback__ is not None
    assert resources() == before


def test_a_reader_that_keeps_pictures_keeps_them_all() -> None:
    total = 60
    source = isolated(f"synthetic:?size=320x240&fps=200&frames={total}", live=True, slots=4)
    kept: list[Frame] = []
    with pytest.raises(SourceLost):
        for frame in source.frames(threading.Event()):
            kept.append(frame)
    assert len(kept) + source.dropped_in_child == total
    assert len(kept) > 10, "more than there are slots"
    assert [read_number(frame.picture.bgr()) for frame in kept] == [f.index for f in kept]


def test_a_reader_that_is_late_loses_frames_and_they_are_counted() -> None:
    total = 400
    source = isolated(f"synthetic:?size=64x64&fps=200&frames={total}", live=True, slots=4)
    with closing(source.frames(threading.Event())) as frames:  # type: ignore[type-var]
        read = [next(frames).index]
        give_up_at = time.monotonic() + 20
        while source.dropped_in_child < 20 and time.monotonic() < give_up_at:
            time.sleep(0.01)
        with pytest.raises(SourceLost):
            read.extend(frame.index for frame in frames)
    assert source.dropped_in_child >= 20
    assert len(read) + source.dropped_in_child == total, "each frame was read or counted"
    assert read == sorted(set(read))
    assert read[-1] > 4 + 20, "and it goes on when the reader is back"


def test_four_cameras_at_once_and_one_crashes() -> None:
    stop = threading.Event()
    sources = [
        isolated(f"synthetic:?size=320x240&fps={25 + n}", live=True, camera=f"c{n}")
        for n in range(4)
    ]
    counts, ends = [0] * 4, [""] * 4
    all_flow = threading.Barrier(5)
    crashed = threading.Event()
    enough = threading.Semaphore(0)

    def read(n: int) -> None:
        try:
            for frame in sources[n].frames(stop):
                assert frame.camera == f"c{n}"
                assert frame.picture.bgr(64, 48).shape == (48, 64, 3)
                if counts[n] == 0:
                    all_flow.wait(30)
                counts[n] += 1
                if crashed.is_set() and counts[n] > 1:
                    enough.release()
        except SourceLost as lost:
            ends[n] = str(lost)
            crashed.set()

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    all_flow.wait(30)
    pid = sources[2].pid
    assert pid is not None
    os.kill(pid, signal.SIGSEGV)
    assert crashed.wait(10)
    for _ in range(60):
        assert enough.acquire(timeout=10)
    stop.set()
    for thread in threads:
        thread.join(10)
    assert "crashed (signal SEGV)" in ends[2]
    assert [ends[n] for n in (0, 1, 3)] == ["", "", ""]


def test_a_crashed_camera_is_back_within_two_seconds() -> None:
    source = isolated("synthetic:?size=64x64&fps=50", live=True)
    camera = Reconnecting(source, url=SourceUrl("synthetic:"))
    with closing(camera.frames(threading.Event())) as frames:  # type: ignore[type-var]
        first = next(frames)
        assert source.pid is not None
        os.kill(source.pid, signal.SIGSEGV)
        crashed_at = time.monotonic()
        again = next(frame for frame in frames if frame.epoch == 1)
        took_s = time.monotonic() - crashed_at
        assert again.index > first.index
        assert camera.state().losses == {"error": 1}
    assert took_s < 2.0 + 6.0  # the bound, and what a busy machine takes


def test_a_child_that_crashes_again_and_again_is_left_alone_for_longer() -> None:
    clock = Clock()
    stop = Stop(clock, most=7)
    source = misbehaving("SIGSEGV", good=1)
    camera = Reconnecting(source, url=SourceUrl("rtsp://door"), clock=clock, random=lambda: 1.0)
    lives = [frame.epoch for frame in camera.frames(stop)]
    assert lives == list(range(7))
    assert stop.waits == sorted(stop.waits)
    assert stop.waits[0] <= 0.5, "the first crash after health: at once"
    assert sum(stop.waits[:5]) > 15, "five crashes take a while ..."
    assert stop.waits[-1] >= 15, "... and then it is tried twice a minute"


PARENT = """
import sys, threading
from functools import partial
from pathlib import Path
from streamer.capture.isolate import Isolated
from streamer.capture.schemes import make_source
from streamer.capture.synthetic import read_number
from streamer.types import SourceUrl
url = SourceUrl("synthetic:?size=320x240&fps=50")
make = partial(make_source, url, camera="door", base_folder=Path("/"))
source = Isolated(make, camera="door", live=True)
for frame in source.frames(threading.Event()):
    if frame.index < 1:
        print(source.pid, flush=True)
"""


@pytest.mark.parametrize("state", ["flowing", "stopped"])
def test_a_child_does_not_outlive_a_killed_program(state: str) -> None:
    before = set(Path("/dev/shm").iterdir())
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        child = int(program.stdout.readline())
        if state == "stopped":
            os.kill(child, signal.SIGSTOP)
        program.kill()
    assert gone(child, within_s=2.0 + 2.0)  # the bound, and what a busy machine takes
    assert set(Path("/dev/shm").iterdir()) == before


def test_no_secret_is_where_others_may_look(capfd: pytest.CaptureFixture[str]) -> None:
    environ = {"PATH": "/usr/bin", "STREAMER_PASSWORD": SECRET, "TZ": "UTC", "http_proxy": SECRET}
    with ScriptedRtsp(Script(list(access_units(20)))) as server:
        url = f"rtsp://cam:{SECRET}@127.0.0.1:{server.port}/live?token={SECRET}"
        source = isolated(url, live=True, environ=environ)
        camera = Reconnecting(source, url=SourceUrl(url))
        with closing(camera.frames(threading.Event())) as frames:  # type: ignore[type-var]
            next(frames)
            folder = Path(f"/proc/{source.pid}")
            seen = [(folder / name).read_bytes() for name in ("cmdline", "environ", "comm")]
            seen += [path.read_bytes() for path in folder.glob("task/*/comm")]
            seen += [bytes(path.readlink()) for path in folder.glob("fd/*")]
            assert b"TZ=UTC" in seen[1]
            assert b"isolated_child" in seen[0]
            os.kill(source.pid or 0, signal.SIGSEGV)
            next(frame for frame in frames if frame.epoch == 1)
    assert not any(SECRET.encode() in text for text in seen)
    said = capfd.readouterr()
    assert "camera_lost" in said.out + said.err
    assert SECRET not in said.out + said.err
    assert SECRET not in repr(source) + str(camera.state())


def test_the_child_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=100)
    source = isolated(str(clip), live=False)
    with closing(source.frames(threading.Event())) as frames:  # type: ignore[type-var]
        next(frames)
        maps = Path(f"/proc/{source.pid}/maps").read_text()
    assert "libavcodec" in maps
    for heavy in ("onnxruntime", "zmq", "pydantic", "msgspec"):
        assert heavy not in maps


def test_a_crash_writes_no_core_and_memory_runs_out_in_the_child_first() -> None:
    source = isolated("synthetic:?size=64x64&fps=50", live=True)
    with closing(source.frames(threading.Event())) as frames:  # type: ignore[type-var]
        next(frames)
        limits = Path(f"/proc/{source.pid}/limits").read_text()
        score = Path(f"/proc/{source.pid}/oom_score_adj").read_text()
    assert re.search(r"Max core file size +0 +0", limits)
    assert re.search(rf"Max data size +{1 << 30} +{1 << 30}", limits)
    assert int(score) >= 500


@pytest.mark.parametrize(
    ("options", "words"),
    [({"hang_s": 0.1}, "hang_s"), ({"hang_s": 9, "silence_s": 5}, "silence_s"),
     ({"slots": 1}, "slots"), ({"max_pixels": 0}, "max_pixels")],
)  # fmt: skip
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        misbehaving("end", **options)


def test_a_source_must_be_described_and_not_be_there() -> None:
    with pytest.raises(ValueError, match="cannot be pickled"):
        Isolated(lambda: Misbehaving("end"), camera="door", live=True)


def test_a_machine_without_room_for_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resources()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    frames, lost = one_life(misbehaving("end"))
    assert (frames, lost.reason) == ([], "error")
    assert "no decoder process could be started" in str(lost)
    assert resources() == before


def test_too_many_open_files_are_told_with_their_own_remedy() -> None:
    before = resources()
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    source = misbehaving("end")
    few = len(list(Path("/proc/self/fd").iterdir())) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, usual[1]))
    try:
        frames, lost = one_life(source)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert (frames, lost.reason) == ([], "error")
    assert "raise the limit of open files (ulimit -n)" in str(lost)
    assert resources() == before
