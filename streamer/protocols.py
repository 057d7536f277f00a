"""The four things a user may replace, each with one method that matters.

Anything with these shapes will do: no base class, no registration.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from streamer.types import (
    Beat,
    CameraChange,
    Faces,
    Frame,
    Outcome,
    Picture,
    TrackChange,
    Tracks,
)


class Source(Protocol):
    """Where frames come from: one camera or one file."""

    @property
    def live(self) -> bool:
        """True for a camera (late frames are dropped), False for a file (nothing is lost)."""

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yield frames until the end of the file, a loss or ``stop``.

        Every wait inside is bounded, so that ``stop`` is seen within a few seconds.
        Raises :class:`streamer.errors.SourceLost` when this life of the source ends early.
        """


class Detector(Protocol):
    """What finds faces."""

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        """One :class:`Faces` for each picture, in pixels of that picture.

        Raises :class:`streamer.errors.DetectionFailed` when these pictures could not be looked
        at; any other exception ends the program.
        """


class Tracker(Protocol):
    """What gives faces an identity over time, one for each camera."""

    def update(self, faces: Faces, at: float) -> Tracks:
        """Match ``faces`` seen at the instant ``at`` to those seen before."""

    def predict(
        self, at: float, *, within: tuple[int, int] | None = None, missed: bool = False
    ) -> Tracks:
        """Where known faces are expected at the instant ``at``, inside a picture of that size.

        With ``missed`` only those that the last update did not find.
        """

    def reset(self) -> None:
        """Know nobody any more: what comes next has nothing to do with what came before."""


class Sink(Protocol):
    """Where outcomes go. It is written to and closed by its own thread only."""

    def write(self, outcome: Outcome) -> None:
        """Take one outcome. It may raise; a vital sink that raises ends the program."""

    def close(self) -> None:
        """Let go of everything held. Called once, after the last write."""


@runtime_checkable
class ChangeSink(Sink, Protocol):
    """A sink that is also told what the cameras do; its channel carries both, in order."""

    def write_change(self, change: CameraChange) -> None:
        """Take one change of a camera. It may raise as :meth:`write` may."""


@runtime_checkable
class TrackSink(Sink, Protocol):
    """A sink that is also told which faces come and go; its channel carries all, in order."""

    def write_track(self, change: TrackChange) -> None:
        """Take what is new of one face. It may raise as :meth:`write` may."""


@runtime_checkable
class BeatSink(Sink, Protocol):
    """A sink that also says each second that streamer is there."""

    def write_beat(self, beat: Beat) -> None:
        """Take one sign of life. It may raise as :meth:`write` may."""


@runtime_checkable
class BurstSink(Sink, Protocol):
    """A sink that takes what comes at about the same time together, which costs it less."""

    @property
    def apart_s(self) -> float:
        """Seconds from the beginning of a burst to that of the next, at least."""

    def burst(self) -> AbstractContextManager[None]:
        """What is written within it has gone out when it is left. It may raise as :meth:`write`."""


class Reply(Protocol):
    """Where the outcome of one picture goes that somebody asked about and waits for."""

    def put(self, outcome: Outcome, /) -> None:
        """Take the outcome; it returns at once and raises nothing."""
