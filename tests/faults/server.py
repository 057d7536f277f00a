"""A camera of our own: an RTSP server on 127.0.0.1 that misbehaves on command, at any moment.

It speaks what FFmpeg asks of a camera: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN and video in RTP
interleaved over TCP. What it does is a :class:`Script`, which may be changed while it plays.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from tests.faults.clips import CLOCK, Clip, moving, rtp, sender_report
from tests.faults.passwords import Auth

Act = Literal["play", "stall", "keepalive", "drip", "fin", "reset"]

_SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
AUDIO = "m=audio 0 RTP/AVP 0\r\na=control:track1\r\n"


def other_codec(name: str) -> str:
    """Media lines of a codec that the clip is not."""
    return f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 {name}/{CLOCK}\r\na=control:track1\r\n"


@dataclass(frozen=True)
class Script:
    """How the camera behaves; the defaults are a healthy one."""

    clip: Clip = field(default_factory=moving)
    act: Act = "play"
    """What it does once PLAY is answered: plays, or goes silent (stall), sends only RTCP
    (keepalive), a byte each 0.3 s inside a frame (drip), ends (fin) or breaks (reset)."""
    after: int = 0
    """So many pictures of each connection are played before ``act`` counts."""
    silent_from: str = ""
    """The first thing it does not answer: ``accept``, a method's name, or nothing."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """Method to status line, such as ``{"DESCRIBE": "404 Not Found"}``."""
    auth: Auth | None = None
    media: str | None = None
    """Other media lines than the clip's own."""
    sets: bool = True
    """False: no parameter sets, in the SDP nor in the stream."""
    sets_in_sdp: bool = True
    redirect: str = ""
    sessions: int | None = None
    session_s: float = 60.0
    """Most sessions at once, and how long one that was not torn down is kept, seconds."""
    speed: float = 1.0
    ticks: Callable[[int], int] | None = None
    """The RTP timestamp of the n-th picture; None: the clip's own."""
    damage: float = 0.0
    """Chance of a flipped byte in each RTP payload, 0 to 1."""


class Request(NamedTuple):
    """One request of a client, when it came (monotonic seconds), and on which connection."""

    at: float
    connection: int
    method: str
    head: str


class ScriptedCamera:
    """Serves a script on a free port of ``host``; a context manager.

    What happened is read from ``requests``, ``dials`` (when connections came), ``pictures``
    (sent, in all), ``last_picture_at`` and ``longest_send_s``.
    """

    def __init__(self, script: Script | None = None, *, host: str = "127.0.0.1") -> None:
        self.script = script or Script()
        self.host = host
        self.requests: list[Request] = []
        self.dials: list[float] = []
        self.pictures = 0
        self.last_picture_at = 0.0
        self.longest_send_s = 0.0
        self._sessions: dict[str, float] = {}  # session to the instant its connection was seen
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[int, _Connection] = {}
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.port = 0

    def __enter__(self) -> ScriptedCamera:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.down()
        for thread in self._threads:
            thread.join(10)

    def url(self, user: str = "", password: str = "", *, host: str = "", port: int = 0) -> str:
        """The address; user and password must be percent-encoded already."""
        login = f"{user}:{password}@" if user else ""
        return f"rtsp://{login}{host or self.host}:{port or self.port}/live"

    def change(self, **fields: Any) -> None:
        """Behave otherwise from now on, on running connections too."""
        self.script = replace(self.script, **fields)

    def heal(self) -> None:
        """Be a healthy camera again, and be there."""
        self.script = Script()
        self._sessions.clear()
        if self._listener is None:
            self.up()

    def cut(self, how: Literal["fin", "reset"] = "reset") -> None:
        """End every connection, and go on listening."""
        with self._lock:
            for connection in self._connections.values():
                connection.cut = how

    def down(self) -> None:
        """Stop listening and break every connection: new ones are refused."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept
            listener.close()
        self.cut("reset")

    def up(self) -> None:
        """Listen, at the same port as before where there was one."""
        self._listener = socket.create_server((self.host, self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        thread = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def said(self, method: str, since: float = 0.0) -> list[Request]:
        """Requests of one method that came after ``since``."""
        return [r for r in list(self.requests) if r.method == method and r.at >= since]

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                number = len(self.dials)
                self.dials.append(time.monotonic())
                self._connections[number] = connection = _Connection(self, peer, number)
            thread = threading.Thread(target=self._serve, args=(connection, number), daemon=True)
            self._threads = [t for t in self._threads if t.is_alive()] + [thread]
            thread.start()

    def _serve(self, connection: _Connection, number: int) -> None:
        try:
            connection.run()
        except OSError:
            pass  # the client has gone
        finally:
            connection.close()
            with self._lock:
                del self._connections[number]

    def admit(self, session: str) -> bool:
        """Whether there is room for one more session."""
        script, now = self.script, time.monotonic()
        with self._lock:
            fresh = {k: at for k, at in self._sessions.items() if now - at < script.session_s}
            self._sessions = fresh
            full = script.sessions is not None and len(fresh) >= script.sessions
            if full and session not in fresh:
                return False
            self._sessions[session] = now
        return True

    def leave(self, session: str) -> None:
        """A session was torn down by its client."""
        with self._lock:
            self._sessions.pop(session, None)

    @property
    def over(self) -> bool:
        """Whether the server ends."""
        return self._over.is_set()


class _Connection:
    """One client: its requests are answered and its pictures sent by one thread."""

    def __init__(self, camera: ScriptedCamera, peer: socket.socket, number: int) -> None:
        self.cut = ""
        self._camera = camera
        self._peer = peer
        self._number = number
        self._session = f"{random.getrandbits(48):012x}"
        self._pending = b""
        self._playing = False
        self._silent = False
        self._count = 0  # pictures sent
        self._sequence = random.getrandbits(15)

    def run(self) -> None:
        count, clip = 0, self._camera.script.clip
        due_at = time.monotonic()
        acted = False  # the one-time part of an act is done
        while self._listen(max(0.0, due_at - time.monotonic())):
            script, now = self._camera.script, time.monotonic()
            if not self._playing or now < due_at:
                due_at = max(due_at, now) if self._playing else now + 0.05
                continue
            if self._session:
                self._camera.admit(self._session)
            if self._count < script.after or script.act == "play":
                if script.clip is not clip:
                    clip, count = script.clip, 0
                self._send(script, clip, count)
                count += 1
                due_at = max(due_at + 1 / (clip.fps * script.speed), now - 0.5)
            elif script.act in ("fin", "reset"):
                self.cut = script.act
            elif script.act == "stall":
                due_at = now + 0.05
            elif script.act in ("keepalive", "drip"):
                due_at = now + 0.3
                if script.act == "drip" and not acted:
                    self._peer.sendall(b"$\x00\x10\x00")  # begins 4096 bytes that never end
                self._peer.sendall(b"\x00" if script.act == "drip" else sender_report())
                acted = True

    def _listen(self, wait_s: float) -> bool:
        """Answer what the client asks for ``wait_s`` seconds; False when the connection ends."""
        until = time.monotonic() + wait_s
        while True:
            script = self._camera.script
            if self._camera.over or self.cut:
                return False
            left_s = min(0.05, max(0.0, until - time.monotonic()))
            if self._is_frozen(script):
                time.sleep(left_s)
            elif select.select([self._peer], [], [], left_s)[0]:
                data = self._peer.recv(4096)
                if not data:
                    return False
                self._pending += data
                self._read_requests()
            if time.monotonic() >= until:
                return True

    def _is_frozen(self, script: Script) -> bool:
        stalls = self._playing and script.act == "stall"
        return (
            stalls or script.silent_from == "accept" or (self._silent and bool(script.silent_from))
        )

    def _read_requests(self) -> None:
        while self._pending:
            if self._pending[:1] == b"$":  # RTCP of the client
                if len(self._pending) < 4:
                    return
                (length,) = struct.unpack(">H", self._pending[2:4])
                if len(self._pending) < 4 + length:
                    return
                self._pending = self._pending[4 + length :]
                continue
            head, end, rest = self._pending.partition(b"\r\n\r\n")
            if not end:
                return
            self._pending = rest
            self._answer(head.decode(errors="replace"))

    def _answer(self, head: str) -> None:
        camera, script = self._camera, self._camera.script
        first, *lines = head.split("\r\n")
        method, url = first.split(" ")[:2]
        headers = {
            key.strip().lower(): value.strip()
            for key, _, value in (line.partition(":") for line in lines)
        }
        camera.requests.append(Request(time.monotonic(), self._number, method, head))
        if method == script.silent_from:
            self._silent = True
            return
        status, extra, body = script.answers.get(method, "200 OK"), [], ""
        checked = script.auth if method != "OPTIONS" and status == "200 OK" else None
        if checked and not checked.accepts(method, headers.get("authorization", "")):
            status, extra = "401 Unauthorized", checked.challenges()
        if status == "200 OK" and method == "DESCRIBE":
            if script.redirect:
                status, extra = "302 Found", [f"Location: {script.redirect}"]
            else:
                sets = script.sets and script.sets_in_sdp
                media = script.clip.sdp(sets=sets) if script.media is None else script.media
                body = _SDP + media
                extra = ["Content-Type: application/sdp", f"Content-Base: {url}/"]
        elif status == "200 OK" and method == "SETUP":
            if camera.admit(self._session):
                extra = ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
            else:
                status = "453 Not Enough Bandwidth"
        elif method == "OPTIONS":
            extra = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"]
        if method in ("SETUP", "PLAY", "TEARDOWN", "GET_PARAMETER"):
            extra.append(f"Session: {self._session};timeout=60")
        lines = [f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', '0')}", *extra]
        lines += [f"Content-Length: {len(body)}", "", body]
        self._peer.sendall("\r\n".join(lines).encode())
        if method == "PLAY" and status == "200 OK":
            self._playing = True
        elif method == "TEARDOWN":
            camera.leave(self._session)
            self._session = ""
            self.cut = "fin"

    def _send(self, script: Script, clip: Clip, count: int) -> None:
        payloads = clip.payloads(count, sets=script.sets)
        if script.damage:
            payloads = [_damaged(p) if random.random() < script.damage else p for p in payloads]
        ticks = script.ticks(count) if script.ticks else int(count * CLOCK / clip.fps)
        packets = rtp(payloads, self._sequence, ticks)
        self._sequence += len(packets)
        began_at = time.monotonic()
        self._peer.settimeout(30.0)
        self._peer.sendall(b"".join(packets))
        camera = self._camera
        camera.last_picture_at = time.monotonic()
        camera.longest_send_s = max(camera.longest_send_s, camera.last_picture_at - began_at)
        camera.pictures += 1
        self._count += 1

    def close(self) -> None:
        if self.cut == "reset":
            self._peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._peer.close()


def _damaged(payload: bytes) -> bytes:
    at = random.randrange(min(3, len(payload) - 1), len(payload))
    return payload[:at] + bytes([payload[at] ^ (1 << random.randrange(8))]) + payload[at + 1 :]
