"""What FFmpeg is told when it opens a source. Pure: it makes options and opens nothing.

FFmpeg ignores a misspelt option in silence, so the tests see these act on real streams; all but
``timeout`` and ``protocol_whitelist``, which back up bounds and defaults that hold anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import ssl

LIVE_CODECS: Final = frozenset({"h264", "hevc", "mjpeg", "vp8", "vp9", "av1"})
"""What a camera may send. FFmpeg has hundreds of decoders, most of them seldom looked at."""

PROTOCOLS: Final[Mapping[str, str]] = {
    "rtsp": "rtsp,rtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,tls,tcp",
    "http": "http,https,tls,tcp,crypto",
    "https": "http,https,tls,tcp,crypto",
}
"""For each live scheme, the protocols that it and whatever it points to may use."""

_DECODERS: Final = "h264,hevc,mjpeg,vp8,libvpx,vp9,libvpx-vp9,av1,libdav1d"
_HTTP_FORMATS: Final = "mpjpeg,mjpeg,jpeg_pipe,mpegts,hls,flv,mov,matroska,webm,h264,hevc,ivf"


@dataclass(frozen=True, slots=True)
class Tls:
    """Whether the certificate of an rtsps or https camera must be good, and by whose word.

    ``ca_file`` is a PEM file of authorities, or the camera's own certificate; None means the
    system's authorities. Without ``verify`` anybody in between can read the password.
    """

    verify: bool = True
    ca_file: Path | None = None

    def options(self) -> dict[str, str]:
        """The two as FFmpeg's options; its own default is to verify nothing."""
        if not self.verify:
            return {"tls_verify": "0"}
        import ssl  # here and below, since most cameras do without and it takes a while to load

        # The authorities FFmpeg's build looks for are where Debian has none.
        authorities = self.ca_file or ssl.get_default_verify_paths().cafile
        return {"tls_verify": "1"} | ({"ca_file": str(authorities)} if authorities else {})

    def context(self) -> ssl.SSLContext:
        """The same for a connection of our own. Raises ``OSError``."""
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_file is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(self.ca_file)
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the camera's own will do
        return context


VERIFIED: Final = Tls()
"""Certificates must be good by the word of the system's authorities."""


class Patience:
    """A timeout that is read anew whenever one is set: what is left until a deadline.

    PyAV takes one timeout for every read of a source. Given this in its place, a read after a
    long silence waits for the rest of that silence only. While ``busy`` says that there are
    pictures to be worked off, a read may take as long as ever: that time is not the camera's.
    """

    REARM_S: Final = 0.25
    """A timeout that was set may be longer than it should be by so much, seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        until_at: float,
        most_s: float = math.inf,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Until the instant ``until_at`` by ``clock``, and at most ``most_s`` seconds."""
        self._clock = clock
        self._most_s = most_s
        self._busy = busy
        self._busy_s = 0.0
        self.until_at = until_at

    def __float__(self) -> float:
        """Seconds left, above 0: FFmpeg would take less as no timeout."""
        left_s = self.until_at - self._clock()
        if self._busy():
            left_s = max(left_s, self._busy_s)
        return float(max(0.001, min(self._most_s, left_s)))

    def renew(self, seconds: float) -> None:
        """From now on ``seconds`` more; and so long a read may take while there is work."""
        self.until_at, self._busy_s = self._clock() + seconds, seconds

    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self._clock() >= self.until_at

    def is_near(self, armed_s: float) -> bool:
        """Whether a timeout set to ``armed_s`` seconds still will do: never short, hardly long."""
        return float(self) - 0.01 <= armed_s <= float(self) + self.REARM_S


def file_options(max_pixels: int) -> dict[str, str]:
    """Options for a video file: it may not point to anything but other files."""
    return {"max_pixels": str(max_pixels), "protocol_whitelist": "file"}


def live_options(
    scheme: str,
    *,
    transport: Literal["tcp", "udp"],
    socket_timeout_s: float,
    max_pixels: int,
    tls: Tls,
    wander: bool = True,
) -> dict[str, str]:
    """Options for a camera: ``scheme`` is one of :data:`PROTOCOLS`.

    Without ``wander`` an HTTP camera may not send us on to another address, neither by a redirect
    nor by a playlist. Of an RTSP camera FFmpeg knows no such option; see relay.py.
    """
    options = {
        "max_pixels": str(max_pixels),
        "protocol_whitelist": PROTOCOLS[scheme],
        "codec_whitelist": _DECODERS,
        **(tls.options() if scheme != "rtsp" else {}),  # http may be sent on to https
    }
    if scheme in ("http", "https"):
        if not wander:
            options["max_redirects"] = "0"
        formats = _HTTP_FORMATS if wander else _HTTP_FORMATS.replace("hls,", "")
        return options | {"format_whitelist": formats}
    return options | {
        "rtsp_transport": transport,
        "allowed_media_types": "video",
        "analyzeduration": "100000",  # microseconds; the default costs a second at opening
        # Of the socket, microseconds: it also bounds the farewell at closing.
        "timeout": str(round(1e6 * socket_timeout_s)),
    }
