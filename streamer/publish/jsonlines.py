"""Writes outcomes as lines of JSON, in the shape of the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO

from streamer.events import encode, faces_event
from streamer.flow.channel import Closed
from streamer.types import Outcome


class JsonLinesSink:
    """A :class:`streamer.protocols.Sink` that writes one line of JSON for each outcome.

    ``stream`` is given, not owned: :meth:`close` flushes it and leaves it open. ``boot_id`` names
    this run and ``model`` what found the faces; ``clock`` is the one that stamped the frames,
    seconds. ``seq`` of each camera is contiguous from 1.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        boot_id: str,
        model: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to ``stream``."""
        self._stream = stream
        self._boot_id = boot_id
        self._model = model
        self._clock = clock
        self._written = 0
        self._seqs: dict[str, int] = {}

    @property
    def written(self) -> int:
        """How many lines were written. It may be read from any thread."""
        return self._written

    def write(self, outcome: Outcome) -> None:
        """Write one line and flush it, so that a reader at the other end of a pipe sees it now.

        Raises :class:`streamer.flow.channel.Closed` when that reader is gone (``| head``), which
        ends a stage quietly; ``OSError`` when the disk is full; ``ValueError`` when the outcome
        has no honest JSON.
        """
        camera = outcome.frame.camera
        seq = self._seqs.get(camera, 0) + 1
        event = faces_event(
            outcome, seq=seq, boot_id=self._boot_id, model=self._model, now_at=self._clock()
        )
        try:
            self._stream.write(encode(event) + b"\n")
            self._stream.flush()
        except BrokenPipeError:
            self._let_go()
            raise Closed("the reader of the JSON lines") from None
        self._seqs[camera] = seq
        self._written += 1

    def close(self) -> None:
        """Flush what is left. A reader that is gone is not an error here."""
        if self._stream.closed:
            return
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._let_go()

    def _let_go(self) -> None:
        """Close a stream nobody reads, or Python would try it again at exit and complain.

        Python never closes the descriptors 0 to 2, so standard output stays what it is.
        """
        try:
            self._stream.close()
        except BrokenPipeError:
            pass  # closing flushes first, which fails once more; the stream is closed then
