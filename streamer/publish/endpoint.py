"""Addresses that sockets listen on: checked where libzmq would do harm, and why they cannot be."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import stat
from pathlib import Path
from typing import Final

from streamer.errors import BindError

_TCP = re.compile(r"tcp://(?P<host>.+):(?P<port>\*|[0-9]{1,5})")

_BAD_ADDRESS: Final = "it is not an address; write tcp://127.0.0.1:5555 or ipc:///path/to/socket"
_WHY: Final = {
    errno.EINVAL: _BAD_ADDRESS,
    errno.EADDRINUSE: "the address is in use; stop what uses it or choose another",
    errno.EACCES: "this user is not permitted to; choose a port above 1023 or another folder",
    errno.EPERM: "this user is not permitted to; choose a port above 1023 or another folder",
    errno.EADDRNOTAVAIL: "no network of this machine has this address; use 127.0.0.1 or *",
    errno.ENODEV: "no network of this machine has this address; use 127.0.0.1 or *",
    errno.ENOENT: "the folder does not exist; make it or choose another path",
    errno.ENAMETOOLONG: "the path is too long; choose one of at most 100 characters",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
}


def bad_address_why(number: int, text: str) -> str:
    """What to say of the error ``number`` of binding, which libzmq calls ``text``."""
    return _WHY.get(number, f"{text}; choose another address")


def check_address(bind: str) -> Path | None:
    """The path of an ipc address, None for tcp. Raises :class:`BindError` where libzmq does harm.

    Of itself libzmq takes port 99999 for 34463, deletes a file that is where the socket should
    be, and takes an ipc address away from a living publisher.
    """
    if bind.startswith("ipc://") and len(bind) > len("ipc://"):
        name = bind.removeprefix("ipc://")
        if name.startswith("@") or name == "*":
            return None
        path = Path(name)
        try:
            mode = path.stat().st_mode
        except OSError:
            return path  # nothing there, or nothing we may see: binding says which
        if not stat.S_ISSOCK(mode):
            raise BindError(f"cannot publish on {bind}: a file is there; choose another path")
        if _answers(path):
            raise BindError(f"cannot publish on {bind}: {_WHY[errno.EADDRINUSE]}")
        return path
    match = _TCP.fullmatch(bind)
    if match is None or (match["port"] != "*" and int(match["port"]) > 65535):
        raise BindError(f"cannot publish on {bind}: {_BAD_ADDRESS}")
    return None


def is_local(bind: str) -> bool:
    """Whether only this machine can reach ``bind``: ipc, 127.0.0.0/8, ::1 or localhost.

    Not ``ipc://@NAME``: an abstract socket has no file whose rights keep other users out.
    """
    if bind.startswith("ipc://"):
        return not bind.startswith("ipc://@")
    match = _TCP.fullmatch(bind)
    host = match["host"].strip("[]") if match is not None else ""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or that of a network such as eth0
        return False


def others(bind: str) -> str:
    """Who can reach ``bind`` where it is not local: "other machines", as one says it."""
    return "every user of this machine" if bind.startswith("ipc://@") else "other machines"


def _answers(path: Path) -> bool:
    """Whether somebody listens on the Unix socket at ``path``."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
