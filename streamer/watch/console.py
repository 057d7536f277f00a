"""`streamer watch`: what a publisher says, as a live table, as lines, and into a recording."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from streamer.client import NothingHeard, Subscription
from streamer.client.connection import Connection
from streamer.client.handshake import keys_of
from streamer.client.lines import line_of
from streamer.client.notices import Notice, Resumed, Stale, Stopped
from streamer.client.recording import Recorder
from streamer.client.subscribe import topics_of
from streamer.client.wire import Event
from streamer.events import encode
from streamer.heartbeat_events import HeartbeatEvent
from streamer.terminal import complain
from streamer.watch.view import Watched, table

REFRESH_S = 0.25
SILENCE_S = 3.0

Heard = Event | Notice | HeartbeatEvent


def show(
    endpoint: str,
    cameras: Sequence[str] | None,
    *,
    replay: str | None,
    tracks: bool,
    as_json: bool,
    server_key: str | Path | None,
    key: str | Path | None,
    recorder: Recorder | None,
    print_line: Callable[[str], None],
) -> None:
    """Hear ``endpoint`` and show what it says, until interrupted.

    Raises ``ValueError`` for an endpoint, a name or a key that cannot be.
    """
    connection = Connection(
        endpoint,
        topics_of(cameras, changes=True, tracks=tracks),
        replay=replay,
        heartbeats=True,
        tells_heartbeats=True,
        keys=keys_of(server_key, key),
    )
    heard = Subscription[Heard](endpoint, connection, timeout_s=REFRESH_S, notices=True)
    with heard:
        if as_json or not sys.stdout.isatty():
            _print(endpoint, heard, as_json, recorder, print_line)
        else:
            _draw(endpoint, heard, recorder)


def _print(
    endpoint: str,
    heard: Subscription[Heard],
    as_json: bool,
    recorder: Recorder | None,
    print_line: Callable[[str], None],
) -> None:
    """A line for each event and notice; silence is told on standard error."""
    heard_at, silent, known = time.monotonic(), False, False
    while True:
        one = _next(heard, recorder)
        if isinstance(one, HeartbeatEvent) and known:  # with `when: changes` there may be no more
            heard_at = time.monotonic()
        if one is None or isinstance(one, HeartbeatEvent | Stale | Resumed):
            if not silent and time.monotonic() - heard_at >= SILENCE_S:
                silent = True
                complain(
                    f"nothing came from {endpoint} within {SILENCE_S:g} s; check that streamer "
                    "runs there and that the camera's name is right; still listening"
                )
            continue
        heard_at, silent, known = time.monotonic(), isinstance(one, Stopped), True
        print_line(encode(one).decode() if as_json else line_of(one))


def _draw(endpoint: str, heard: Subscription[Heard], recorder: Recorder | None) -> None:
    """The live table."""
    signal.signal(signal.SIGTERM, _leave)  # by an exception: it gives the cursor back
    watched, drawn_at = Watched(endpoint), time.monotonic()
    with Live(table(watched, drawn_at), console=Console(), auto_refresh=False) as live:
        while True:
            one = _next(heard, recorder)
            now = time.monotonic()
            if one is not None:
                watched.take(one, now)
            if now >= drawn_at + REFRESH_S:
                drawn_at = now
                live.update(table(watched, now), refresh=True)


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _next(heard: Subscription[Heard], recorder: Recorder | None) -> Heard | None:
    """What is heard next, recorded; None when nothing comes for a moment."""
    try:
        one = next(heard)
    except NothingHeard:
        return None
    if recorder is not None and not isinstance(one, HeartbeatEvent):
        had_ended = recorder.ended
        if not recorder.take(one, time.monotonic()) and not had_ended:
            complain(f"the recording has ended: {recorder.ended}; watching goes on without it")
    return one
