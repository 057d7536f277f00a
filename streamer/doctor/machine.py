"""The part of `streamer doctor` that looks at the machine: cores, memory, files, disk, ports."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final

from streamer.cores import Memory, affinity, cpu_quota, memory, usable_cores
from streamer.doctor.finding import Finding, Verdict

LEAST_FILES: Final = 4096
"""Open files that are enough for hundreds of cameras, viewers and subscribers."""

LITTLE_MEMORY: Final = 1 << 30
"""Bytes free; a program with four cameras takes half of it."""

TOO_LITTLE_MEMORY: Final = 256 << 20
"""Bytes free; the model and one camera do not fit."""

LITTLE_DISK: Final = 256 << 20
"""Bytes free on the disk of the model cache; the largest model is about 110 MB."""

IN_USE: Final = "is in use"
"""What the finding says of an address that another program has."""

_BIND: Final = re.compile(r"(?:tcp://)?(?P<host>.+):(?P<port>\*|[0-9]{1,5})")
_MIB: Final = 1 << 20


def cores_finding(root: Path = Path("/")) -> Finding:
    """Cores and the quota of the container; a warning where the quota leaves less than one."""
    may, quota, use = affinity(), cpu_quota(root), usable_cores(root)
    if quota is None:
        return Finding("cores", "good", f"{may} cores, no quota")
    detail = f"{may} cores with a quota of {quota:g}: {use} are used"
    if quota >= 1:
        return Finding("cores", "good", detail)
    return Finding(
        "cores", "warning", detail, "give the container at least one core (docker: --cpus 2)"
    )


def memory_finding(found: Memory | None = None) -> Finding:
    """Memory that is free for this process; ``found`` is what was read, by default anew."""
    free, limit = memory() if found is None else found
    detail = f"{free // _MIB} MiB free" + (
        "" if limit is None else f", limited to {limit // _MIB} MiB"
    )
    if free >= LITTLE_MEMORY:
        return Finding("memory", "good", detail)
    remedy = "raise the limit of the container" if limit is not None else "end other programs"
    verdict: Verdict = "bad" if free < TOO_LITTLE_MEMORY else "warning"
    return Finding("memory", verdict, detail, f"{remedy}, or use fewer cameras and a smaller model")


def files_finding() -> Finding:
    """The limit of open files, which Python sees as the soft one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return Finding("open files", "good", "no limit")
    if soft >= LEAST_FILES:
        return Finding("open files", "good", f"up to {soft}")
    may = hard == resource.RLIM_INFINITY or hard >= LEAST_FILES
    where = "in this shell" if may else "as root (docker: --ulimit nofile=4096)"
    return Finding(
        "open files", "warning", f"up to {soft}", f"run `ulimit -n {LEAST_FILES}` {where}"
    )


def cache_finding(folder: Path) -> Finding:
    """Whether models can be kept in ``folder``: it, or the first above it there is, is writable."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    name = "model cache"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(
            name,
            "warning",
            f"{folder} cannot be written ({error.strerror})",
            "make it writable for this user, or set XDG_CACHE_HOME to a folder that is",
        )
    detail = f"{folder} is writable, {free // _MIB} MiB free"
    if free < LITTLE_DISK:
        return Finding(name, "warning", detail, "make room on this disk, or models cannot be kept")
    return Finding(name, "good", detail)


def port_finding(key: str, bind: str) -> Finding:
    """Whether ``bind`` can be listened on: "host:port", "tcp://host:port" or "ipc://path".

    ``key`` is its place in the configuration ("http.bind"). It is taken for a moment, and nobody
    who calls is answered.
    """
    if bind.startswith("ipc://"):
        return _socket_file(key, Path(bind.removeprefix("ipc://")))
    match = _BIND.fullmatch(bind)
    if match is None:
        return Finding(key, "bad", f"{bind} is no address", f"set {key} to host:port")
    host = match["host"].strip("[]")
    port = 0 if match["port"] == "*" else int(match["port"])
    try:
        if port > 65535:
            raise socket.gaierror
        found = socket.getaddrinfo(
            "0.0.0.0" if host == "*" else host,  # noqa: S104 - only looked at for a moment
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        if host in {name for _, name in socket.if_nameindex()}:
            return Finding(key, "good", f"{bind} is on a network of this machine; not tried")
        return Finding(key, "bad", f"{bind} is no address", f"correct {key}")
    except OSError as error:
        return _not_bound(key, bind, error)
    return Finding(key, "good", f"{bind} is free")


def _not_bound(key: str, bind: str, error: OSError) -> Finding:
    if error.errno == errno.EADDRINUSE:
        return Finding(
            key,
            "bad",
            f"{bind} {IN_USE}, perhaps by a streamer that runs already",
            f"stop what uses it (`ss -ltnp` names it), or set {key} to another port",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        remedy = f"set {key} to a port above 1023"
    elif error.errno == errno.EADDRNOTAVAIL:
        remedy = f"set {key} to 127.0.0.1 or to an address of this machine"
    else:
        remedy = f"set {key} to another address"
    return Finding(key, "bad", f"{bind} cannot be used ({error.strerror})", remedy)


def _socket_file(key: str, path: Path) -> Finding:
    shown = f"ipc://{path}"
    if str(path).startswith("@"):
        return Finding(key, "good", f"{shown} needs no file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        return Finding(
            key,
            "bad",
            f"the folder of {shown} is not there or cannot be written",
            f"make it for this user, or correct {key}",
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:  # nobody is there, which is what we want
            return Finding(key, "good", f"{shown} is free")
    return Finding(
        key, "bad", f"{shown} {IN_USE}", f"stop what uses it, or set {key} to another path"
    )
