"""The parts of a decoder process, each alone; tests/capture/test_isolate.py has them together."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.capture.isolated_child import (
    BROKEN,
    END,
    FRAME,
    LOST,
    MAX_WORDS,
    Orders,
    feed,
    one_life,
)
from streamer.capture.ring import Ring, unpack
from streamer.capture.schemes import make_source
from streamer.errors import SourceLost
from streamer.types import Frame, SourceUrl
from streamer.vision.picture import ArrayPicture
from tests.capture.clips import make_clip

SLOTS = {"slots": 3, "max_pixels": 320 * 240}


@contextmanager
def both_ends() -> Iterator[tuple[Ring, socket.socket, socket.socket]]:
    fd = Ring.create(**SLOTS)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(ours), closing(theirs):
        ring = Ring(fd, **SLOTS)
        os.close(fd)
        ours.settimeout(10)
        yield ring, ours, theirs


def orders(make: Callable[[], Any], *, live: bool) -> Orders:
    return Orders(path=[], make=pickle.dumps(make), live=live, memory_limit=1 << 30, **SLOTS)


def make(url: str) -> Callable[[], Any]:
    return partial(make_source, SourceUrl(url), camera="door", base_folder=Path("/"))


def test_a_camera_drops_and_counts_when_no_slot_is_free() -> None:
    with both_ends() as (ring, ours, theirs):
        todo = orders(make("synthetic:?size=64x64&fps=200&frames=10"), live=True)
        last = one_life(todo, ring, theirs, threading.Event())
        messages = [ours.recv(1000) for _ in range(3)]
        assert last.startswith(LOST + b"eof\n")
        assert [m[:1] for m in messages] == [FRAME] * 3
        assert [unpack(m[1:]).index for m in messages] == [0, 1, 2]
        assert [unpack(m[1:]).slot for m in messages] == [0, 1, 2]
        assert ring.dropped == 7


def test_what_was_left_out_before_a_frame_that_is_dropped_is_told_with_the_next() -> None:
    class LeftOut:
        """Five frames, before the last two of which four were left out; the ring has room for 3."""

        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            picture = ArrayPicture(np.zeros((64, 64, 3), np.uint8))
            for index, left_out in ((0, 0), (1, 0), (2, 0), (7, 4), (12, 4)):
                if index == 12:
                    ring.free(0)
                yield Frame("c", 0, index, 0.0, 0.0, None, picture, left_out)

    with both_ends() as (ring, ours, theirs):
        feed(LeftOut(), ring, theirs, live=True, stop=threading.Event())  # type: ignore[arg-type]
        told = [unpack(ours.recv(1000)[1:]) for _ in range(4)]
        assert [(one.index, one.left_out) for one in told] == [(0, 0), (1, 0), (2, 0), (12, 8)]
        assert ring.dropped == 1


def test_a_file_waits_for_a_slot(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=10)
    indices: list[int] = []
    with both_ends() as (ring, ours, theirs):

        def read() -> None:
            for _ in range(10):
                stored = unpack(ours.recv(1000)[1:])
                indices.append(stored.index)
                ring.free(stored.slot)

        reader = threading.Thread(target=read)
        reader.start()
        last = one_life(orders(make(str(clip)), live=False), ring, theirs, threading.Event())
        reader.join(10)
        assert (last, indices, ring.dropped) == (END, list(range(10)), 0)


def test_a_file_that_waits_is_stopped(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=10)
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    with both_ends() as (ring, _, theirs):
        timer.start()
        assert one_life(orders(make(str(clip)), live=False), ring, theirs, stop) == END
        assert ring.dropped <= 1
    timer.join()


def raises(error: Exception) -> Any:
    raise error


def test_last_words_are_short_and_name_no_values(tmp_path: Path) -> None:
    with both_ends() as (ring, _, theirs):
        todo = orders(make(str(tmp_path / "nothing.mp4")), live=False)
        assert one_life(todo, ring, theirs, threading.Event()).startswith(LOST + b"not_found\n")
        long = SourceLost("auth", f"{'.' * (MAX_WORDS - 20)} rtsp://cam:canary@door refuses")
        todo = orders(partial(raises, long), live=False)
        assert b"canary" not in one_life(todo, ring, theirs, threading.Event())
        todo = orders(partial(raises, ValueError("canary" * 1000)), live=False)
        last = one_life(todo, ring, theirs, threading.Event())
        assert last.startswith(BROKEN + b"\nValueError in test_isolated_child.py, line ")
        assert b"canary" not in last
        todo["make"] = b"rubbish"
        assert one_life(todo, ring, theirs, threading.Event())[:1] == BROKEN
        assert len(last) < MAX_WORDS


ARMED = """
import os, signal, sys, time
from streamer.capture.isolated_child import confine, die_with
die_with(int(sys.argv[1]))
confine(1 << 28)
print("armed", flush=True)
if sys.argv[2] == "stopped":
    os.kill(os.getpid(), signal.SIGSTOP)
if sys.argv[2] == "greedy":
    try:
        bytearray(1 << 29)
    except MemoryError:
        print("refused", flush=True)
time.sleep(100)
"""


def armed(state: str, lifeline: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", ARMED, str(lifeline), state],
        pass_fds=[lifeline], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_the_kernel_ends_a_child_whose_lifeline_is_cut(state: str) -> None:
    read_end, write_end = os.pipe()
    with armed(state, read_end) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "armed\n"
        os.close(write_end)
        assert child.wait(10) == -signal.SIGKILL
    os.close(read_end)


def test_a_lifeline_that_is_cut_already_ends_it_too() -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    with armed("running", read_end) as child:
        assert child.wait(20) == 1
    os.close(read_end)


def test_memory_is_refused_beyond_the_limit() -> None:
    read_end, write_end = os.pipe()
    with armed("greedy", read_end) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in range(2)] == ["armed\n", "refused\n"]
        os.close(write_end)
        child.wait(10)
    os.close(read_end)
