"""The status as JSON."""

from __future__ import annotations

import json
import math

import pytest

from streamer.status import SourceState
from streamer.web.readings import status_json, to_bytes
from tests.web.synthetic import Machine


def read(machine, now=None):
    status = machine.status()
    at = status.cameras[0].source.since_at + 60 if now is None else now
    return json.loads(to_bytes(status_json(status, now=at)))


def test_every_field_of_a_camera_is_told():
    door = read(Machine())["cameras"][0]
    assert door == {
        "name": "door",
        "url": "rtsp://***@camera.example/stream",
        "state": "live",
        "reason": "",
        "detail": "",
        "for_s": 60.0,
        "retry_in_s": None,
        "losses": {},
        "decode_errors": 0,
        "frozen": False,
        "attempts": 0,
        "timestamp_jumps": 0,
        "privacy": "none",
        "capture_fps": 12.0,
        "detect_fps": 11.8,
        "faces_now": 1,
        "faces_total": 99,
        "latency_p50_s": 0.034,
        "latency_p95_s": 0.0648,
        "latency_p99_s": 0.0712,
        "newest_age_s": 0.05,
        "ledger": {
            "captured": 1234,
            "settled": {"detected": 1200, "failed": 1},
            "skipped": 20,
            "dropped": [{"stage": "infer", "reason": "queue_full", "frames": 12}],
            "in_flight": 1,
            "imbalance": 0,
        },
        "lane": {
            "depth": 1,
            "capacity": 1,
            "peak": 1,
            "offered": 1214,
            "delivered": 1201,
            "dropped": {"queue_full": 12},
        },
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_null(value):
    machine = Machine(changes={"door": {"latency_p50_s": value, "capture_fps": value}})
    door = read(machine)["cameras"][0]
    assert door["latency_p50_s"] is None
    assert door["capture_fps"] is None


def test_a_clock_read_too_early_gives_no_negative_duration():
    assert read(Machine(), now=0.0)["cameras"][0]["for_s"] == 0.0


def test_losses_are_counted_by_reason_and_secrets_hidden():
    source = SourceState("stalled", 0.0, "stall", "rtsp://me:hush@x", {"stall": 2}, 7)
    door = read(Machine(changes={"door": {"source": source, "url": "rtsp://me:hush@x/y?k=hush"}}))
    assert door["cameras"][0]["losses"] == {"stall": 2}
    assert door["cameras"][0]["decode_errors"] == 7
    assert "hush" not in json.dumps(door)


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_bytes({"x": math.nan})


def test_text_that_is_no_unicode_does_not_break_the_answer():
    assert json.loads(to_bytes({"name": "caf\u00e9 \ud800"}))["name"] == "caf\u00e9 ?"
