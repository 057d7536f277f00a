"""A name server of our own, and a way to run a program that asks nobody else. It needs root."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

ADDRESS = "127.0.99.53"
"""Loopback, where no resolver of a machine is; names are asked for at port 53 only."""

HANG = "hang"
"""What stands in the table for a name whose question is never answered."""


def can_run() -> bool:
    """Whether this process may take port 53 and give a child its own resolv.conf."""
    if os.geteuid() != 0:
        return False
    return (
        subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0
    )


def wrap(folder: Path) -> list[str]:
    """The words before a command that make it ask our name server."""
    own = folder / "resolv.conf"
    own.write_text(f"nameserver {ADDRESS}\n")
    return ["unshare", "-m", "sh", "-c", f'mount --bind {own} /etc/resolv.conf && exec "$@"', "sh"]


class NameServer:
    """Answers questions for IPv4 addresses from ``table``; a context manager.

    A name that is not in the table does not exist; one that stands for ``HANG`` is never
    answered. ``asked`` says when which name was asked for.
    """

    def __init__(self, table: dict[str, str]) -> None:
        self.table = table
        self.asked: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> NameServer:
        self._socket.bind((ADDRESS, 53))
        self._socket.settimeout(0.2)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                question, client = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            answer = self._answer(question)
            if answer:
                self._socket.sendto(answer, client)

    def _answer(self, question: bytes) -> bytes:
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        (kind,) = struct.unpack(">H", question[at + 1 : at + 3])
        asked = question[12 : at + 5]
        name = ".".join(labels)
        self.asked.append((time.monotonic(), name))
        address = self.table.get(name)
        if address == HANG:
            return b""
        found = address is not None and kind == 1
        flags = 0x8180 if address is not None else 0x8183
        header = question[:2] + struct.pack(">HHHHH", flags, 1, int(found), 0, 0)
        if not found:
            return header + asked
        assert address is not None
        return (
            header + asked + struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(address)
        )
