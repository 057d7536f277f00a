"""Fails a test that leaves threads or child processes behind.

Threads that are not daemons would keep the program from ending; daemon threads of streamer's own
stages (named capture:, relay:, infer, publish:, http) must be gone too. Each gets three seconds to
end.
"""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

GRACE_S = 3.0
STAGES = ("capture:", "relay:", "infer", "publish:", "http")
OURS_TO_KEEP = ("resource_tracker", "multiprocessing.forkserver")
"""Python starts these once and ends them with itself."""


def watched_threads() -> set[threading.Thread]:
    """The running threads that a test must not leave behind."""
    return {
        thread
        for thread in threading.enumerate()
        if not thread.daemon or thread.name.startswith(STAGES)
    }


def child_processes() -> dict[int, str]:
    """Process id and command line of each running child of this process."""
    children = {}
    for listing in Path("/proc/self/task").glob("*/children"):
        try:
            pids = [int(word) for word in listing.read_text().split()]
        except OSError:
            continue  # the thread ended just now
        for pid in pids:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue  # it ended just now
            name, _, rest = stat.partition("(")[2].rpartition(")")
            # A zombie has ended; a child that only just started has no command line yet.
            text = command.decode(errors="replace").strip() or name
            if rest.split()[0] != "Z" and not any(word in text for word in OURS_TO_KEEP):
                children[pid] = text
    return children


def left_behind(threads: set[threading.Thread], children: set[int]) -> list[str]:
    """What runs now and did not run before, in words."""
    found = [f"thread {thread.name!r}" for thread in watched_threads() - threads]
    found += [
        f"process {pid}: {command[:120]}"
        for pid, command in child_processes().items()
        if pid not in children
    ]
    return sorted(found)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Compare what runs before and after the test and its other fixtures."""
    threads, children = watched_threads(), set(child_processes())
    pid = os.getpid()
    yield
    if os.getpid() != pid:
        return  # a forked child that unwinds: not its business
    give_up_at = time.monotonic() + GRACE_S
    while found := left_behind(threads, children):
        if time.monotonic() > give_up_at:
            pytest.fail(f"left behind by this test: {'; '.join(found)}", pytrace=False)
        time.sleep(0.02)
