"""A wire with faults: a TCP proxy that freezes, cuts, corrupts and delays on command."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from typing import Literal

Mode = Literal["pass", "freeze", "loris", "corrupt", "refuse"]


class FaultProxy:
    """Carries connections to ``127.0.0.1:port``; a context manager.

    ``mode`` says what happens to bytes of the camera: they pass, wait (freeze, as when a cable is
    pulled: nothing comes and nobody says goodbye), drip (loris: one byte each 0.3 s), or get a
    flipped bit in every ``corrupt_each`` bytes. refuse breaks new connections. ``delay_s`` holds
    every piece back, ``rate`` is the most bytes a second (None: no limit). All may be changed at
    any time; ``dials`` says when connections came.
    """

    def __init__(self, port: int) -> None:
        self.mode: Mode = "pass"
        self.delay_s = 0.0
        self.rate: float | None = None
        self.corrupt_each = 2000
        self.dials: list[float] = []
        self._target = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> FaultProxy:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut("reset")
        for thread in self._threads:
            thread.join(10)

    @property
    def open(self) -> int:
        """Connections carried now."""
        with self._lock:
            return len(self._pairs)

    def cut(self, how: Literal["fin", "reset"] = "fin") -> None:
        """End all connections, with a goodbye (fin) or without (reset)."""
        with self._lock:
            pairs = list(self._pairs)
        for client, camera in pairs:
            if how == "reset":
                _reset(client)
            else:
                _shut(client)
            _shut(camera)

    def flap(self, up_s: float, down_s: float, times: int) -> None:
        """Connections live ``up_s`` seconds and none for ``down_s``, so many times; it blocks."""
        for _ in range(times):
            self.mode = "pass"
            if self._over.wait(up_s):
                return
            self.mode = "refuse"
            self.cut("reset")
            if self._over.wait(down_s):
                return
        self.mode = "pass"

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.dials.append(time.monotonic())
            if self.mode == "refuse":
                _reset(client)
                client.close()
                continue
            try:
                camera = socket.create_connection(("127.0.0.1", self._target), 2.0)
            except OSError:
                _reset(client)
                client.close()
                continue
            pair = (client, camera)
            with self._lock:
                self._pairs.add(pair)
            self._start(self._carry, pair)

    def _carry(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, camera = pair
        for end in pair:
            end.settimeout(0.1)
        up = threading.Thread(target=self._pump, args=(client, camera, False), daemon=True)
        up.start()
        self._pump(camera, client, True)
        up.join()
        with self._lock:
            self._pairs.discard(pair)
        client.close()
        camera.close()

    def _pump(self, source: socket.socket, sink: socket.socket, faulty: bool) -> None:
        while not self._over.is_set():
            try:
                data = source.recv(1 if faulty and self.mode == "loris" else 4096)
            except TimeoutError:
                continue
            except OSError:
                break
            if not data:
                break
            while self.mode == "freeze" and not self._over.is_set() and source.fileno() >= 0:
                self._over.wait(0.02)
            if faulty:
                data = self._mistreat(data)
            try:
                _send_all(sink, data)
            except OSError:
                break
        _shut(sink)
        _shut(source)

    def _mistreat(self, data: bytes) -> bytes:
        if self.mode == "loris":
            self._over.wait(0.3)
        elif self.mode == "corrupt" and random.random() < len(data) / self.corrupt_each:
            at = random.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]
        if self.delay_s:
            self._over.wait(self.delay_s)
        if self.rate:
            self._over.wait(len(data) / self.rate)
        return data


def _send_all(sink: socket.socket, data: bytes) -> None:
    """Like sendall, but a full buffer is waited for, however long."""
    while data:
        try:
            data = data[sink.send(data) :]
        except TimeoutError:
            continue


def _reset(end: socket.socket) -> None:
    """Make closing break the connection, and wake who reads from it."""
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()
    except OSError:
        pass


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class FullBacklog:
    """A port where a dial is neither taken nor refused: its SYN is dropped, as by a black hole.

    Linux drops the SYN of a connection when the listener's queue is full. A context manager.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> FullBacklog:
        listener = socket.create_server(("127.0.0.1", self._port), backlog=0)
        self._sockets.append(listener)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self._port))
            self._sockets.append(filler)
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._sockets:
            held.close()
