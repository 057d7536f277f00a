"""Keys of CURVE, which encrypts what ZeroMQ carries and says who may listen.

A pair is two files in ZeroMQ's own form of certificate: ``NAME.key`` may be given away,
``NAME.key_secret`` (mode 0600) never leaves the machine that uses it. A key is 40 characters of
Z85. No message here repeats what a file holds.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

import zmq

from streamer.errors import StreamerError

MAX_FILE_BYTES: Final = 1 << 20
"""Bytes of a file of keys; 16,000 keys are fewer."""

MAX_KEYS: Final = 10_000
"""Keys that may be allowed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_KEY = re.compile(rb"[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40}")
_FIELD = re.compile(
    rb"""^[ \t]*(public|secret)-key[ \t]*=[ \t]*["']?([^"'\s]{1,200})""", re.MULTILINE
)

_SHOWN_FILE: Final = """\
# ZeroMQ CURVE public certificate, made by streamer. It may be given away.
metadata
curve
    public-key = "{public}"
"""
_HIDDEN_FILE: Final = """\
# ZeroMQ CURVE **secret** certificate, made by streamer. Give it to nobody.
metadata
curve
    public-key = "{public}"
    secret-key = "{secret}"
"""


class BadKey(StreamerError, ValueError):
    """A file of keys that cannot be read or written, or a key that is none."""


class Pair(NamedTuple):
    """A public key and its secret, each 40 bytes of Z85. It prints itself without the secret."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """The public key alone."""
        return f"Pair(public={self.public!r}, secret=***)"


def new_keys(name: str, folder: Path) -> tuple[Path, Path]:
    """Make a pair; its two files in ``folder``: ``NAME.key`` and ``NAME.key_secret``.

    ``folder`` is made where it is missing, for this user only. Raises :class:`BadKey` for a name
    that cannot be a file's, and where one of the files exists: a key is never overwritten.
    """
    if not _NAME.fullmatch(name):
        raise BadKey("a name is 1 to 63 letters, digits, dots, - and _, and begins with a letter")
    public, secret = (key.decode() for key in zmq.curve_keypair())
    shown, hidden = folder / f"{name}.key", folder / f"{name}.key_secret"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (shown, hidden):
            if path.exists():
                raise BadKey(f"{path} exists; choose another name, or remove it first")
        _write(hidden, _HIDDEN_FILE.format(public=public, secret=secret), 0o600)
        _write(shown, _SHOWN_FILE.format(public=public), 0o644)
    except OSError as error:
        raise BadKey(
            f"{folder}: keys cannot be written there ({error.strerror}); choose another folder"
        ) from None
    return shown, hidden


def _write(path: Path, text: str, mode: int) -> None:
    """Write a new file that never had another mode."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        os.fchmod(number, mode)  # whatever the umask
        file.write(text)


def read_public(source: str | Path) -> bytes:
    """The public key in the file ``source``, or ``source`` itself where it is a key.

    Raises :class:`BadKey`.
    """
    if isinstance(source, str) and _KEY.fullmatch(source.encode()):
        return source.encode()
    return _fields(Path(source)).get(b"public") or _missing(source, "public")


def read_pair(path: str | Path) -> Pair:
    """The keys in the file ``path``, ``NAME.key_secret``. Raises :class:`BadKey`."""
    found = _fields(Path(path))
    secret = found.get(b"secret") or _missing(path, "secret")
    public = zmq.curve_public(secret)
    if found.get(b"public", public) != public:
        raise BadKey(f"{path}: its public key is not that of its secret key; make a new pair")
    return Pair(public, secret)


def read_allowed(path: Path) -> dict[bytes, str]:
    """The public keys that ``path`` allows, each with the name it goes by.

    ``path`` is a folder of ``*.key`` files, one such file, or a text with a key and perhaps a
    name in each line (``# `` begins a comment). Raises :class:`BadKey`.
    """
    if path.is_dir():
        files = sorted(path.glob("*.key"))[: MAX_KEYS + 1]
        allowed = {read_public(file): file.stem for file in files}
    else:
        text = _read(path)
        fields = dict(_FIELD.findall(text))
        allowed = {fields[b"public"]: path.stem} if b"public" in fields else _lines(path, text)
    if len(allowed) > MAX_KEYS:
        raise BadKey(f"{path}: allows too many; {MAX_KEYS} keys are the most")
    for key in allowed:
        if not _KEY.fullmatch(key):
            _missing(path, "public")
    return allowed


def _lines(path: Path, text: bytes) -> dict[bytes, str]:
    allowed: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(None, 1)
        if not words or words[0] == b"#":
            continue
        if not _KEY.fullmatch(words[0]):
            raise BadKey(
                f"{path}, line {number}: is no key; write the 40 characters that "
                "`streamer keys show` prints, and perhaps a name"
            )
        allowed[words[0]] = words[1].decode(errors="replace") if len(words) > 1 else ""
    return allowed


def _fields(path: Path) -> dict[bytes, bytes]:
    found = dict(_FIELD.findall(_read(path)))
    for kind, key in found.items():
        if not _KEY.fullmatch(key):
            _missing(path, kind.decode())
    return found


def _missing(source: str | Path, kind: str) -> bytes:
    remedy = {
        "public": "name a NAME.key that `streamer keys new` wrote, or give the key itself",
        "secret": "name a NAME.key_secret that `streamer keys new` wrote",
    }
    raise BadKey(f"{source}: has no {kind} key; {remedy[kind]}")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadKey(
            f"{path}: cannot be read ({error.strerror}); make keys with `streamer keys new NAME`"
        ) from None
    if len(text) > MAX_FILE_BYTES:
        raise BadKey(f"{path}: is too long for a file of keys; name another")
    return text
