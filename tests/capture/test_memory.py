"""Memory that is free goes back to the system."""

import ctypes
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


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not memory.trim()
