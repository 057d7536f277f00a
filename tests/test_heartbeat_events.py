"""Heartbeats on the wire."""

import json

import pytest

from streamer.changes import Beat
from streamer.events import MalformedEvent, encode
from streamer.heartbeat_events import (
    HEARTBEAT_SCHEMA,
    HeartbeatEvent,
    decode_heartbeat,
    heartbeat_event,
    heartbeat_schema,
)

LEDGER = {"captured": 9, "detected": 5, "tracked": 1, "skipped": 1, "dropped": 1, "in_flight": 1}
SINK = {"depth": 2, "capacity": 64, "written": 40, "dropped": 3}
BEAT = Beat(5.0, 1_700_000_000.1239, {"door": LEDGER}, {"door": "live"}, {"zeromq": SINK})


def test_a_heartbeat_survives_the_wire() -> None:
    event = heartbeat_event(BEAT, last={"faces/door/": 6}, seq=4, boot_id="b", ended=True)
    line = encode(event)
    assert decode_heartbeat(line) == event
    assert json.loads(line) == {
        "schema": HEARTBEAT_SCHEMA, "boot_id": "b", "seq": 4, "wall_at": 1_700_000_000.124,
        "last": {"faces/door/": 6}, "cameras": {"door": LEDGER}, "states": {"door": "live"},
        "sinks": {"zeromq": SINK}, "ended": True,
    }  # fmt: skip


def test_one_of_the_first_publishers_is_still_understood() -> None:
    old = {"schema": HEARTBEAT_SCHEMA, "boot_id": "b", "seq": 1, "wall_at": 1, "last": {}}
    event = decode_heartbeat(json.dumps(old | {"cameras": {}, "to_come": [{}]}).encode())
    assert event == HeartbeatEvent(HEARTBEAT_SCHEMA, "b", 1, 1.0, {}, {}, {}, {}, False)


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"schema":"streamer.faces/1"}', b"\xff"])
def test_a_hostile_heartbeat_is_one_clear_error(line: bytes) -> None:
    with pytest.raises(MalformedEvent, match=r"not an event of streamer\.heartbeat/1"):
        decode_heartbeat(line)


def test_the_schema_asks_for_what_was_there_from_the_first() -> None:
    described = heartbeat_schema()["$defs"]["HeartbeatEvent"]
    assert described["required"] == ["schema", "boot_id", "seq", "wall_at", "last", "cameras"]
