"""Memory that is free goes back to the system."""

import ctypes
import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from streamer.capture import memory

MB = 2**20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_what_was_freed_goes_back():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    memory.trim()
    blocks = [libc.malloc(64 * 1024) for _ in range(1000)]  # too small for pages of their own
    for block in blocks:
        ctypes.memset(block, 1, 64 * 1024)
    kept = libc.malloc(64 * 1024)  # at the end of the heap: nothing before it goes back by itself
    full = resident()
    for block in blocks:
        libc.free(block)
    assert full - resident() < 30 * MB
    assert memory.trim()
    assert full - resident() > 50 * MB
    libc.free(kept)


def test_what_only_holds_itself_is_let_go_first():
    class Ring:
        def __init__(self):
            self.me = self

    ring = weakref.ref(Ring())
    gc.disable()
    try:
        assert ring() is not None
        memory.trim()
        assert ring() is None
    finally:
        gc.enable()


OLD = """
import gc, weakref
from streamer.capture import memory

class Ring:
    def __init__(self):
        self.me = self

gc.disable()
memory.keep_for_good()
ring = Ring()
gone = weakref.ref(ring)
gc.collect()  # it is of the oldest generation now
del ring
memory.trim()
assert gone() is None
"""


def test_what_grew_old_is_let_go_too_once_what_is_loaded_is_kept_for_good():
    subprocess.run([sys.executable, "-c", OLD], check=True, timeout=60)


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not memory.trim()
    assert not memory.limit_arenas()


def test_threads_share_few_pools():
    script = """
import ctypes, re, sys, threading
from streamer.capture import memory
if sys.argv[1] == "limited":
    assert memory.limit_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
together = threading.Barrier(8)
def allocate():
    together.wait()
    libc.malloc(100_000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
libc.malloc_stats()
"""
    pools = {}
    for how in ("limited", "free"):
        done = subprocess.run(
            [sys.executable, "-c", script, how], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        pools[how] = done.stderr.count("Arena ")
    assert pools["limited"] <= memory.ARENAS < pools["free"]
