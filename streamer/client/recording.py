"""Events in a file: lines of JSON with the instants at which they were heard.

The first line is ``{"schema": "streamer.recording/1", "wall_at": ...}``; each other one has ``at``
(seconds since the recording began) with ``topic`` and ``event`` as published, or with ``notice``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from streamer.client.notices import Notice
from streamer.client.wire import Event, read_event, topic_of
from streamer.errors import StreamerError
from streamer.events import FacesEvent

MAX_LINE: Final = 4 * 2**20
"""Bytes of one line: an event may have 1 MB."""

LONGEST_S: Final = 366 * 86400.0
"""Seconds that a recording may span; who publishes it again waits as long as it says."""


class BadRecording(StreamerError, ValueError):
    """A file that is no recording, or a damaged one; the text is one sentence with the line."""


class Entry(NamedTuple):
    """An event that was heard ``at_s`` seconds after the beginning, by field and as published.

    Only pictures are bytes, not base64: each format has its own way to write them.
    """

    at_s: float
    topic: bytes
    fields: dict[str, Any]


class _Head(msgspec.Struct):
    schema: Literal["streamer.recording/1"]
    wall_at: float


class _Line(msgspec.Struct, omit_defaults=True):
    at: Annotated[float, Meta(ge=0)]
    topic: str | None = None
    event: Event | None = None
    notice: Notice | None = None


class Recorder:
    """Writes what is heard to ``path``, ``max_bytes`` at most. Use it as a context.

    ``began_at`` is the instant from which events are timed (any clock, seconds). ``ended`` says in
    a sentence why nothing is written any more, once there is no room or the file cannot be
    written; empty before. Raises ``FileExistsError`` rather than overwrite, and ``OSError`` where
    it cannot begin the file; later it raises nothing.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, began_at: float, wall_clock: Callable[[], float]
    ) -> None:
        """Begin the file."""
        self.ended = ""
        self._path = path
        self._began_at = began_at
        self._left = max_bytes
        self._size = 0  # of what is whole
        self._file: BinaryIO = path.open("xb", buffering=0)
        self._append(msgspec.json.encode(_Head("streamer.recording/1", round(wall_clock(), 3))))

    def take(self, heard: Event | Notice, at: float) -> bool:
        """Write an event or notice heard at the instant ``at``; False when the file has ended."""
        at_s = round(max(0.0, at - self._began_at), 6)
        if isinstance(heard, Event):
            line = _Line(at_s, topic=topic_of(heard).decode(), event=heard)
        else:
            line = _Line(at_s, notice=heard)
        return self._write(msgspec.json.encode(line))

    def _write(self, line: bytes) -> bool:
        if self.ended:
            return False  # what comes after what was left out is not written either
        if len(line) + 1 > self._left:
            self.ended = f"{self._path} is as long as it may be (see --record-mb)"
            return False
        try:
            self._append(line)
        except OSError as error:
            self.ended = f"{self._path} cannot be written ({error.strerror})"
            with suppress(OSError):
                self._file.truncate(self._size)  # no half a line
            return False
        return True

    def _append(self, line: bytes) -> None:
        rest = memoryview(line + b"\n")
        length = len(rest)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._size += length
        self._left -= length

    def __enter__(self) -> Recorder:
        """The recorder itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        with suppress(OSError):  # some network file systems tell only now; nothing can be done
            self._file.close()


def entries(path: Path) -> Iterator[Entry]:
    """The events of a recording, in order; notices are passed over.

    Raises :class:`BadRecording` at the line that is damaged and where ``path`` is no regular file
    (it is read more than once, and a pipe may never begin), and ``OSError``.
    """
    if not S_ISREG(path.stat().st_mode):
        raise BadRecording(f"{path} is no regular file; give what `streamer watch --record` wrote")
    with path.open("rb") as file:
        _read(_HEAD, file.readline(MAX_LINE), path, 1)
        number, last = 1, 0.0
        while text := file.readline(MAX_LINE):
            number += 1
            if not text.endswith(b"\n"):
                raise BadRecording(f"{path}: line {number} is cut off; all before it is good")
            line = _read(_LINE, text, path, number)
            if line.at < last:
                raise BadRecording(f"{path}: line {number} is before the one before it; damaged")
            if line.at > LONGEST_S:
                raise BadRecording(
                    f"{path}: line {number} is more than {LONGEST_S / 86400:g} days after the "
                    "beginning; damaged"
                )
            last = line.at
            if line.topic is None:
                continue
            body = bytes(line.event)
            try:
                event = read_event(line.topic.encode(), body)
            except ValueError as error:
                raise BadRecording(f"{path}: line {number} is {error}") from None
            # Once more and whole: what it says in fields of a later streamer goes on too.
            fields = _read(_ANY, body, path, number)
            if isinstance(event, FacesEvent) and event.pictures is not msgspec.UNSET:
                for picture, known in zip(fields["pictures"], event.pictures, strict=True):
                    picture["jpeg"] = known.jpeg
            yield Entry(line.at, line.topic.encode(), fields)


class _Read(msgspec.Struct):
    at: Annotated[float, Meta(ge=0)]
    topic: str | None = None
    event: msgspec.Raw = msgspec.Raw(b"null")


_HEAD: Final = msgspec.json.Decoder(_Head)
_LINE: Final = msgspec.json.Decoder(_Read)
_ANY: Final = msgspec.json.Decoder()


def _read(decoder: msgspec.json.Decoder[Any], text: bytes, path: Path, number: int) -> Any:
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        what = "no recording of `streamer watch --record`" if number == 1 else "damaged"
        raise BadRecording(f"{path}: line {number} is {what}; give another file") from None
