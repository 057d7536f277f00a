"""The way from FFmpeg to an RTSP camera that may not send it on to another address.

FFmpeg follows a redirect (an answer 3xx) to any host, password and all, and no option forbids it.
A question of our own before the dial would prove nothing: whoever answers may answer FFmpeg
otherwise. So FFmpeg dials a port of this machine, and what the camera says passes through here.
Until it is asked to play, each answer is looked at before FFmpeg sees it; after that FFmpeg
follows nothing (ff_rtsp_connect in libavformat/rtsp.c), and bytes only pass.
"""

from __future__ import annotations

import re
import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from streamer.capture.ffmpeg import Tls
from streamer.capture.urls import Endpoint

CHUNK: Final = 1 << 16
"""Most bytes that are passed on at once."""

WINDOW: Final = 8192
"""So many bytes back an answer is looked at again: FFmpeg cuts a line off after 4096."""

FAREWELL_S: Final = 1.0
"""Longest wait for FFmpeg's farewell to go through to the camera, seconds."""

# More than FFmpeg takes for one: it drops every \r, skips blanks and reads the number by atoi().
# Each match takes a whole word with it, so that the search is never longer than the text.
_REDIRECT: Final = re.compile(
    rb"RTSP/[^ \t\n]*+(?:[ \t][ \t\v\f]*+(?P<status>[+-]|0|3[0-9]{2}|[0-9]{4}))?"
)
# Over UDP, where FFmpeg is to send its reports, if not to the camera.
_SOURCE: Final = re.compile(rb"source=/?[ \t]*+(?P<address>[^;,\n]*+)(?P<whole>[;,\n])?")


class Watch:
    """Looks at what a camera says before it plays. Pure."""

    def __init__(self, allows: Callable[[str], bool] | None) -> None:
        """``allows``: whether it may have reports sent to this address; None: over TCP none are."""
        self._allows = allows
        self._text = b""

    def sends_on(self, data: bytes) -> bool:
        """Whether the camera, with these bytes after all before, names another address to go to."""
        self._text = self._text[-WINDOW:] + data.replace(b"\r", b"")
        if any(found["status"] for found in _REDIRECT.finditer(self._text)):
            return True
        if self._allows is None:
            return False
        return not all(
            self._allows(found["address"].strip().decode("latin-1"))
            for found in _SOURCE.finditer(self._text)
            if found["whole"]
        )


class Relay:
    """One connection to a camera, and a port of this machine that leads to it, once.

    A thread passes the bytes on; :meth:`close` ends it.
    """

    def __init__(
        self,
        camera: Endpoint,
        *,
        name: str,
        tls: Tls | None,
        allows: Callable[[str], bool] | None,
        timeout_s: float,
    ) -> None:
        """Connect to ``camera``, a numeric address, within ``timeout_s`` seconds (twice for TLS).

        ``name`` is what its certificate must say where ``tls`` is given; ``allows`` as of
        :class:`Watch`. Raises ``OSError``, of which ``ssl.SSLError`` is one.
        """
        self.sent_on = False
        """Whether the camera named another address; it was hung up on then."""
        self._watch = Watch(allows)
        self._camera = _connected(camera, name, tls, timeout_s)
        loopback = "::1" if ip_address(camera.host).version == 6 else "127.0.0.1"
        try:
            family = socket.AF_INET6 if ":" in loopback else socket.AF_INET
            self._listener = socket.create_server((loopback, 0), family=family, backlog=1)
        except OSError:
            self._camera.close()
            raise
        self.endpoint = Endpoint(loopback, self._listener.getsockname()[1])
        """Where FFmpeg is to dial."""
        self._ffmpeg: socket.socket | None = None
        self._playing = False
        self._begins = True  # a request of FFmpeg, with what it says next
        self._thread = threading.Thread(target=self._run, name=f"relay:{camera}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, once what FFmpeg said last has gone through, within about two seconds."""
        _shut(self._listener)  # if FFmpeg never came
        self._thread.join(FAREWELL_S)
        for each in (self._camera, self._ffmpeg):
            if each is not None:
                _shut(each)
        self._thread.join(FAREWELL_S)

    def _run(self) -> None:
        try:
            with self._camera:
                with self._listener:
                    self._ffmpeg, _ = self._listener.accept()
                with self._ffmpeg:
                    self._pass_on(self._ffmpeg)
        except OSError:
            pass  # either end broke off, and the other hears of it by this

    def _pass_on(self, ffmpeg: socket.socket) -> None:
        for end in (ffmpeg, self._camera):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with selectors.DefaultSelector() as ready:
            ready.register(ffmpeg, selectors.EVENT_READ, self._to_camera)
            ready.register(self._camera, selectors.EVENT_READ, self._to_ffmpeg)
            while all(key.data(ffmpeg) for key, _ in ready.select()):
                pass

    def _to_camera(self, ffmpeg: socket.socket) -> bool:
        """Pass on what FFmpeg asks; False at its end."""
        data = ffmpeg.recv(CHUNK)
        self._playing = self._playing or (self._begins and data.startswith(b"PLAY "))
        self._begins = data.endswith(b"\r\n\r\n")
        self._camera.sendall(data)
        return bool(data)

    def _to_ffmpeg(self, ffmpeg: socket.socket) -> bool:
        """Pass on what the camera says; False at its end, and where FFmpeg is not to hear it."""
        data = _what_came(self._camera)
        if data is None:
            return True
        if not self._playing and self._watch.sends_on(data):
            self.sent_on = True
            return False
        ffmpeg.sendall(data)
        return bool(data)


def _connected(camera: Endpoint, name: str, tls: Tls | None, timeout_s: float) -> socket.socket:
    """A connection without a timeout. Raises ``OSError``."""
    connection = socket.create_connection((camera.host, camera.port), timeout=timeout_s)
    try:
        if tls is not None:
            connection = tls.context().wrap_socket(connection, server_hostname=name)
        connection.settimeout(None)
    except BaseException:
        connection.close()
        raise
    return connection


def _what_came(camera: socket.socket) -> bytes | None:
    """Some bytes, none at the end; None where what came was for TLS itself."""
    if not isinstance(camera, ssl.SSLSocket):
        return camera.recv(CHUNK)
    camera.setblocking(False)  # else it would wait for more, and FFmpeg is to be heard too
    try:
        data = camera.recv(CHUNK)
        while more := camera.pending():  # it has been read already: no selector sees it
            data += camera.recv(more)
        return data
    except ssl.SSLWantReadError:
        return None
    finally:
        camera.setblocking(True)


def _shut(end: socket.socket) -> None:
    """Have whoever waits for ``end`` see its end. It stays for its owner to close."""
    try:
        socket.socket.shutdown(end, socket.SHUT_RDWR)  # not that of TLS, which is not for threads
    except OSError:
        pass  # it has ended already
