"""What Prometheus reads: the door to ``prometheus_client``.

Nothing is pushed while frames flow. Each scrape reads one :class:`streamer.status.Status` and
tells it; a camera that was removed is gone from the next scrape.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import TypeAlias

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from streamer.flow.channel import ChannelStats
from streamer.flow.meters import DurationStats
from streamer.publish.metric_table import METRICS, Metric
from streamer.status import (
    RESTREAM_STATES,
    CameraStatus,
    Load,
    RestreamStatus,
    SinkStatus,
    Status,
    Watching,
)
from streamer.types import STATES

_Value: TypeAlias = float | DurationStats
_Sample: TypeAlias = tuple[str, tuple[str, ...], _Value]


class Metrics:
    """Tells the status to Prometheus. ``read`` gives the status of now; it is called per scrape."""

    def __init__(self, read: Callable[[], Status]) -> None:
        """Keep ``read``; nothing is read yet."""
        self._registry = CollectorRegistry()
        self._registry.register(_StatusCollector(read))
        ProcessCollector(registry=self._registry)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """One scrape: the body, and its content type.

        It is OpenMetrics 1.0 when ``accept``, the request's Accept header, names it, and the
        plain text format 0.0.4 otherwise. It may be called from any thread, and raises what
        ``read`` raises.
        """
        if "application/openmetrics-text" in accept:
            body: bytes = openmetrics.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return body, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4


class _StatusCollector(Collector):
    """Reads the status once per scrape and gives a family for each row of :data:`METRICS`."""

    def __init__(self, read: Callable[[], Status]) -> None:
        self._read = read

    def collect(self) -> Iterator[Family]:
        """The families, in the order of the table, those without a sample left out."""
        by_name: defaultdict[str, list[tuple[tuple[str, ...], _Value]]] = defaultdict(list)
        for name, labels, value in _samples(self._read()):
            by_name[name].append((labels, value))
        for metric in METRICS:
            if metric.name in by_name:
                yield _family(metric, by_name.pop(metric.name))
        if by_name:
            raise LookupError(f"not in the table of metrics: {', '.join(by_name)}")


def _family(metric: Metric, samples: list[tuple[tuple[str, ...], _Value]]) -> Family:
    if metric.type == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for labels, value in samples:
            assert isinstance(value, DurationStats)  # noqa: S101 - a type checker cannot know it
            histogram.add_metric(labels, _buckets(value), value.sum_s)
        return histogram
    if metric.type == "summary":
        summary = SummaryMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for labels, value in samples:
            assert isinstance(value, DurationStats)  # noqa: S101 - as above
            summary.add_metric(labels, value.count, value.sum_s)
        return summary
    kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in samples:
        assert isinstance(value, float | int)  # noqa: S101 - as above
        family.add_metric(labels, value)
    return family


def _buckets(durations: DurationStats) -> list[tuple[str, float]]:
    """Upper bounds and cumulative counts, as Prometheus wants them."""
    bounds = [*map(str, durations.bounds), "+Inf"]
    return list(zip(bounds, accumulate(durations.counts), strict=True))


def _samples(status: Status) -> Iterator[_Sample]:
    """Everything in ``status`` as (name, label values in the order of the table, value)."""
    for camera in status.cameras:
        yield from _camera(camera)
        yield "streamer_camera_paused", (camera.name,), int(camera.name in status.load.paused)
    for sink in status.sinks:
        yield from _sink(sink)
    for restream in status.restreams:
        yield from _restream(restream)
    for stage, durations in status.stages.items():
        yield "streamer_stage_duration_seconds", (stage,), durations
    for socket, connected in status.connected.items():
        yield "streamer_subscribers", (socket,), connected
    for refusal, refused in status.refused.items():
        yield "streamer_zeromq_refused_total", refusal, refused
    used = (status.requested_device, status.provider, status.model)
    yield "streamer_inference_provider_info", used, 1
    yield "streamer_inference_fallback", (), int(bool(status.device_warning))
    yield "streamer_inference_batch_frames", (), status.batches
    for kind, count in status.inference_faults.items():
        yield "streamer_inference_faults_total", (kind,), count
    yield "streamer_inference_stuck_seconds", (), status.inference_stuck_s
    if status.watching is not None:
        yield from _watching(status.watching)
    if status.gpu is not None:
        gpu = (str(status.gpu.number),)
        yield "streamer_gpu_memory_used_bytes", gpu, status.gpu.used_bytes
        yield "streamer_gpu_memory_bytes", gpu, status.gpu.total_bytes
        yield "streamer_gpu_busy_ratio", gpu, status.gpu.busy
    yield from _load(status.load)
    yield "streamer_build_info", (status.version,), 1
    yield "streamer_uptime_seconds", (), status.uptime_s


def _load(load: Load) -> Iterator[_Sample]:
    yield "streamer_overload_level", (), load.level
    for direction, steps in load.steps.items():
        yield "streamer_overload_steps_total", (direction,), steps
    yield "streamer_input_scale", (), load.input_scale
    if load.capacity is not None:
        yield "streamer_capacity_frames_per_second", (), load.capacity
    yield "streamer_workers_busy_seconds_total", (), load.busy_s
    for (size, batch), seconds in sorted(load.service_s.items()):
        yield "streamer_service_time_seconds", (str(size), str(batch)), seconds


def _camera(camera: CameraStatus) -> Iterator[_Sample]:
    name = (camera.name,)
    ledger, source = camera.ledger, camera.source
    yield "streamer_frames_captured_total", name, ledger.captured
    for settled in ("detected", "tracked"):
        yield f"streamer_frames_{settled}_total", name, ledger.settled.get(settled, 0)
    yield "streamer_frames_skipped_total", name, ledger.skipped
    for (stage, reason), dropped in ledger.dropped.items():
        yield "streamer_frames_dropped_total", (camera.name, stage, reason), dropped
    yield "streamer_frames_in_flight", name, ledger.in_flight
    yield "streamer_ledger_imbalance_frames", name, ledger.imbalance
    yield "streamer_frames_still_total", name, camera.still
    yield "streamer_motion_wakes_total", name, camera.wakes
    yield "streamer_faces_detected_total", name, camera.faces_total
    yield "streamer_camera_frozen", name, int(source.frozen)
    yield "streamer_source_dials_total", name, source.attempts
    yield "streamer_timestamp_jumps_total", name, source.timestamp_jumps
    yield "streamer_faces_visible", name, camera.faces_now
    yield "streamer_latency_seconds", name, camera.latency
    for stage, durations in camera.stages.items():
        yield "streamer_camera_stage_duration_seconds", (camera.name, stage), durations
    yield "streamer_results_late_total", name, camera.late
    if camera.newest_age_s is not None:
        yield "streamer_newest_result_age_seconds", name, camera.newest_age_s
    if camera.max_age_s is not None:
        yield "streamer_camera_max_age_seconds", name, camera.max_age_s
    yield from _queue(f"lane:{camera.name}", camera.lane)
    yield "streamer_camera_up", name, int(source.state == "live")
    for state in STATES:
        yield "streamer_camera_state", (camera.name, state), int(source.state == state)
    yield "streamer_camera_reason", (camera.name, source.reason or "none"), 1
    yield "streamer_camera_state_seconds", name, camera.in_state_s
    if source.epoch is not None:
        yield "streamer_camera_lives_total", name, source.epoch + 1
    yield "streamer_camera_fps", (camera.name, "capture"), camera.capture_fps
    yield "streamer_camera_fps", (camera.name, "detect"), camera.detect_fps
    yield "streamer_camera_fps", (camera.name, "publish"), camera.publish_fps
    for loss, losses in (source.losses or {}).items():
        yield "streamer_source_losses_total", (camera.name, loss), losses
    yield "streamer_decode_errors_total", name, source.decode_errors


def _sink(sink: SinkStatus) -> Iterator[_Sample]:
    yield "streamer_sink_written_total", (sink.name,), sink.written
    for reason, dropped in sink.channel.dropped.items():
        yield "streamer_sink_dropped_total", (sink.name, reason), dropped
    yield "streamer_sink_up", (sink.name,), int(sink.running)
    yield from _queue(f"sink:{sink.name}", sink.channel)
    if (link := sink.link) is not None:
        name = (sink.name,)
        if link.connected or link.trouble:  # else it had nothing to say yet, and did not try
            yield "streamer_bridge_connected", name, int(link.connected)
        yield "streamer_bridge_connects_total", name, link.connects
        yield "streamer_bridge_delivered_total", name, link.delivered
        yield "streamer_bridge_retries_total", name, link.retries
        yield "streamer_bridge_waiting", name, link.waiting
        for reason, lost in link.lost.items():
            yield "streamer_bridge_lost_total", (sink.name, reason), lost


def _restream(restream: RestreamStatus) -> Iterator[_Sample]:
    name = (restream.camera,)
    yield "streamer_restream_sent_total", name, restream.sent
    yield "streamer_restream_skipped_total", name, restream.skipped
    for reason, dropped in restream.dropped.items():
        yield "streamer_restream_dropped_total", (restream.camera, reason), dropped
    for loss, losses in restream.losses.items():
        yield "streamer_restream_losses_total", (restream.camera, loss), losses
    for state in RESTREAM_STATES:
        yield "streamer_restream_state", (restream.camera, state), int(restream.state == state)


def _watching(watching: Watching) -> Iterator[_Sample]:
    yield "streamer_subscribers", ("sse",), watching.listening
    yield "streamer_viewers", (), len(watching.viewers)
    yield "streamer_viewer_pictures_total", (), watching.sent
    for reason, pictures in watching.dropped.items():
        yield "streamer_viewer_dropped_total", (reason,), pictures
    yield "streamer_viewers_cut_off_total", (), watching.cut_off
    if watching.asked_s is not None:
        for status, pictures in watching.asked.items():
            yield "streamer_detect_requests_total", (str(status),), pictures
        yield "streamer_detect_duration_seconds", (), watching.asked_s
        yield "streamer_detect_waiting", (), watching.asked_now


def _queue(name: str, stats: ChannelStats) -> Iterator[_Sample]:
    yield "streamer_queue_depth", (name,), stats.depth - stats.beside
    yield "streamer_queue_capacity", (name,), stats.capacity
    yield "streamer_queue_peak", (name,), stats.peak
