"""What of this machine the process may use: cores and memory, the limits of containers included.

A container's CPU quota is not an affinity: the process sees all cores, and when its threads have
used up the quota they all stand still for the rest of the period, 100 ms by default.
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

_ROOT: Final = Path("/")
_NO_LIMIT: Final = 1 << 60
"""cgroup v1 says "no limit" by the largest multiple of a page, close to 2**63 bytes."""


class Memory(NamedTuple):
    """Memory of this process in bytes: what is free for it, and its limit (None: the machine's)."""

    free: int
    limit: int | None


def affinity() -> int:
    """How many cores this process may be scheduled on (``taskset``, cpusets)."""
    return len(os.sched_getaffinity(0))


def usable_cores(root: Path = _ROOT) -> int:
    """Cores worth a thread each: min(affinity, ceil(quota)), at least 1."""
    quota = cpu_quota(root)
    return affinity() if quota is None else max(1, min(affinity(), math.ceil(quota)))


def whole(threads: int) -> tuple[int, ...]:
    """The numbers of the cores this process may use, when ``threads`` are as many; else none.

    Threads may be bound to them then, one each: whoever uses only some of the cores cannot know
    which of them others use.
    """
    cores = tuple(sorted(os.sched_getaffinity(0)))
    return cores if len(cores) == threads else ()


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Bind this thread to a core while inside; where it may not run there, it is left alone.

    So is the main thread: whatever a signal's handler raises may come between any two steps of
    this. What somebody else says of the thread meanwhile (``taskset -p``) stays.
    """
    before = os.sched_getaffinity(0)
    if core not in before or threading.current_thread() is threading.main_thread():
        yield
        return
    try:
        with suppress(OSError):  # the core was taken away from this process meanwhile
            os.sched_setaffinity(0, {core})
        yield
    finally:
        with suppress(OSError):
            if os.sched_getaffinity(0) == {core}:
                os.sched_setaffinity(0, before)


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Cores' worth of time the control groups grant this process; None without a limit.

    Reads ``cpu.max`` (cgroup v2) and ``cpu.cfs_quota_us`` over ``cpu.cfs_period_us`` (v1); the
    least of its group and of every group above it that can be seen counts. ``root`` stands for
    "/" in tests. Files that are missing or make no sense limit nothing.
    Source: Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst of Linux.
    """
    found = []
    for group in _groups(root, "cpu"):
        words = _read(group / "cpu.max").split()
        if len(words) != 2:
            words = [
                _read(group / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            ]
        quota, period = (_number(word) for word in words)
        if quota and period:
            found.append(quota / period)
    return min(found, default=None)


def busy_s() -> float | None:
    """Seconds so far that the cores of this process were busy with anything, or taken by the host.

    Of whatever process. None where nobody tells. Source: proc(5), ``/proc/stat``.
    """
    ours = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    busy = 0
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, *ticks = line.split()
        if name in ours:  # user nice system idle iowait irq softirq steal; guests are in user
            busy += sum(int(t) for n, t in enumerate(ticks[:8]) if n not in (3, 4))
    return busy / os.sysconf("SC_CLK_TCK")


def memory(root: Path = _ROOT) -> Memory:
    """Free memory and the limit: the machine's own, or less where a control group says so.

    ``root`` stands for "/" in tests. What files keep in memory and can be thrown away counts as
    free. Without ``/proc/meminfo`` 0 bytes are free.
    """
    match = re.search(r"^MemAvailable:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    free = int(match[1]) * 1024 if match else 0
    limit: int | None = None
    for group in _groups(root, "memory"):
        most = _number(_read(group / "memory.max") or _read(group / "memory.limit_in_bytes"))
        if most is None or most >= _NO_LIMIT:
            continue
        used = _number(_read(group / "memory.current") or _read(group / "memory.usage_in_bytes"))
        cached = re.search(
            r"^(?:total_)?inactive_file (\d+)", _read(group / "memory.stat"), re.MULTILINE
        )
        left = most - (used or 0) + (int(cached[1]) if cached else 0)
        free = min(free, max(0, left))
        limit = most if limit is None else min(limit, most)
    return Memory(free, limit)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those above it, for ``controller``."""
    paths: dict[str, str] = {}  # of each v1 controller, and of v2 as ""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        paths.update(dict.fromkeys(controllers.split(","), path))
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, system = line.partition(" - ")
        fields, kind = mount.split(), system.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        name = "" if kind[0] == "cgroup2" else controller
        if kind[0] not in ("cgroup", "cgroup2") or name not in paths:
            continue
        if kind[0] == "cgroup" and controller not in kind[2].split(","):
            continue
        top = root / fields[4].lstrip("/")
        group = _below(paths[name], fields[3])
        yield top / group
        yield from (top / above for above in group.parents)


def _below(path: str, mounted: str) -> PurePosixPath:
    """The group ``path`` as seen from a mount that shows ``mounted`` and what is in it."""
    try:
        return PurePosixPath(path).relative_to(mounted)
    except ValueError:  # the group is outside of what this container sees
        return PurePosixPath()


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(word: str) -> int | None:
    """A whole number from 0; None for "max", -1 and whatever else stands there."""
    word = word.strip()
    return int(word) if word.isascii() and word.isdigit() else None
