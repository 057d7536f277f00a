"""What a camera asks of who wants to see, and where a secret may be found that should be none."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

USER = "Nachtigall5"
SECRET = "p@ss:/w%rd-Kanarienvogel7"
"""The canary: it needs percent-encoding, and its last word is nowhere by chance. The user's name is
one too: who knows it has half the login."""


def encoded_secret() -> str:
    """The secret as it must stand in a URL."""
    return quote(SECRET, safe="")


def _base64_cores(text: str) -> set[str]:
    """What base64 of ``text`` looks like inside anything longer, at each of three alignments."""
    cores = set()
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + text.encode()).decode().rstrip("=")
        cores.add(coded[4 if shift else 0 : len(coded) - 2])
    return cores


SHAPES = (
    {"Kanarienvogel", encoded_secret(), SECRET, "Nachtigall"}
    | _base64_cores("Kanarienvogel7")
    | _base64_cores(USER)
)


def secrets_in(text: str) -> list[str]:
    """Where the password or the user's name shows, raw or encoded: three places at most.

    Each with what is near it in ``text``.
    """
    found = []
    for shape in SHAPES:
        for match in re.finditer(re.escape(shape), text):
            found.append(text[max(0, match.start() - 60) : match.end() + 20])
    return found[:3]


@dataclass
class Auth:
    """How a camera checks. ``refusals`` counts down: so many good answers are refused anyway."""

    kind: Literal["basic", "digest", "sha256"] = "digest"
    user: str = USER
    password: str = SECRET
    refusals: int = 0
    tries: int = 0
    """Requests that brought an Authorization header."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def challenges(self) -> list[str]:
        """The headers that ask for a password."""
        if self.kind == "basic":
            return ['WWW-Authenticate: Basic realm="cam"']
        algorithm = ", algorithm=SHA-256" if self.kind == "sha256" else ""
        return [f'WWW-Authenticate: Digest realm="cam", nonce="7d2a"{algorithm}']

    def accepts(self, method: str, header: str) -> bool:
        """Whether ``header``, the Authorization of a request, is good."""
        if not header:
            return False
        with self._lock:
            self.tries += 1
            if not self._right(method, header):
                return False
            self.refusals -= 1
            return self.refusals < 0

    def _right(self, method: str, header: str) -> bool:
        if self.kind == "basic":
            pair = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            return header == f"Basic {pair}"
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', header))
        digest = hashlib.sha256 if self.kind == "sha256" else hashlib.md5

        def hashed(text: str) -> str:
            return digest(text.encode()).hexdigest()

        who = hashed(f"{self.user}:cam:{self.password}")
        what = hashed(f"{method}:{fields.get('uri', '')}")
        return fields.get("response") == hashed(f"{who}:7d2a:{what}")
