"""Stand-ins for the parts of streamer, to test your own parts with. We test with them too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from streamer.types import Faces, Frame, Outcome, Picture

if TYPE_CHECKING:
    from streamer.protocols import Detector, Sink, Source


class ManualClock:
    """A clock that stands still until told: pass it where ``time.monotonic`` is the default."""

    def __init__(self, at: float = 0.0) -> None:
        """Start at ``at`` seconds."""
        self._at = at

    def __call__(self) -> float:
        """The instant it shows, seconds."""
        return self._at

    def advance(self, seconds: float) -> None:
        """Go forward. Raises ``ValueError`` when told to go back: a monotonic clock cannot."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock does not go back, not even by {-seconds} s")
        self._at += seconds


class ListSource:
    """A source of the pictures it is given, in order, once each time it is asked.

    A live one gives ``fps`` pictures a second, as a camera does; a file gives them as fast as
    they are taken. ``pts`` follows ``fps`` (per second) either way. ``clock`` stamps
    ``captured_at``. Raises ``ValueError`` when ``fps`` is not above 0.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        *,
        camera: str = "camera",
        live: bool = False,
        fps: float = 25.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the pictures; nothing is copied."""
        if not fps > 0:
            raise ValueError(f"fps must be above 0, not {fps}")
        self._pictures = list(pictures)
        self._camera = camera
        self._live = live
        self._fps = fps
        self._clock = clock
        self._lives = 0
        self._given = 0

    @property
    def live(self) -> bool:
        """What it was made as."""
        return self._live

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """The pictures as frames, until the last or ``stop``.

        The ``index`` goes on and the ``epoch`` grows by one each time this is called.
        """
        epoch = self._lives
        self._lives += 1
        for number, picture in enumerate(self._pictures):
            if stop.wait(1 / self._fps if self._live and number else 0):
                return
            self._given += 1
            yield Frame(
                camera=self._camera,
                epoch=epoch,
                index=self._given - 1,
                captured_at=self._clock(),
                wall_at=time.time(),
                pts=number / self._fps,
                picture=picture,
            )


class FakeDetector:
    """A detector that finds what it is told: the same faces in all pictures, or by a function.

    The function may raise, :class:`streamer.errors.DetectionFailed` or anything else.
    """

    def __init__(self, faces: Faces | Callable[[Picture], Faces] | None = None) -> None:
        """Find ``faces``; none when it is None."""
        self._faces = Faces.none() if faces is None else faces
        self.batches: list[int] = []
        """How many pictures each call was given."""

    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        """One :class:`Faces` for each picture."""
        self.batches.append(len(pictures))
        found = self._faces
        if isinstance(found, Faces):
            return [found] * len(pictures)
        return [found(picture) for picture in pictures]


class CollectingSink:
    """A sink that keeps what it gets, for a test to look at from its own thread."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._outcomes: list[Outcome] = []
        self._closed = False
        self._changed = threading.Condition()

    @property
    def outcomes(self) -> list[Outcome]:
        """A copy of all outcomes so far, in the order they were written."""
        with self._changed:
            return list(self._outcomes)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        with self._changed:
            return self._closed

    def write(self, outcome: Outcome) -> None:
        """Keep one. Raises ``RuntimeError`` after :meth:`close`, and :meth:`close` does too."""
        with self._changed:
            if self._closed:
                raise RuntimeError("written to after it was closed")
            self._outcomes.append(outcome)
            self._changed.notify_all()

    def close(self) -> None:
        """End. Raises ``RuntimeError`` the second time: a sink is closed once."""
        with self._changed:
            if self._closed:
                raise RuntimeError("closed twice")
            self._closed = True
            self._changed.notify_all()

    def wait_for(self, count: int, *, timeout_s: float = 10.0) -> list[Outcome]:
        """Wait until there are ``count`` outcomes and return all there are then.

        Raises ``TimeoutError`` when they do not come within ``timeout_s`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._outcomes) >= count, timeout_s):
                raise TimeoutError(f"{len(self._outcomes)} outcomes of {count} in {timeout_s:g} s")
            return list(self._outcomes)


if TYPE_CHECKING:  # the type checker says here that each has the shape it stands for
    _source: Source = ListSource(())
    _detector: Detector = FakeDetector()
    _sink: Sink = CollectingSink()
    _clock: Callable[[], float] = ManualClock()
