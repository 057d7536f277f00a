"""Keeps freed memory from staying with the process.

What a decoder allocates and frees the C library (glibc) keeps for the next time, in up to 8 pools
("arenas") for each core, since many threads allocate. After a camera that sent pictures of
8192x8192 for a second that was 33 MB, for ever; and cameras that came and went for 20 minutes left
21 MB in pools that were nearly empty.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

ARENAS: Final = 2
"""Pools for all threads. With these the same 20 minutes leave 4 MB; the rate of frames does not
change (benchmarks/bench.py)."""

_M_ARENA_MAX: Final = -8  # malloc.h of glibc


def limit_arenas() -> bool:
    """Let no more pools come into being than :data:`ARENAS`; False where that cannot be said.

    For a program that is streamer and nothing else, before it starts threads.
    """
    try:
        tune = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(tune(_M_ARENA_MAX, ARENAS))


def keep_for_good() -> None:
    """Leave all objects of now out of later collections: what is loaded stays to the end anyway.

    For a program that is streamer and nothing else, once it has loaded everything: a collection of
    all generations takes 0.8 ms then, and 78 ms before (two cameras, 100,000 objects of modules).
    """
    gc.collect()
    gc.freeze()


def trim() -> bool:
    """Give back what is free now, 43 MB in 2 ms for example; False where it cannot be done.

    Objects that only hold each other, as those of a lost life do, are let go first: by themselves
    they stay until 700 more have come, which took ten minutes and 0.2 MB of a quiet program, and
    much longer where they had grown old meanwhile: the tables of a decoder of 8192x8192 are 16 MB.
    All are looked at after :func:`keep_for_good`, in a program that did not call it only the young
    ones, either in less than 1 ms. Only glibc can give memory back (``malloc_trim``, see its
    manual page).
    """
    gc.collect(2 if gc.get_freeze_count() else 1)
    try:
        release = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return False
    release(0)
    return True
