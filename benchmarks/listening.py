"""Hears what the program publishes while it runs in a process of its own, for the benchmarks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Final

from streamer.client import FacesEvent, NothingHeard, subscribe

SILENCE_S: Final = 0.5


def listen(endpoint: str, program: Future[Any]) -> Iterator[tuple[FacesEvent, float]]:
    """Each event with the instant at which it was heard (s, monotonic), until ``program`` ended.

    Raises what the program raised.
    """
    with subscribe(endpoint, timeout_s=SILENCE_S) as events:
        while True:
            try:
                event = next(events)
            except NothingHeard:
                if program.done():
                    break
                continue
            yield event, time.monotonic()
    program.result()
