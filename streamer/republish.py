"""Publishes a recording again, with its timing, as a run of its own."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from streamer.changes import Beat
from streamer.client.recording import BadRecording, Entry, entries
from streamer.events import Format
from streamer.publish.zeromq import ZeroMqSink

BEAT_S = 1.0
"""How often a sign of life is given, seconds."""

PAUSE_S = 1.0
"""Between the end of a recording and its beginning, where it is repeated, seconds."""


def replay_file(
    file: Path,
    *,
    bind: str,
    answers: str | None,
    speed: float,
    loop: bool,
    stop: threading.Event,
    form: Format = "json",
    wall_clock: Callable[[], float] = time.time,
) -> int:
    """Publish the recording ``file`` on ``bind``, and what was missed on ``answers``; how many.

    Events are written in ``form``. Raises BadRecording at what is damaged, when all before it was
    published, and BindError.
    """
    next(iter(entries(file)), None)  # no recording: say so before anything is opened
    sink = ZeroMqSink(
        bind, replay=answers, boot_id=uuid.uuid4().hex, model="", form=form,
        final=lambda: Beat(0.0, wall_clock(), {}),
    )  # fmt: skip
    beside = [threading.Thread(target=stage.run, name=stage.name) for stage in sink.stages()]
    for thread in beside:
        thread.start()
    try:
        return republish(lambda: entries(file), sink, speed=speed, loop=loop, stop=stop)
    finally:
        sink.close()
        for thread in beside:
            thread.join()


def republish(
    read: Callable[[], Iterable[Entry]],
    sink: ZeroMqSink,
    *,
    speed: float,
    loop: bool,
    stop: threading.Event,
    clock: Callable[[], float] = time.monotonic,
    wall_clock: Callable[[], float] = time.time,
) -> int:
    """Publish what ``read`` gives, ``speed`` times as fast as it was; how many events that were.

    With ``loop`` it begins again at the end, until ``stop``. Events keep all they say but
    ``boot_id`` and ``seq``, which are this run's: who hears them hears no gap.
    """
    count, offset_s, began_at = 0, 0.0, clock()
    beat_at = began_at

    def wait_until(due_at: float) -> bool:
        """Wait and beat meanwhile; False when it is time to stop."""
        nonlocal beat_at
        while True:
            now = clock()
            if now >= beat_at:
                beat_at = now + BEAT_S
                sink.write_beat(Beat(now, wall_clock(), {}))
            if stop.is_set() or now >= due_at:
                return not stop.is_set()
            stop.wait(min(due_at, beat_at) - now)

    while True:
        last_s = 0.0
        for entry in read():
            last_s = entry.at_s
            if not wait_until(began_at + (offset_s + last_s) / speed):
                return count
            try:
                sink.write_again(entry.topic, entry.fields)
            except OverflowError:
                raise BadRecording(
                    f"an event of {entry.topic.decode()} at {entry.at_s:g} s has a number beyond "
                    "64 bits, which cannot be written; mend the recording there"
                ) from None
            count += 1
        if not loop:
            return count
        offset_s += last_s + PAUSE_S * speed
