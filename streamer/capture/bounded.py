"""How a camera is dialled that may have some addresses only: one that was added over HTTP."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from streamer.capture.ffmpeg import Tls
from streamer.capture.reach import Reach
from streamer.capture.reasons import why, why_silent, why_untrusted
from streamer.capture.relay import Relay
from streamer.capture.urls import Endpoint, canonical_url, endpoint_of, relayed_url, scheme_of
from streamer.errors import SourceLost
from streamer.types import SourceUrl


class BoundedWay:
    """The way to one camera; nothing is dialled yet."""

    def __init__(self, url: SourceUrl, reach: Reach, tls: Tls, *, udp: bool) -> None:
        """To the camera at ``url`` (rtsp, rtsps, http or https), within ``reach``.

        ``udp``: its pictures are asked for over UDP.
        """
        self._url = url
        self._reach = reach
        self._tls = tls
        self._udp = udp
        self._endpoint = endpoint_of(url.reveal())
        self._scheme = scheme_of(url.reveal())

    @contextmanager
    def dialled(self, addresses: Sequence[str], timeout_s: float) -> Iterator[tuple[str, str]]:
        """The URL of the camera, and the one that FFmpeg is to dial while this lasts.

        ``addresses``: all that its name stands for now. A connection of our own may take
        ``timeout_s`` seconds, twice that with TLS. Raises SourceLost: at the beginning when the
        camera has an address that is not allowed or cannot be reached, at the end when it sent
        FFmpeg on to another.
        """
        url = self._url.reveal()
        if not addresses or self._reach.denied(addresses):
            raise self._lost("has an address that a camera added over HTTP may not have")
        # A certificate names the camera by its name: over HTTPS that alone says who it is.
        camera = canonical_url(url, None if self._scheme == "https" else addresses[0])
        lost = None
        if self._scheme in ("http", "https"):
            try:
                yield camera, camera  # ffmpeg.live_options lets it not be sent on
            except SourceLost as error:
                lost = error
            if lost is not None and lost.reason in ("unreachable", "error"):
                # FFmpeg does not say which: a redirect is to it an error of input, a playlist none.
                raise SourceLost(
                    lost.reason,
                    f"{lost}; or it sends streamer on by a redirect or a playlist, which a camera "
                    "added over HTTP may not; see docs/http.md",
                )
            if lost is not None:
                raise lost
            return
        with closing(self._relay(addresses[0], timeout_s)) as relay:
            try:
                yield camera, relayed_url(url, relay.endpoint)
            except SourceLost as error:
                lost = error
        if relay.sent_on:
            raise self._lost(
                "sends streamer on to another address, which a camera added over HTTP may not"
            )
        if lost is not None:
            raise lost

    def _relay(self, address: str, timeout_s: float) -> Relay:
        try:
            return Relay(
                Endpoint(address, self._endpoint.port),
                name=self._endpoint.host,
                tls=self._tls if self._scheme == "rtsps" else None,
                allows=self._reach.allows if self._udp else None,
                timeout_s=timeout_s,
            )
        except (ssl.SSLError, FileNotFoundError):  # the latter of the file of authorities
            reason, words = why_untrusted()
        except TimeoutError:
            reason, words = why_silent(timeout_s)
        except OSError as error:
            reason, words = why(error)
        raise SourceLost(reason, f"{self._endpoint} {words}")

    def _lost(self, words: str) -> SourceLost:
        return SourceLost("unreachable", f"{self._endpoint} {words}; see docs/http.md")
