"""Why a camera was lost, in words. Pure.

FFmpeg's errors go by class and number: their text holds the password.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping
from typing import Final

from streamer.errors import LossReason, SourceLost

_BY_CLASS: Final[Mapping[str, tuple[LossReason, str]]] = {
    "HTTPUnauthorizedError": ("auth", "refused the user name or password; check both"),
    "HTTPForbiddenError": ("auth", "refused the user name or password; check both"),
    "HTTPNotFoundError": ("not_found", "has no such stream; check the path"),
    "FileNotFoundError": ("not_found", "has no such stream; check the path"),
    "ConnectionRefusedError": (
        "refused", "refused the connection; check the port and that the camera is up",
    ),
    "ConnectionError": ("reset", "broke the connection; the camera may be restarting"),
    "ExitError": ("stall", "stopped sending; check the camera and the network"),
    "TimeoutError": ("stall", "stopped sending; check the camera and the network"),
    "EOFError": ("eof", "ended the stream; the camera may be restarting"),
    "InvalidDataError": ("error", "sent what is no video stream; check the path"),
}  # fmt: skip

_OF_FILES: Final[Mapping[str, tuple[LossReason, str]]] = {
    "FileNotFoundError": ("not_found", "is not there; check the path"),
    "PermissionError": ("error", "cannot be read; check its permissions"),
    "InvalidDataError": ("error", "is no picture and no video that can be read; name another file"),
}
"""What is otherwise said of files, which send nothing."""

_OUT_OF_REACH: Final = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EIO)


def why(error: Exception, *, live: bool = True) -> tuple[LossReason, str]:
    """Reason and words for an error of PyAV; the words go on from the camera's name.

    An error of input and output means a host out of reach, which is so only at opening. ``live``
    is false of a file.
    """
    known = _BY_CLASS if live else {**_BY_CLASS, **_OF_FILES}
    for cls in type(error).__mro__:
        if cls.__name__ in known:
            return known[cls.__name__]
    if getattr(error, "errno", None) in _OUT_OF_REACH:
        return "unreachable", "cannot be reached; check the network"
    return "error", f"failed with {type(error).__name__}; try the address in a video player"


def why_quiet(pictures: int, quiet_s: float, leaves_out: bool) -> tuple[LossReason, str]:
    """Reason and words when no picture came for ``quiet_s`` seconds, after so many.

    ``leaves_out``: packets came, and were left out because what came before was too much.
    """
    words = f"gave no picture for {quiet_s:.1f} s; check the camera and the network"
    if leaves_out:
        words = (
            f"sends more than this machine decodes, and no key picture for {quiet_s:.1f} s to go "
            "on with; choose a smaller stream of it, fewer cameras or a GPU"
        )
    return "stall" if pictures else "no_frames", words


def why_silent(limit_s: float) -> tuple[LossReason, str]:
    """The same for a camera that did not answer the dial within ``limit_s`` seconds."""
    return "open_timeout", f"did not answer within {limit_s:.3g} s; check that it is up"


def why_untrusted() -> tuple[LossReason, str]:
    """The same for a dial by TLS that failed; FFmpeg does not say whether by the certificate."""
    return "unreachable", "cannot be reached or its certificate is not trusted; check both"


def too_large(name: str, width: int, height: int, max_pixels: int) -> SourceLost:
    """``name`` (fit to print) sends pictures of a size that is more than ``max_pixels`` pixels."""
    return SourceLost(
        "too_large",
        f"{name} sends {width}x{height} pictures and {max_pixels} pixels are allowed; choose a "
        "smaller stream",
    )


def unsupported(name: str, codec: str, wanted: Collection[str]) -> SourceLost:
    """``name`` (fit to print) sends ``codec``, which is none of ``wanted``."""
    return SourceLost(
        "unsupported_codec",
        f"{name} sends the codec {codec}; set the camera to one of {', '.join(sorted(wanted))}",
    )
