"""The wire of heartbeats: that streamer is there, what it has published, and how it fares.

Beside :mod:`streamer.events`, whose conventions hold here too.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from streamer.changes import Beat, State
from streamer.events import Count, Reader, Size, json_schema

HEARTBEAT_SCHEMA: Final = "streamer.heartbeat/1"
"""Name and version of the schema of heartbeats."""

HEARTBEAT_TOPIC: Final = b"heartbeat/"
"""The topic of heartbeats, one each second."""


class HeartbeatEvent(msgspec.Struct, frozen=True):
    """A sign of life, once a second, and what there is to have heard until now.

    ``last`` is the last ``seq`` of each topic that has any: an event up to it that was not heard
    on the same socket is lost. ``cameras`` has each camera's ledger, frames since the start:
    captured = detected + tracked + skipped + dropped + in_flight. ``wall_at`` is Unix seconds.

    ``states`` says what each camera does, as its newest event on ``camera/`` does. ``sinks`` has
    what waits to be published (``depth`` of ``capacity``), was ``written`` and was ``dropped``
    since the start, by sink. ``ended``: streamer ends, this is its last message, and all counts
    are final (of other sinks, which may still have to write, as they are now).
    """

    schema: Literal["streamer.heartbeat/1"]
    boot_id: str
    seq: Size
    wall_at: float
    last: dict[str, Count]
    cameras: dict[str, dict[str, Count]]
    states: dict[str, State] = {}
    sinks: dict[str, dict[str, Count]] = {}
    ended: bool = False


def heartbeat_event(
    beat: Beat, *, last: dict[str, int], seq: int, boot_id: str, ended: bool = False
) -> HeartbeatEvent:
    """The event that tells ``beat``; ``last`` is the last ``seq`` of each topic."""
    return HeartbeatEvent(
        HEARTBEAT_SCHEMA,
        boot_id,
        seq,
        round(beat.wall_at, 3),
        last,
        {name: dict(ledger) for name, ledger in beat.cameras.items()},
        dict(beat.states),
        {name: dict(counts) for name, counts in beat.sinks.items()},
        ended,
    )


decode_heartbeat: Final = Reader(HeartbeatEvent, HEARTBEAT_SCHEMA)
"""Reads a :class:`HeartbeatEvent`; see :meth:`streamer.events.Reader.__call__`."""


def heartbeat_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of one :class:`HeartbeatEvent`."""
    return json_schema(HeartbeatEvent, HEARTBEAT_SCHEMA)
