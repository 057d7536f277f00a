"""A source that lives once: a file. It remembers how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from streamer.errors import SourceLost
from streamer.log import get_logger
from streamer.protocols import Source
from streamer.status import SourceState
from streamer.types import Frame

log = get_logger("capture")


class Once:
    """Wraps a file's source and keeps its state; the counterpart of ``Reconnecting``."""

    def __init__(
        self,
        source: Source,
        *,
        first_epoch: int = 0,
        first_index: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wrap ``source``, and add to its frames' numbers; nothing is opened yet."""
        self._source = source
        self._first_epoch = first_epoch
        self._first_index = first_index
        self._clock = clock
        self._state = SourceState("connecting", clock())

    @property
    def live(self) -> bool:
        """What the wrapped source says."""
        return self._source.live

    def state(self) -> SourceState:
        """What the file is doing: connecting, live (being read), ended or refused."""
        return replace(self._state, decode_errors=getattr(self._source, "decode_errors", 0))

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """The frames of the wrapped source.

        Raises SourceLost as it does, and when it ends without having given a single frame.
        """
        try:
            for frame in self._source.frames(stop):
                if self._state.state == "connecting":
                    self._state = SourceState("live", self._clock())
                yield replace(
                    frame,
                    epoch=self._first_epoch + frame.epoch,
                    index=self._first_index + frame.index,
                )
                del frame  # do not hold a picture while waiting for the next
            self._complain_of_damage(stop)
        except SourceLost as lost:
            self._state = SourceState(
                "refused", self._clock(), lost.reason, str(lost), {lost.reason: 1}
            )
            raise
        self._state = SourceState("ended", self._clock())

    def _complain_of_damage(self, stop: threading.Event) -> None:
        """Tell of packets that gave no picture. Raises SourceLost when none gave one."""
        damaged = getattr(self._source, "decode_errors", 0)
        if self._state.state == "connecting" and not stop.is_set():
            raise SourceLost(
                "no_frames",
                f"no picture could be decoded, {damaged} packets are damaged; "
                "check that the file is whole",
            )
        if damaged:
            log.warning("file_damaged", packets=damaged)
