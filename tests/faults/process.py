"""What the kernel says of a process and its children: memory, files, threads, words."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_TRACKERS = ("resource_tracker", "multiprocessing.forkserver")
"""Processes that Python starts for itself."""


class Usage(NamedTuple):
    """Of a process and all below it: bytes, open files, threads, CPU seconds so far.

    ``own`` is what only an allocation makes grow: anonymous and shared pages (proc(5), RssAnon and
    RssShmem). ``rss`` has the pages of files as well, such as those of libraries, which the kernel
    drops and reads again as it likes: megabytes in a moment that are nobody's leak.
    """

    own: int
    rss: int
    fds: int
    threads: int
    cpu_s: float


def children(pid: int) -> list[int]:
    """The direct children of ``pid``, zombies left out; none when it has gone."""
    found = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in listing.read_text().split()]
        except OSError:
            continue  # that thread ended just now
    return [child for child in found if _state(child) not in "Z "]


def tree(pid: int) -> list[int]:
    """``pid`` and everything below it."""
    return [pid, *(below for child in children(pid) for below in tree(child))]


def workers(pid: int) -> list[int]:
    """The processes below ``pid`` that do its work: not those Python keeps for itself."""
    found = [below for below in tree(pid) if below != pid]
    return [below for below in found if not any(word in command(below) for word in _TRACKERS)]


def command(pid: int) -> str:
    """The command line, words joined by spaces."""
    return _text(pid, "cmdline").replace("\0", " ")


def usage(pid: int) -> Usage:
    """Of ``pid`` and all below it; zeros when it has gone."""
    own = rss = fds = threads = 0
    ticks = 0
    for each in tree(pid):
        fields = _text(each, "stat").rpartition(")")[2].split()
        if len(fields) < 22:
            continue
        try:
            fds += sum(1 for _ in Path(f"/proc/{each}/fd").iterdir())
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
        threads += int(fields[17])
        held = _resident(each)
        rss += sum(held.values())
        own += held.get("RssAnon", 0) + held.get("RssShmem", 0)
    return Usage(own, rss, fds, threads, ticks / _TICKS)


def _resident(pid: int) -> dict[str, int]:
    """Bytes by kind: RssAnon, RssFile, RssShmem; none when it has gone."""
    lines = (line.split() for line in _text(pid, "status").splitlines())
    return {words[0][:-1]: 1024 * int(words[1]) for words in lines if words[0].startswith("Rss")}


def machine_cpu_s() -> float:
    """CPU seconds that the whole machine has worked since it started, all cores together."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in fields[:8])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def words(pid: int) -> Iterator[str]:
    """All that other users of the machine may read: command lines and thread names.

    The environment of children counts too: what a child is told that way, its crash dumps tell.
    """
    for each in tree(pid):
        yield _text(each, "cmdline")
        if each != pid:
            yield _text(each, "environ")
        for task in Path(f"/proc/{each}/task").glob("*/comm"):
            try:
                yield task.read_text(errors="replace")
            except OSError:
                continue


def _state(pid: int) -> str:
    fields = _text(pid, "stat").rpartition(")")[2].split()
    return fields[0] if fields else " "


def _text(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except OSError:
        return ""
