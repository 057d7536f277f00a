"""Encodes pictures as H.264 and pushes them to an RTSP server. A door to av, for sending streams.

One thread opens, writes and closes. FFmpeg does not give up when a server stops reading: it waits
for its timeout with each of the packets of a picture and then says that all is well. So a picture
that took too long is a loss here, and who asks meanwhile is to look at the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Final, Literal

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamer.errors import LossReason, SourceLost
from streamer.types import Image, SourceUrl

_TIME_BASE: Final = Fraction(1, 90_000)

_WHY: Final[Mapping[str, tuple[LossReason, str]]] = {
    "HTTPUnauthorizedError": ("auth", "refused the user name or password; check both"),
    "HTTPForbiddenError": ("auth", "does not let this user send; check its rights"),
    "HTTPClientError": ("error", "does not take the stream; does another send to this path?"),
    "HTTPNotFoundError": ("not_found", "has no such path to send to; check its configuration"),
    "ConnectionRefusedError": (
        "refused", "refused the connection; check the port and that it is up",
    ),
    "ConnectionError": ("reset", "broke the connection; it may be restarting"),
    "BrokenPipeError": ("reset", "broke the connection; it may be restarting"),
    "ExitError": ("stall", "takes nothing any more; check that it is not overloaded"),
    "TimeoutError": ("stall", "takes nothing any more; check that it is not overloaded"),
    "EOFError": ("eof", "ended the session; it may be restarting"),
}  # fmt: skip


class RtspPush:
    """One stream that is being sent. Made, written to and closed by one thread.

    ``url`` is rtsp or rtsps; ``width`` and ``height`` are even; ``fps`` is the rate expected,
    which sets how far key frames are apart (two seconds), and ``kbps`` the most bits a second,
    thousands. The server has ``timeout_s`` for each answer and each packet. Raises
    :class:`streamer.errors.SourceLost` where the server is not there or does not take it.
    """

    def __init__(
        self,
        url: SourceUrl,
        *,
        width: int,
        height: int,
        fps: float,
        kbps: int,
        transport: Literal["tcp", "udp"] = "tcp",
        timeout_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Dial, announce and begin."""
        self.size = width, height
        self._timeout_s = timeout_s
        self._clock = clock
        self._first_at: float | None = None
        self._last_pts = -1
        lost: SourceLost | None = None
        try:
            self._container: OutputContainer = av.open(
                url.reveal(), "w", format="rtsp",
                options={"rtsp_transport": transport, "timeout": str(int(timeout_s * 1e6))},
            )  # fmt: skip
            # No thread of its own, no picture held back, one slice: what is sent can be shown.
            stream = self._container.add_stream(
                "libx264",
                rate=max(1, round(fps)),
                options={
                    "preset": "ultrafast",
                    "tune": "zerolatency",
                    "g": str(max(2, round(2 * fps))),
                    "maxrate": f"{kbps}k",
                    "bufsize": f"{kbps // 4}k",
                    "x264-params": "slices=1:sliced-threads=0",
                },
            )
            assert isinstance(stream, VideoStream)  # noqa: S101 - for the type checker
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuv420p"
            stream.bit_rate = kbps * 1000
            stream.codec_context.time_base = _TIME_BASE
            stream.codec_context.thread_count = 1
            self._stream = stream
            self._container.start_encoding()
        except (FFmpegError, OSError) as error:
            lost = _lost(error)
        if lost is not None:  # outside the except: no link to the error, whose text has the URL
            raise lost

    def write(self, image: Image, at: float) -> None:
        """Encode and send ``image`` (uint8 BGR of the size asked for), of the instant ``at`` (s).

        Raises :class:`streamer.errors.SourceLost` when the server is gone or takes nothing.
        """
        if self._first_at is None:
            self._first_at = at
        frame = VideoFrame.from_ndarray(image, "bgr24")
        self._last_pts = max(self._last_pts + 1, round((at - self._first_at) / _TIME_BASE))
        frame.pts, frame.time_base = self._last_pts, _TIME_BASE
        lost: SourceLost | None = None
        packets = self._stream.encode(frame)
        begun_at = self._clock()
        try:
            self._container.mux(packets)
        except (FFmpegError, OSError) as error:
            lost = _lost(error)
        if lost is None and self._clock() - begun_at >= self._timeout_s:
            lost = SourceLost(*_WHY["TimeoutError"])  # what was sent since is torn
        if lost is not None:
            raise lost

    def close(self) -> None:
        """Say good-bye where somebody still listens; it takes a few ``timeout_s`` at most."""
        with suppress(FFmpegError, OSError):
            self._container.close()


def _lost(error: Exception) -> SourceLost:
    """Why it ended, by class: the text of PyAV's errors holds the URL with its password."""
    for cls in type(error).__mro__:
        if cls.__name__ in _WHY:
            return SourceLost(*_WHY[cls.__name__])
    return SourceLost("error", f"failed with {type(error).__name__}; does it take RTSP streams?")
