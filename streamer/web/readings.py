"""The status as JSON: what ``/api/v1/status`` answers and what the page gets every second."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from streamer.flow.channel import ChannelStats
from streamer.flow.ledger import Ledger
from streamer.flow.meters import DurationStats
from streamer.status import CameraStatus, Load, RestreamStatus, SinkStatus, Status, Watching
from streamer.types import CameraChange, redact


def status_json(status: Status, *, now: float) -> dict[str, Any]:
    """``status`` as plain JSON values.

    ``now`` is the monotonic instant of the reading: instants become durations (``for_s``),
    because a monotonic clock means nothing to another machine. Seconds everywhere.
    """
    return {
        "version": status.version,
        "boot_id": status.boot_id,
        "model": status.model,
        "provider": status.provider,
        "requested_device": status.requested_device,
        "device_warning": status.device_warning,
        "inference_faults": dict(status.inference_faults),
        "inference_stuck_s": _rounded(status.inference_stuck_s),
        "load": _load(status.load),
        "uptime_s": _rounded(status.uptime_s),
        "cameras": [camera_json(camera, now) for camera in status.cameras],
        "sinks": [_sink(sink) for sink in status.sinks],
        "restreams": [_restream(each) for each in status.restreams],
        "watching": _watching(status.watching or Watching()),
        "stages": {name: _durations(stats) for name, stats in status.stages.items()},
    }


def to_bytes(value: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON. Raises ``ValueError`` on NaN or infinity, which JSON has not."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def camera_json(camera: CameraStatus, now: float) -> dict[str, Any]:
    """One camera; ``now`` as above."""
    source = camera.source
    return {
        "name": camera.name,
        "url": redact(camera.url),  # it is redacted already; a second time costs nothing
        "state": source.state,
        "reason": source.reason,
        "detail": redact(source.detail),
        "for_s": _rounded(max(0.0, now - source.since_at)),
        "retry_in_s": _rounded(
            None if source.retry_at is None else max(0.0, source.retry_at - now)
        ),
        "losses": dict(source.losses or {}),
        "decode_errors": source.decode_errors,
        "frozen": source.frozen,
        "privacy": camera.privacy,
        "attempts": source.attempts,
        "timestamp_jumps": source.timestamp_jumps,
        "capture_fps": _rounded(camera.capture_fps),
        "detect_fps": _rounded(camera.detect_fps),
        "faces_now": camera.faces_now,
        "faces_total": camera.faces_total,
        "latency_p50_s": _rounded(camera.latency_p50_s),
        "latency_p95_s": _rounded(camera.latency_p95_s),
        "latency_p99_s": _rounded(camera.latency_p99_s),
        "newest_age_s": _rounded(camera.newest_age_s),
        "ledger": ledger_json(camera.ledger),
        "lane": _channel(camera.lane),
    }


def _load(load: Load) -> dict[str, Any]:
    return {
        "level": load.level,
        "input_scale": load.input_scale,
        "paused": sorted(load.paused),
        "steps": dict(load.steps),
        "capacity_fps": _rounded(load.capacity),
        "busy_s": _rounded(load.busy_s),
        "service": [
            {"input": size, "batch": batch, "seconds": _rounded(seconds)}
            for (size, batch), seconds in sorted(load.service_s.items())
        ],
    }


def ledger_json(ledger: Ledger) -> dict[str, Any]:
    """Where every frame of one camera went."""
    return {
        "captured": ledger.captured,
        "settled": dict(ledger.settled),
        "skipped": ledger.skipped,
        "dropped": [
            {"stage": stage, "reason": reason, "frames": frames}
            for (stage, reason), frames in sorted(ledger.dropped.items())
        ],
        "in_flight": ledger.in_flight,
        "imbalance": ledger.imbalance,
    }


def _restream(restream: RestreamStatus) -> dict[str, Any]:
    return {
        "camera": restream.camera,
        "url": redact(restream.url),
        "state": restream.state,
        "reason": restream.reason,
        "detail": restream.detail,
        "sent": restream.sent,
        "skipped": restream.skipped,
        "dropped": dict(restream.dropped),
        "losses": dict(restream.losses),
    }


def _sink(sink: SinkStatus) -> dict[str, Any]:
    return {
        "name": sink.name,
        "running": sink.running,
        "written": sink.written,
        "channel": _channel(sink.channel),
    }


def _watching(watching: Watching) -> dict[str, Any]:
    return {
        "sent": watching.sent,
        "dropped": dict(watching.dropped),
        "cut_off": watching.cut_off,
        "asked": {str(code): pictures for code, pictures in sorted(watching.asked.items())},
        "viewers": [
            {
                "number": viewer.number,
                "kind": viewer.kind,
                "for_s": _rounded(viewer.for_s),
                "sent": viewer.sent,
                "dropped": dict(viewer.dropped),
            }
            for viewer in watching.viewers
        ],
    }


def change_json(change: CameraChange, *, now: float) -> dict[str, Any]:
    """What a camera did; ``ago_s`` is how long ago at the monotonic instant ``now``, seconds."""
    return {
        "state": change.state,
        "reason": change.reason,
        "detail": redact(change.detail),
        "frozen": change.frozen,
        "ago_s": _rounded(max(0.0, now - change.since_at)),
    }


def _channel(channel: ChannelStats) -> dict[str, Any]:
    return {
        "depth": channel.depth,
        "capacity": channel.capacity,
        "peak": channel.peak,
        "offered": channel.offered,
        "delivered": channel.delivered,
        "dropped": dict(channel.dropped),
    }


def _durations(stats: DurationStats) -> dict[str, Any]:
    count = stats.count
    return {
        "count": count,
        "sum_s": _rounded(stats.sum_s),
        "mean_s": _rounded(stats.sum_s / count) if count else None,
    }


def _rounded(value: float | None) -> float | None:
    """To 0.1 ms; None for what is no number, which JSON cannot say."""
    return round(value, 4) if value is not None and math.isfinite(value) else None
