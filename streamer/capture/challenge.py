"""What a camera that says 401 asks for, where FFmpeg cannot tell.

FFmpeg knows Basic and Digest with MD5 only. Asked for another digest it sends no password at all
(measured with FFmpeg 8.1), so that every password looks wrong. One request of our own, without
any password and within a second, finds out. It is sent after a 401 only, which waits a minute
anyway, and cannot count as a wrong password.
"""

from __future__ import annotations

import re
import socket
import time
from typing import Final
from urllib.parse import urlsplit

from streamer.capture.urls import Endpoint, endpoint_of

ASK_S: Final = 1.0
"""Longest time the request may take after the name is looked up, seconds."""

MOST_BYTES: Final = 16 << 10
"""No more of the answer is read."""

_CAN: Final = frozenset({"MD5", "MD5-sess"})  # in these letters only
_DIGEST = re.compile(r"^WWW-Authenticate: *Digest\b([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_ALGORITHM = re.compile(r"\balgorithm *= *\"?([A-Za-z0-9-]{1,24})", re.IGNORECASE)


def login_words(target: str) -> str:
    """Why the camera at ``target`` said 401 and what to do, without any part of the address.

    ``target`` is a canonical URL, with its password. Never raises; ends within about
    :data:`ASK_S` seconds.
    """
    parts = urlsplit(target)
    if "@" not in parts.netloc:
        return "asks for a user name and a password; write them into the address"
    asked = None
    if parts.scheme == "rtsp":
        endpoint = endpoint_of(target)
        asked = unknown_digest(_ask(endpoint, parts._replace(netloc=str(endpoint)).geturl()))
    if asked is not None:
        return (
            f"asks for a digest login with {asked}, which FFmpeg cannot do; set the camera to MD5 "
            "or basic login"
        )
    return "refused the user name or password; check both, and whether it has too many viewers"


def unknown_digest(answer: bytes) -> str | None:
    """The algorithm that a 401 asks for when FFmpeg does not know it, else None.

    Of several digest challenges FFmpeg takes the last (libavformat/httpauth.c).
    """
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    challenges = _DIGEST.findall(head)
    algorithm = _ALGORITHM.search(challenges[-1]) if challenges else None
    if algorithm is None or algorithm[1] in _CAN:
        return None
    return algorithm[1]


def _ask(endpoint: Endpoint, url: str) -> bytes:
    """The head of the answer to a DESCRIBE without a password; what there is of it in time."""
    answer = b""
    request = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    until_at = time.monotonic() + ASK_S
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout=ASK_S) as connection:
            connection.sendall(request.encode())
            while b"\r\n\r\n" not in answer and len(answer) < MOST_BYTES:
                left_s = until_at - time.monotonic()
                if left_s <= 0:
                    break
                connection.settimeout(left_s)
                data = connection.recv(4096)
                if not data:
                    break
                answer += data
    except (OSError, UnicodeError):
        pass  # the words for a wrong password will do
    return answer
