"""An RTSP server in a few lines that misbehaves on request.

It speaks just enough of RTSP over TCP for FFmpeg: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, and
video in interleaved RTP. ``Script`` says where it goes wrong; it may be changed while it plays.
"""

from __future__ import annotations

import base64
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

AUDIO = "m=audio 0 RTP/AVP 0\r\na=control:track1\r\n"


def steady(count: int) -> int:
    """The RTP time of a picture, 90 kHz: 25 a second, whatever the pace of sending."""
    return count * 3600


@dataclass
class Script:
    """What the server does; the defaults play ``units`` for ever, at ``fps``."""

    units: list[bytes] = field(default_factory=list)
    status: str = "200 OK"  # the answer to DESCRIBE ...
    refusals: int | None = None  # ... to the first so many of them; None: to all
    challenge: str = 'Basic realm="x"'  # what a 401 asks for
    redirect: str = ""  # where a 3xx sends to; "{port}" is this server's
    silent: bool = False  # accepts and never answers
    silent_to: str = ""  # never answers this method
    audio_only: bool = False
    parameter_sets: bool = True  # False: no SPS and PPS anywhere, so nothing can be decoded
    codec: str = "H264"
    slow_s: float = 0.0  # before each answer
    wait_s: float = 0.0  # before the first picture
    stop_after: int | None = None  # RTP stops after so many pictures ...
    then: str = "close"  # ... and then: close, reset, stall, deaf, drip, rtcp, rubbish
    fps: float = 50.0
    stamp: Callable[[int], int] = steady  # RTP time of the n-th picture


class ScriptedRtsp:
    """Serves one script on a port of 127.0.0.1 (a free one for 0); a context manager."""

    def __init__(self, script: Script, *, port: int = 0) -> None:
        self.script = script
        self.requests: list[str] = []
        self.sent = 0  # pictures, on all connections
        self.connections = 0
        self.open = 0  # connections now
        self.gone = threading.Event()  # set when a connection has ended
        self._described = 0
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def methods(self) -> list[str]:
        """The methods that were asked for, in order."""
        return [request.split(" ")[0] for request in self.requests]

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
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        self.open += 1
        try:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Conversation(self, connection).hold()
        except OSError:
            pass
        finally:
            self.open -= 1
            self.gone.set()

    def wait(self, seconds: float) -> bool:
        """Wait; True when the server is being closed."""
        return self._over.wait(max(0.0, seconds))

    def answer(self, head: str) -> bytes:
        """The answer to one request; nothing at all where the script is silent."""
        method, url = head.split(" ")[:2]
        self.requests.append(head)
        script = self.script
        if script.silent or method == script.silent_to:
            return b""
        sequence = re.search(r"CSeq: *(\d+)", head, re.IGNORECASE)
        status, extra, body = "200 OK", "", ""
        if method == "DESCRIBE":
            self._described += 1
            if script.refusals is None or self._described <= script.refusals:
                status = script.status
            if status.startswith("401"):
                extra = "".join(
                    f"WWW-Authenticate: {line}\r\n" for line in script.challenge.split("\n")
                )
            elif status.startswith("3"):
                extra = f"Location: {script.redirect.format(port=self.port)}\r\n"
            elif status.startswith("200"):
                body = self._sdp()
                extra = f"Content-Type: application/sdp\r\nContent-Base: {url}/\r\n"
        elif method == "SETUP":
            extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "PLAY":
            extra = "Session: 1\r\n"
        elif method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        return (
            f"RTSP/1.0 {status}\r\nCSeq: {sequence[1] if sequence else 0}\r\n{extra}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def _sdp(self) -> str:
        head = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
        if self.script.audio_only:
            return head + AUDIO
        codec = self.script.codec
        video = f"{head}m=video 0 RTP/AVP 96\r\na=rtpmap:96 {codec}/90000\r\na=control:track1\r\n"
        if not self.script.parameter_sets or codec != "H264":
            return video
        sets = [n for n in nal_units(self.script.units[0]) if n[0] & 31 in (7, 8)]
        sprop = ",".join(base64.b64encode(n).decode() for n in sets)
        return f"{video}a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\n"


class _Conversation:
    """One connection: requests are answered while pictures are sent."""

    def __init__(self, server: ScriptedRtsp, connection: socket.socket) -> None:
        self.server, self.connection = server, connection
        self.pending = b""

    def hold(self) -> None:
        while not self._listen(0.2):
            pass

    def _listen(self, seconds: float) -> bool:
        """Answer what comes within ``seconds``; True at the end of the connection."""
        if self.server.wait(0):
            return True
        self.connection.settimeout(max(seconds, 0.001))
        try:
            data = self.connection.recv(4096)
        except TimeoutError:
            return False
        if not data:
            return True
        self.pending += data
        self.connection.settimeout(5)
        for head in self._heads():
            self.server.wait(self.server.script.slow_s)
            answer = self.server.answer(head)
            self.connection.sendall(answer)
            if answer and head.startswith("PLAY"):
                return self._play()
            if answer and head.startswith("TEARDOWN"):
                return True
        return False

    def _heads(self) -> Iterator[str]:
        """The requests received so far, without the receiver's reports between them."""
        while self.pending:
            if self.pending[:1] == b"$":
                size = 4 + int.from_bytes(self.pending[2:4])
                if len(self.pending) < max(4, size):
                    return
                self.pending = self.pending[size:]
            elif b"\r\n\r\n" in self.pending:
                head, _, self.pending = self.pending.partition(b"\r\n\r\n")
                yield head.decode("latin-1")
            else:
                return

    def _pause(self, until_at: float) -> bool:
        """Listen until then; True at the end of the connection."""
        while (left_s := until_at - time.monotonic()) > 0:
            if self._listen(min(left_s, 0.2)):
                return True
        return self.server.wait(0)

    def _play(self) -> bool:
        server, sequence, count = self.server, 0, 0
        if self._pause(time.monotonic() + server.script.wait_s):
            return True
        begun_at = time.monotonic()
        while (script := server.script).stop_after is None or count < script.stop_after:
            unit = script.units[count % len(script.units)]
            sent = packets(unit, sequence, script.stamp(count), sets=script.parameter_sets)
            sequence += len(sent)
            self.connection.sendall(b"".join(sent))
            count += 1
            server.sent += 1
            if self._pause(begun_at + count / script.fps):
                return True
        return self._end(server.script.then, sequence, count)

    def _end(self, then: str, sequence: int, count: int) -> bool:
        if then == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif then == "stall":
            while not self._listen(0.2):
                pass
        elif then == "deaf":  # not even read from
            while not self.server.wait(0.2):
                pass
        elif then == "drip":
            self.connection.sendall(b"$\x00\x04\x00")  # begins 1024 bytes that never end
            while not self._pause(time.monotonic() + 0.2):
                self.connection.sendall(b"\x00")
        elif then == "rtcp":
            report = struct.pack(">BBHIQIII", 0x80, 200, 6, 7, 1 << 32, 0, 0, 0)
            while not self._pause(time.monotonic() + 0.2):
                self.connection.sendall(struct.pack(">cBH", b"$", 1, len(report)) + report)
        elif then == "rubbish":  # pictures whose reference is missing and whose bits are noise
            unit = b"\x00\x00\x00\x01\x41" + bytes(range(1, 250)) * 4
            while not self._pause(time.monotonic() + 0.02):
                sent = packets(unit, sequence, self.server.script.stamp(count))
                sequence, count = sequence + len(sent), count + 1
                self.connection.sendall(b"".join(sent))
        return True


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
