"""What travels through streamer.

Conventions, stated once and kept everywhere:

* Instants end in ``_at`` and are seconds of ``time.monotonic()``; durations end in ``_s``.
* Wall time appears only as ``wall_at`` (Unix seconds, UTC), for people, never to decide anything.
* Boxes are ``x1, y1, x2, y2`` floats in pixels of the *original* frame; landmarks are ``x, y``.
* Left and right are as seen in the picture, not the person's own.
* Images are uint8, BGR, shape (height, width, 3), C-contiguous and not writeable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamer.changes import STATES as STATES
from streamer.changes import Beat as Beat
from streamer.changes import CameraChange as CameraChange
from streamer.changes import Quality as Quality
from streamer.changes import State as State
from streamer.changes import TrackChange as TrackChange

Image: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]

LANDMARKS: Final = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""Order of the five points in every landmarks array, as RetinaFace was trained."""

# Every pattern reads each character a bounded number of times, so a line of any length is quick.
_USERINFO = re.compile(r"(?<!\S)(?P<scheme>[^\s:]*:(?://)?)(?P<hidden>\S*)@(?P<rest>\S*)")
_KEY = r"(?:[?&;][^=&?;\s'\"]+|pass(?:word|wd)?|pwd|token|secret)="
_OPTION = r"(?:(?:fps|delay)=[0-9.]{1,9}|size=[0-9]{1,5}x[0-9]{1,5}|frames=[0-9]{1,9}|live=[01])"
_TEST = (
    rf"(?<![^\s'\"=])(?:demo|synthetic):\?{_OPTION}(?:&{_OPTION}){{0,4}}(?=[,;)]?(?:[\s'\"]|\Z))"
)
"""A source that is no camera, when it is whole: there is nothing to hide in it."""
_VALUES = re.compile(rf"(?P<test>{_TEST})|(?P<key>{_KEY})[^&\s'\"]+", re.IGNORECASE)
_QUERY = re.compile(rf"\?|{_KEY}", re.IGNORECASE)
_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*):(?://)?", re.IGNORECASE)


def redact(text: str) -> str:
    """Return ``text`` with the user name, password and query values of every URL in it hidden.

    It hides too much rather than too little, since a password may hold anything but a line end:
    in each line, everything between the first ``://`` and the last ``@``; in each word with a
    colon before an ``@``, everything between the two (``admin:secret@host``); and the values of
    a query or of a ``password=``. Where a query seems to begin before that ``@``, it may be of
    the query, so the word after it goes too. Two URLs in a line with an ``@`` after the second
    thus become one. Text without ``@`` and ``=`` never changes, nor do the options of ``demo:`` and
    ``synthetic:``, which are sizes and rates. Time grows with the length of
    the text only.
    """
    if "@" in text:
        text = "\n".join(map(_without_userinfo, text.split("\n")))
    return _VALUES.sub(lambda found: found["test"] or f"{found['key']}***", text)


def _without_userinfo(line: str) -> str:
    if ":" not in line:
        return line
    start, end = line.find("://"), line.rfind("@")
    if 0 <= start < end:
        hidden, rest = line[start:end], line[end + 1 :]
        if _QUERY.search(hidden):
            rest = re.sub(r"\A\S*", "***", rest)
        line = f"{line[:start]}://***@{rest}"
    return _USERINFO.sub(_hide_userinfo, line)


def _hide_userinfo(word: re.Match[str]) -> str:
    rest = "***" if _QUERY.search(word["hidden"]) else word["rest"]
    return f"{word['scheme']}***@{rest}"


class SourceUrl:
    """Where pictures come from. It prints itself without its secrets.

    ``str()``, ``repr()`` and formatting hide the password; :meth:`reveal` is the only way to it.
    It is no dataclass on purpose: ``asdict`` and JSON encoders open those, secrets and all.
    Copies and pickles hold the secret, as they must.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Hold ``text`` as it was given; whether it can be used is for others to say."""
        self._text = text

    @property
    def scheme(self) -> str:
        """The scheme in lower case; empty when there is none (a path)."""
        match = _SCHEME.match(self._text)
        return match["scheme"].lower() if match else ""

    def reveal(self) -> str:
        """The text as it was given, password included. Never log what this returns."""
        return self._text

    def __eq__(self, other: object) -> bool:
        """Equal when the texts are, secrets included."""
        return self._text == other._text if isinstance(other, SourceUrl) else NotImplemented

    def __hash__(self) -> int:
        """By the text."""
        return hash(self._text)

    def __str__(self) -> str:
        """The URL with secrets hidden.

        Stricter than :func:`redact`, which must find the URL first: here all the text is one, so
        line ends, spaces and quotes in a password or a query value hide with the rest.
        """
        shown = self._text
        if self.scheme in ("demo", "synthetic"):  # their options are no secrets
            return shown
        userinfo, _, rest = shown.rpartition("@")
        if ":" in userinfo:  # without a colon the @ is of a file's name and no secret
            scheme = _SCHEME.match(shown)
            rest = "***" if _QUERY.search(userinfo) else rest
            shown = f"{scheme[0] if scheme else ''}***@{rest}"
        address, mark, query = shown.partition("?")
        if mark:
            parts = [part.partition("=") for part in query.split("&")]
            values = "&".join(f"{key}=***" if equals else "***" for key, equals, _ in parts)
            shown = f"{address}?{values}"
        return redact(shown)

    def __repr__(self) -> str:
        """The URL with secrets hidden."""
        return f"SourceUrl({str(self)!r})"


class Picture(Protocol):
    """One picture, not converted until somebody asks for its colours."""

    @property
    def width(self) -> int:
        """Width of the original picture, pixels."""

    @property
    def height(self) -> int:
        """Height of the original picture, pixels."""

    def bgr(self, width: int | None = None, height: int | None = None) -> Image:
        """The picture in BGR, shape (height, width, 3), scaled when a size is given.

        Conversion happens here, straight to the size wanted, and only here. It may be called
        from any thread; the array must not be written to.
        """


@dataclass(frozen=True, slots=True)
class NoPicture:
    """Stands for a picture that was let go: it knows its size and nothing else."""

    width: int
    height: int

    def bgr(self, width: int | None = None, height: int | None = None) -> Image:  # noqa: ARG002
        """Raise ``LookupError``: this picture was let go to save memory."""
        raise LookupError("the picture of this frame was let go; ask for a sink with pictures")


@dataclass(frozen=True, slots=True)
class Frame:
    """One captured frame of one camera.

    ``index`` counts the frames of the camera from 0 and never restarts; ``epoch`` grows
    by one at each reconnection. ``captured_at`` is when it came here, seconds of the monotonic
    clock, and ``wall_at`` the same by the wall clock. ``pts`` is the stream's own time in seconds,
    or None where the stream did not say; nothing decides by it but the pacing of files.
    ``left_out`` counts those just before it that came and were not decoded because they were late;
    they have indices.
    """

    camera: str
    epoch: int
    index: int
    captured_at: float
    wall_at: float
    pts: float | None
    picture: Picture
    left_out: int = 0

    def without_picture(self) -> Frame:
        """The same frame with its pixels let go, for queues that need only the numbers."""
        return replace(self, picture=NoPicture(self.picture.width, self.picture.height))


def _require(array: NDArray[np.generic], shape: tuple[int, ...], dtype: type, name: str) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name} must have shape {shape} and dtype {np.dtype(dtype)}, "
            f"not {array.shape} and {array.dtype}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """The faces of one picture, as arrays: best first.

    ``boxes`` (N, 4) float32 pixels; ``scores`` (N,) float32 in 0..1, descending;
    ``landmarks`` (N, 5, 2) float32 pixels in the order of :data:`LANDMARKS`.
    Raises ``ValueError`` when shapes or dtypes differ from these.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def __post_init__(self) -> None:
        """Check shapes and dtypes."""
        n = self.scores.size
        _require(self.boxes, (n, 4), np.float32, "boxes")
        _require(self.scores, (n,), np.float32, "scores")
        _require(self.landmarks, (n, 5, 2), np.float32, "landmarks")

    def __len__(self) -> int:
        """How many faces."""
        return len(self.scores)

    @staticmethod
    def none() -> Faces:
        """No faces: what a picture without any gives."""
        return Faces(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Tracks:
    """Faces with identity: ``ids`` (N,) int64, stable over frames, never reused by a camera.

    ``ages_s`` (N,) float32: seconds since each was last detected. 0 is a face that was detected in
    this picture, which is what leaving it out means for all; any other was predicted. ``speeds``
    (N, 4) float32: how the sides of each box move, pixels a second; left out, none does.
    """

    ids: NDArray[np.int64]
    faces: Faces
    ages_s: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    speeds: Floats = field(default_factory=lambda: np.zeros((0, 4), np.float32))

    def __post_init__(self) -> None:
        """Check that there is one id, one age and one speed for each face."""
        if not len(self.speeds):
            object.__setattr__(self, "speeds", np.zeros((len(self.ids), 4), np.float32))
        _require(self.speeds, (len(self.ids), 4), np.float32, "speeds")
        _require(self.ids, (len(self.faces),), np.int64, "ids")
        if not len(self.ages_s):
            object.__setattr__(self, "ages_s", np.zeros(len(self.ids), np.float32))
        _require(self.ages_s, self.ids.shape, np.float32, "ages_s")

    def __len__(self) -> int:
        """How many faces."""
        return len(self.ids)

    @staticmethod
    def none() -> Tracks:
        """No faces."""
        return Tracks(np.zeros(0, np.int64), Faces.none())


class Stamps(NamedTuple):
    """When a frame passed each station, seconds of ``time.monotonic()``."""

    captured_at: float
    taken_at: float
    detected_at: float


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A frame and the faces in it (perhaps none): found in it, or "tracked", only predicted.

    ``still``: it was not looked at, for it was seen that nothing moves in it.
    """

    frame: Frame
    tracks: Tracks
    stamps: Stamps
    status: Literal["detected", "tracked"] = "detected"
    still: bool = False

    def without_picture(self) -> Result:
        """The same result with the frame's pixels let go."""
        return replace(self, frame=self.frame.without_picture())


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """A frame that could not be looked at. It has no faces to mistake for "nobody there"."""

    frame: Frame
    stamps: Stamps
    reason: str
    status: Literal["failed"] = "failed"

    def without_picture(self) -> Failure:
        """The same failure with the frame's pixels let go."""
        return replace(self, frame=self.frame.without_picture())


Outcome: TypeAlias = Result | Failure
"""What every sink receives. A type checker makes each sink say what it does with a failure."""

Published: TypeAlias = Result | Failure | CameraChange | TrackChange | Beat
"""What the channel of a sink carries; only sinks that ask for them get changes and beats."""
