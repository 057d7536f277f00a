"""An RTSP server in a few lines that misbehaves on request.

It speaks just enough of RTSP over TCP for FFmpeg: OPTIONS, DESCRIBE, SETUP, PLAY, and H.264 in
interleaved RTP. ``Script`` says where it goes wrong.
"""

from __future__ import annotations

import base64
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

AUDIO = "m=audio 0 RTP/AVP 0\r\na=control:track1\r\n"


@dataclass
class Script:
    """What the server does; the defaults play ``units`` for ever, at ``fps``."""

    units: list[bytes] = field(default_factory=list)
    status: str = "200 OK"  # the answer to DESCRIBE
    silent: bool = False  # accepts and never answers
    audio_only: bool = False
    parameter_sets: bool = True  # False: no SPS and PPS anywhere, so nothing can be decoded
    stop_after: int | None = None  # RTP stops after so many pictures ...
    then: str = "close"  # ... and then: close, reset, stall, drip
    fps: float = 50.0


class ScriptedRtsp:
    """Serves one script on a free port of 127.0.0.1; a context manager."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[str] = []
        self.sent = 0  # pictures, on all connections
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> ScriptedRtsp:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes accept
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._over.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(0.2)
        with connection:
            pending = b""
            while not self._over.is_set():
                try:
                    data = connection.recv(4096)
                except TimeoutError:
                    continue
                except OSError:
                    return
                if not data:
                    return
                pending += data
                while b"\r\n\r\n" in pending and not self.script.silent:
                    head, _, pending = pending.partition(b"\r\n\r\n")
                    if self._answer(connection, head.decode()):
                        try:
                            self._play(connection)
                        except OSError:
                            pass
                        return

    def _answer(self, connection: socket.socket, head: str) -> bool:
        """Answer one request; True when it was PLAY."""
        method, url = head.split(" ")[:2]
        self.requests.append(head)
        sequence = re.search(r"CSeq: *(\d+)", head, re.IGNORECASE)
        status, extra, body = "200 OK", "", ""
        if method == "DESCRIBE":
            status = self.script.status
            if status.startswith("401"):
                extra = 'WWW-Authenticate: Basic realm="x"\r\n'
            else:
                body = self._sdp()
                extra = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "PLAY":
            extra = "Session: 1\r\n"
        elif method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        connection.sendall(
            f"RTSP/1.0 {status}\r\nCSeq: {sequence[1] if sequence else 0}\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        return method == "PLAY"

    def _sdp(self) -> str:
        head = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
        if self.script.audio_only:
            return head + AUDIO
        if not self.script.parameter_sets:
            return f"{head}m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
        sets = [n for n in nal_units(self.script.units[0]) if n[0] & 31 in (7, 8)]
        sprop = ",".join(base64.b64encode(n).decode() for n in sets)
        return (
            f"{head}m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track1\r\n"
            f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\n"
        )

    def _play(self, connection: socket.socket) -> None:
        sequence, count = 0, 0
        begun_at = time.monotonic()
        limit = self.script.stop_after
        while not self._over.is_set() and (limit is None or count < limit):
            unit = self.script.units[count % len(self.script.units)]
            sent = packets(unit, sequence, count * 3600, sets=self.script.parameter_sets)
            sequence += len(sent)
            connection.sendall(b"".join(sent))
            count += 1
            self.sent += 1
            self._over.wait(max(0.0, begun_at + count / self.script.fps - time.monotonic()))
        if self.script.then == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self.script.then == "stall":
            self._over.wait()
        elif self.script.then == "drip":
            connection.sendall(b"$\x00\x04\x00")  # begins 1024 bytes that never end
            while not self._over.wait(0.2):
                connection.sendall(b"\x00")


def nal_units(unit: bytes) -> list[bytes]:
    """The NAL units of one Annex B access unit."""
    return [n.rstrip(b"\x00") for n in re.split(b"\x00\x00\x01", unit) if n.strip(b"\x00")]


def packets(unit: bytes, sequence: int, timestamp: int, *, sets: bool = True) -> list[bytes]:
    """Interleaved RTP packets of one access unit, with FU-A fragments where a NAL is long."""
    nals = [n for n in nal_units(unit) if n[0] & 31 in ((1, 5, 7, 8) if sets else (1, 5))]
    payloads: list[bytes] = []
    for nal in nals:
        if len(nal) <= 1300:
            payloads.append(nal)
            continue
        head, body = nal[0], nal[1:]
        parts = [body[at : at + 1300] for at in range(0, len(body), 1300)]
        for n, part in enumerate(parts):
            flags = (0x80 if n == 0 else 0) | (0x40 if n == len(parts) - 1 else 0)
            payloads.append(bytes([head & 0xE0 | 28, flags | head & 31]) + part)
    out = []
    for n, payload in enumerate(payloads):
        marker = 0x80 if n == len(payloads) - 1 else 0
        rtp = struct.pack(
            ">BBHII", 0x80, marker | 96, (sequence + n) & 0xFFFF, timestamp & 0xFFFFFFFF, 7
        )
        out.append(struct.pack(">cBH", b"$", 0, 12 + len(payload)) + rtp + payload)
    return out
