"""Reads what a person may write as a source. Pure: it opens nothing and looks nothing up.

What FFmpeg is handed is rebuilt here from checked parts, so that none of its own tricks
(``rtsp:host/x``, ``concat:``, ``subfile,,``, option prefixes) can ride on a camera's address.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MAX_URL: Final = 2048
"""Longest source text in characters; no camera needs more."""

NETWORK_PORTS: Final[Mapping[str, int]] = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
"""Schemes that name a host, with the port used when the URL gives none."""

KNOWN: Final = "rtsp://, rtsps://, http://, https://, file:, webcam:N, synthetic: and demo:"

MAX_SIDE: Final = 8192
"""Longest side of a synthetic picture, pixels."""

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_.])?")
_DEVICE = re.compile(r"/dev/(video[0-9]{1,3}|v4l/.+)")
_SIZE = re.compile(r"(?P<width>[0-9]{1,5})x(?P<height>[0-9]{1,5})")
_KEEP: Final = "%!$&'()*+,;=:@/?~[]"  # ASCII that stays as written when a URL is rebuilt


class BadUrl(ValueError):
    """A source that cannot be used; ``str()`` is a sentence that quotes no secret of it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The other end of a network URL, fit to print: ``host:port``, IPv6 in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        """``host:port``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """What ``synthetic:?size=WxH&fps=F&frames=N&live=0|1`` asks for."""

    width: int = 1280
    height: int = 720
    fps: float = 25.0
    frames: int | None = None
    live: bool = True


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What ``demo:?delay=S&fps=F`` asks for: seconds before the first frame, frames a second."""

    delay_s: float = 0.0
    fps: float = 25.0


def scheme_of(text: str) -> str:
    """The scheme in lower case; ``file`` for a bare path and ``webcam`` for a video device."""
    match = _SCHEME.match(text)
    if match is None:
        return "webcam" if _DEVICE.fullmatch(text) else "file"
    return match["scheme"].lower()


def check_url(text: str) -> str | None:
    """None when ``text`` can be used as a source, else one sentence that says what to write.

    The sentence never quotes user names, passwords, paths or query values. No input raises.
    """
    try:
        _check_text(text)
        scheme = scheme_of(text)
        if scheme in NETWORK_PORTS:
            canonical_url(text)
        elif scheme == "file":
            file_path(text, Path())
        elif scheme == "webcam":
            webcam_device(text)
        elif scheme == "synthetic":
            synthetic_options(text)
        elif scheme == "demo":
            demo_options(text)
        else:
            # The word itself is not quoted: it may be a user name, or half a password.
            meant = get_close_matches(scheme, NETWORK_PORTS, n=1)
            raise BadUrl(
                f"the scheme is not known; write {f'{meant[0]}://, or ' if meant else ''}"
                f"one of {KNOWN}, "
                "or put ./ before a file name that holds a colon"
            )
    except BadUrl as problem:
        return str(problem)
    return None


def canonical_url(text: str, address: str | None = None) -> str:
    """A network URL rebuilt from its parts: scheme in lower case, port explicit, no fragment.

    User name and password stay exactly as they were written, percent signs included; ``address``
    takes the place of the host where it is given. Raises :class:`BadUrl`.
    """
    scheme, userinfo, endpoint, rest = _network_parts(text)
    if address is not None:
        endpoint = Endpoint(address, endpoint.port)
    return f"{scheme}://{userinfo}{endpoint}{quote(rest, safe=_KEEP)}"


def relayed_url(text: str, relay: Endpoint) -> str:
    """``text`` for whoever asks ``relay`` in the place of the camera, without TLS.

    Raises :class:`BadUrl`.
    """
    _, userinfo, _, rest = _network_parts(text)
    return f"rtsp://{userinfo}{relay}{quote(rest, safe=_KEEP)}"


def endpoint_of(text: str) -> Endpoint:
    """Host and port of a network URL, for messages and look-ups. Raises :class:`BadUrl`."""
    return _network_parts(text)[2]


def file_path(text: str, base_folder: Path) -> Path:
    """The file named by a bare path, ``file:path`` or ``file:///path``; absolute.

    A relative path is relative to ``base_folder``. Only ``file://`` URLs are percent-decoded.
    Raises :class:`BadUrl`.
    """
    name = text
    if scheme_of(text) == "file" and (match := _SCHEME.match(text)):
        name = text[match.end() :]
        if name.startswith("//"):
            host, slash, path = name[2:].partition("/")
            if host not in ("", "localhost") or not slash:
                raise BadUrl("a file URL has no host; write file:///folder/clip.mp4 or just a path")
            name = unquote("/" + path)
            _check_text(name)
    if not name:
        raise BadUrl("the file has no name; write a path such as clips/door.mp4")
    return (base_folder / name).absolute()


def webcam_device(text: str) -> int | str:
    """The number of ``webcam:N``, or the path of a ``/dev/video…`` or ``/dev/v4l/…`` device.

    Raises :class:`BadUrl`.
    """
    if _DEVICE.fullmatch(text):
        if ".." in text:
            raise BadUrl("a device path must not climb; write /dev/video0 or webcam:0")
        return text
    number = text.partition(":")[2]
    if not re.fullmatch(r"[0-9]{1,3}", number):
        raise BadUrl("a webcam is webcam:N with N from 0 to 999; write webcam:0 for the first")
    return int(number)


def synthetic_options(text: str) -> SyntheticOptions:
    """The options of a ``synthetic:`` URL. Raises :class:`BadUrl` on unknown or bad ones."""
    given = _options(text, {"size", "fps", "frames", "live"})
    size = _SIZE.fullmatch(given.get("size", "1280x720"))
    width, height = (int(size["width"]), int(size["height"])) if size else (0, 0)
    if not (64 <= width <= MAX_SIDE and 64 <= height <= MAX_SIDE):
        raise BadUrl(f"size is WIDTHxHEIGHT from 64 to {MAX_SIDE}; write size=1280x720")
    live = given.get("live", "1")
    if live not in ("0", "1"):
        raise BadUrl("live is 0 or 1; write live=1")
    frames = given.get("frames")
    if frames is not None and not re.fullmatch(r"[1-9][0-9]{0,8}", frames):
        raise BadUrl("frames is a whole number from 1; write frames=250")
    return SyntheticOptions(
        width=width,
        height=height,
        fps=_number(given.get("fps", "25"), "fps", least=0.1, most=240.0),
        frames=int(frames) if frames else None,
        live=live == "1",
    )


def demo_options(text: str) -> DemoOptions:
    """The options of a ``demo:`` source. Raises :class:`BadUrl` on unknown or absurd ones."""
    options = _options(text, {"delay", "fps"})
    return DemoOptions(
        _number(options.get("delay", "0"), "delay", least=0.0, most=3600.0),
        _number(options.get("fps", "25"), "fps", least=0.1, most=100.0),
    )


def _check_text(text: str) -> None:
    if not text:
        raise BadUrl(f"the source is empty; write one of {KNOWN}, or a path")
    if len(text) > MAX_URL:
        raise BadUrl(f"the source is longer than {MAX_URL} characters; write a shorter one")
    if not text.isprintable():  # control characters, line ends, lone surrogates
        raise BadUrl("the source holds a character that cannot be printed; remove it")
    if text != text.strip():
        raise BadUrl("the source begins or ends with a space; remove it")


def _network_parts(text: str) -> tuple[str, str, Endpoint, str]:
    """(scheme, ``user:password@`` or nothing, endpoint, path and query) of a network URL."""
    _check_text(text)
    scheme = scheme_of(text)
    if not text[len(scheme) :].startswith("://"):
        raise BadUrl(f"the address must begin with two slashes; write {scheme}://host/path")
    if " " in text or "\\" in text:
        raise BadUrl(
            "the URL holds a space or a backslash; write them percent-encoded, %20 and %5C"
        )
    # An @ here would look, after the :// of the rest, like the end of a password.
    encode = "a / ? # or at sign inside a password must be percent-encoded (%2F %3F %23 %40)"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadUrl(
            f"the host or port cannot be read; write {scheme}://host:554/path, and {encode}"
        ) from None
    userinfo, at, _ = parts.netloc.rpartition("@")
    if not at and "@" in text[len(scheme) + 3 :]:
        raise BadUrl(f"an at sign stands after the host; {encode}, and so must one in a path")
    if not host:
        raise BadUrl(f"the host is missing; write {scheme}://host/path")
    if not _is_host(host):
        raise BadUrl(f"the host is not a name or an IP address; write {scheme}://host/path")
    if port == 0:
        raise BadUrl("the port must be from 1 to 65535; leave it out for the usual one")
    rest = parts.path + (f"?{parts.query}" if parts.query else "")
    endpoint = Endpoint(host, port or NETWORK_PORTS[scheme])
    return scheme, quote(userinfo, safe=_KEEP) + at, endpoint, rest


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST_NAME.fullmatch(host) is not None
    try:
        return ipaddress.IPv6Address(host).scope_id is None
    except ValueError:
        return False


def _options(text: str, known: set[str]) -> dict[str, str]:
    """The query options of ``scheme:?a=1&b=2``; each known one at most once."""
    scheme, _, query = text.partition(":")
    usage = (
        f"write {scheme.lower()}: alone, or ? after it and any of {', '.join(sorted(known))} as "
        "name=value, with & between them"
    )
    if not query:
        return {}
    if not query.startswith("?"):
        raise BadUrl(f"options begin with a question mark; {usage}")
    try:
        pairs = parse_qsl(query[1:], strict_parsing=True, max_num_fields=8)
    except ValueError:
        raise BadUrl(f"the options cannot be read; {usage}") from None
    options = dict(pairs)
    if len(options) != len(pairs) or not known.issuperset(options):
        raise BadUrl(f"an option is unknown or given twice; {usage}")
    return options


def _number(text: str, name: str, *, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise BadUrl(f"{name} is a number from {least:g} to {most:g}; write {name}={most / 10:g}")
    return value
