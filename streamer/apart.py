"""Runs one function of streamer in a process of its own, so that what breaks there is a sentence.

Loading a library built for another processor ends the process, a GPU driver may hang for ever, and
memory is only told honestly by a process that did nothing else. The child is started by ``exec``,
told what to do through its standard input, and answers in JSON: nothing it says is ever unpickled.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from streamer.errors import (
    DetectionFailed,
    DeviceError,
    MissingDependency,
    ModelError,
    StreamerError,
)
from streamer.types import redact

_BOOT: Final = (
    "import json, sys\n"
    "orders = json.loads(sys.stdin.buffer.readline())\n"
    "sys.path[:] = orders['path']\n"
    "from streamer.apart import _answer\n"
    "_answer(orders)\n"
)
_MAX_WORDS: Final = 300
_RAISED: Final[dict[str, type[StreamerError]]] = {
    kind.__name__: kind for kind in (DetectionFailed, DeviceError, MissingDependency, ModelError)
}
"""What a child may raise in its parent; anything else arrives as :class:`Crashed`."""


class Crashed(StreamerError):
    """The process ended without an answer, or in no time at all; the text says how."""


def run_apart(
    function: Callable[..., Any], payload: bytes = b"", *, timeout_s: float, **keywords: Any
) -> Any:
    """What ``function(payload, **keywords)`` gives when it runs in a process of its own.

    ``function`` is one at the top of a module; ``keywords`` and what it returns are plain JSON
    values; ``payload`` is any bytes. What it prints is not shown. Ends within ``timeout_s``
    seconds. Raises the DetectionFailed, DeviceError, MissingDependency or ModelError that the
    function raised, and :class:`Crashed` when it ended in any other way.
    """
    orders = {
        "path": sys.path,
        "module": function.__module__,
        "function": function.__qualname__,
        "keywords": keywords,
    }
    try:
        done = subprocess.run(  # noqa: S603 - this Python, and a program written above
            [sys.executable, "-P", "-c", _BOOT],  # -P: no file of the working folder is imported
            input=json.dumps(orders).encode() + b"\n" + payload,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Crashed(f"it did not end within {timeout_s:g} s and was stopped") from None
    except OSError as error:
        raise Crashed(f"no process could be started ({error.strerror})") from None
    try:
        reply = json.loads(done.stdout)
    except ValueError:
        raise Crashed(_ending(done.returncode, done.stderr)) from None
    if "raised" in reply:
        raise _RAISED[reply["raised"]](reply["text"])
    return reply["value"]


def _answer(orders: dict[str, Any]) -> None:
    """In the child: do what was ordered and leave at once, before anything can crash at exit."""
    reply_to = os.dup(1)
    os.dup2(2, 1)  # libraries print what they like; the answer has a way of its own
    function = getattr(import_module(orders["module"]), orders["function"])
    payload = sys.stdin.buffer.read()
    reply: dict[str, Any]
    try:
        reply = {"value": function(payload, **orders["keywords"])}
    except tuple(_RAISED.values()) as error:
        kind = next(name for name, known in _RAISED.items() if isinstance(error, known))
        reply = {"raised": kind, "text": str(error)}
    with os.fdopen(reply_to, "wb") as out:
        out.write(json.dumps(reply).encode())
    os._exit(0)


def _ending(code: int, stderr: bytes) -> str:
    """In words, how a process ended that gave no answer."""
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = {
            "SIGILL": ": it was built for a newer processor than this one",
            "SIGKILL": ": memory may have run out",
        }
        return f"its process was ended by {name}{hint.get(name, '')}"
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    last = redact(" ".join(lines[-1].split())) if lines else "it said nothing"
    shown = "".join(character for character in last if character.isprintable())
    return f"its process ended with {code}: {shown[:_MAX_WORDS]}"
