"""What Prometheus reads, told by a full status with awkward values and read back by parsers."""

import subprocess
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from streamer.flow.channel import ChannelStats
from streamer.flow.ledger import Ledger
from streamer.flow.meters import Durations, DurationStats
from streamer.publish.metrics import METRICS, Metrics
from streamer.status import (
    CameraStatus,
    GpuUse,
    LinkStatus,
    Load,
    RestreamStatus,
    SinkStatus,
    SourceState,
    Status,
    ViewerStatus,
    Watching,
)
from streamer.types import STATES, State

AWKWARD = 'a "quoted"\\back\nslash, {curly}=é☃'
Key = tuple[str, frozenset[tuple[str, str]]]


def durations(*seconds: float) -> DurationStats:
    meter = Durations()
    for value in seconds:
        meter.observe(value)
    return meter.stats()


def channel(name: str, **changes: object) -> ChannelStats:
    return replace(ChannelStats(name, 1, 4, 3, 20, 12, {"queue_full": 7}), **changes)


DOOR = CameraStatus(
    name="door",
    source=SourceState("live", 0.0, losses={"stall": 2, "auth": 1}, decode_errors=5, epoch=2),
    url="rtsp://***@host/door",
    ledger=Ledger(
        captured=99,
        settled={"detected": 60, "tracked": 10},
        skipped=5,
        dropped={("infer", "queue_full"): 15, ("capture", "shutdown"): 4, ("infer", "failed"): 3},
        waiting=1,
        held=1,
    ),
    lane=channel("door", capacity=1),
    faces_total=2**60,
    faces_now=2,
    capture_fps=24.98,
    detect_fps=1e-9,
    latency=durations(0.001, 0.0011, 0.04, 4.9, 77.0),
    latency_p50_s=0.04,
    latency_p95_s=None,
    latency_p99_s=None,
    newest_age_s=0.25,
    publish_fps=12.25,
    max_age_s=1.5,
    stages={"wait": durations(0.25, 0.5), "infer": durations(0.125)},
    still=8,
    wakes=3,
)
NEW = CameraStatus(  # nothing came from it yet, and its name is as bad as a name can be
    name=AWKWARD,
    source=SourceState("backing_off", 0.0, "dns", "no such host"),
    url="",
    ledger=Ledger(0, {}, 0, {}, 0, 0),
    lane=channel(AWKWARD, depth=0, peak=0, dropped={}),
    faces_total=0,
    faces_now=0,
    capture_fps=0.0,
    detect_fps=0.0,
    latency=durations(),
    latency_p50_s=None,
    latency_p95_s=None,
    latency_p99_s=None,
    newest_age_s=None,
)
FULL = Status(
    watching=Watching(
        [ViewerStatus(3, "page", 9.0, 5, {"slow": 2})],
        70,
        {"slow": 2, "busy": 0, "paced": 1},
        1,
        asked={200: 5, 503: 2},
        asked_now=3,
        asked_s=durations(0.02, 0.7, 19.0),
        listening=4,
    ),
    version="0.1.0+dirty",
    boot_id="3f9a",
    model=AWKWARD,
    provider="CPUExecutionProvider",
    requested_device="auto",
    uptime_s=12.5,
    cameras=(DOOR, NEW),
    sinks=(
        SinkStatus("zeromq", channel("zeromq"), 60, True),
        SinkStatus("door", channel("x"), 0, False),
        SinkStatus(
            "mqtt", channel("mqtt"), 9, True, LinkStatus(True, 2, 7, 1, 3, {"queue_full": 4})
        ),
    ),
    stages={"wait": durations(0.002), "infer": durations(0.01, 0.02, 6.0), "publish": durations()},
    device_warning="running on the CPU",
    inference_faults={"hang": 1, "batch_split": 2},
    inference_stuck_s=3.5,
    load=Load(
        level=3,
        input_scale=0.5,
        paused=frozenset({"door"}),
        steps={"down": 4, "up": 1},
        capacity=61.5,
        busy_s=1234.5,
        service_s={(320, 1): 0.006, (640, 4): 0.06},
    ),
    batches=DurationStats((1, 2, 4), (3, 0, 5, 1), 40.0),
    gpu=GpuUse(1, 3 << 30, 8 << 30, 0.37),
    refused={("events", "no_key"): 3, ("replay", "not_allowed"): 0},
    connected={"events": 2, "replay": 1},
    restreams=[
        RestreamStatus(
            "hall",
            "rtsp://h/hall",
            "backing_off",
            "refused",
            "it is down",
            sent=5,
            skipped=2,
            dropped={"queue_full": 3},
            losses={"refused": 1},
        )
    ],
)
EMPTY = replace(
    FULL,
    cameras=(),
    sinks=(),
    stages={},
    watching=None,
    gpu=None,
    refused={},
    connected={},
    restreams=(),
)


def scrape(status: Status) -> dict[Key, float]:
    body, _ = Metrics(lambda: status).exposition()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


def value(scraped: dict[Key, float], name: str, **labels: str) -> float:
    return scraped[name, frozenset(labels.items())]


def test_what_is_read_is_what_was_put_in() -> None:
    scraped = scrape(FULL)
    door = {"camera": "door"}
    for name, expected in {
        "streamer_frames_captured_total": 99,
        "streamer_frames_detected_total": 60,
        "streamer_frames_tracked_total": 10,
        "streamer_frames_skipped_total": 5,
        "streamer_frames_in_flight": 2,
        "streamer_ledger_imbalance_frames": 0,
        "streamer_faces_detected_total": 2**60,
        "streamer_faces_visible": 2,
        "streamer_newest_result_age_seconds": 0.25,
        "streamer_camera_up": 1,
        "streamer_decode_errors_total": 5,
        "streamer_latency_seconds_count": 5,
    }.items():
        assert value(scraped, name, **door) == expected, name
    dropped = "streamer_frames_dropped_total"
    assert value(scraped, dropped, stage="infer", reason="queue_full", **door) == 15
    assert value(scraped, dropped, stage="capture", reason="shutdown", **door) == 4
    assert value(scraped, "streamer_source_losses_total", reason="stall", **door) == 2
    assert value(scraped, "streamer_camera_fps", stage="capture", **door) == 24.98
    assert value(scraped, "streamer_camera_fps", stage="detect", **door) == 1e-9
    assert value(scraped, "streamer_camera_fps", stage="publish", **door) == 12.25
    assert value(scraped, "streamer_camera_max_age_seconds", **door) == 1.5
    assert value(scraped, "streamer_inference_fallback") == 1
    spent = "streamer_camera_stage_duration_seconds"
    assert value(scraped, f"{spent}_sum", stage="wait", **door) == 0.75
    assert value(scraped, f"{spent}_count", stage="infer", **door) == 1
    assert value(scraped, "streamer_inference_batch_frames_bucket", le="4") == 8
    assert value(scraped, "streamer_inference_batch_frames_sum") == 40
    assert value(scraped, "streamer_viewers") == 1
    assert value(scraped, "streamer_detect_requests_total", status="200") == 5
    assert value(scraped, "streamer_detect_requests_total", status="503") == 2
    assert value(scraped, "streamer_detect_waiting") == 3
    assert value(scraped, "streamer_detect_duration_seconds_sum") == 19.72
    assert value(scraped, "streamer_gpu_memory_used_bytes", gpu="1") == 3 << 30
    assert value(scraped, "streamer_gpu_memory_bytes", gpu="1") == 8 << 30
    assert value(scraped, "streamer_gpu_busy_ratio", gpu="1") == 0.37
    assert value(scraped, "streamer_queue_capacity", queue="lane:door") == 1
    assert value(scraped, "streamer_queue_capacity", queue="sink:door") == 4
    assert value(scraped, "streamer_queue_depth", queue="sink:zeromq") == 1
    assert value(scraped, "streamer_queue_peak", queue="sink:zeromq") == 3
    assert value(scraped, "streamer_sink_written_total", sink="zeromq") == 60
    assert value(scraped, "streamer_sink_dropped_total", sink="zeromq", reason="queue_full") == 7
    assert value(scraped, "streamer_sink_up", sink="zeromq") == 1
    assert value(scraped, "streamer_sink_up", sink="door") == 0
    assert value(scraped, "streamer_stage_duration_seconds_count", stage="infer") == 3
    assert value(scraped, "streamer_build_info", version="0.1.0+dirty") == 1
    provider = {"requested": "auto", "active": "CPUExecutionProvider", "model": AWKWARD}
    assert value(scraped, "streamer_inference_provider_info", **provider) == 1
    assert value(scraped, "streamer_uptime_seconds") == 12.5
    assert value(scraped, "process_resident_memory_bytes") > 0


def test_awkward_label_values_survive() -> None:
    scraped = scrape(FULL)
    assert value(scraped, "streamer_camera_up", camera=AWKWARD) == 0
    assert value(scraped, "streamer_queue_depth", queue=f"lane:{AWKWARD}") == 0


def test_exactly_one_state_is_1() -> None:
    scraped = scrape(FULL)
    for camera, state in (("door", "live"), (AWKWARD, "backing_off")):
        for each in STATES:
            told = value(scraped, "streamer_camera_state", camera=camera, state=each)
            assert told == (each == state)


def test_histograms_are_cumulative_and_end_with_all() -> None:
    scraped = scrape(FULL)
    buckets = {
        dict(labels)["le"]: number
        for (name, labels), number in scraped.items()
        if name == "streamer_latency_seconds_bucket" and ("camera", "door") in labels
    }
    assert len(buckets) == len(DOOR.latency.counts)
    assert (buckets["0.001"], buckets["0.002"], buckets["0.05"]) == (1, 2, 3)
    assert (buckets["2.0"], buckets["5.0"], buckets["+Inf"]) == (3, 4, 5)
    assert value(scraped, "streamer_latency_seconds_sum", camera="door") == DOOR.latency.sum_s


def test_the_ledger_closes_in_what_is_told() -> None:
    scraped = scrape(FULL)

    def total(name: str) -> float:
        return sum(
            v for (n, labels), v in scraped.items() if n == name and ("camera", "door") in labels
        )

    parts = ("detected_total", "tracked_total", "skipped_total", "dropped_total")
    found = sum(total(f"streamer_frames_{part}") for part in (*parts, "in_flight"))
    assert total("streamer_frames_captured_total") == found


def test_no_data_is_no_series_rather_than_a_zero() -> None:
    scraped = scrape(FULL)
    name = "streamer_newest_result_age_seconds"
    assert (name, frozenset({("camera", AWKWARD)})) not in scraped


def test_what_is_given_up_under_load_is_told() -> None:
    scraped = scrape(FULL)
    assert value(scraped, "streamer_overload_level") == 3
    assert value(scraped, "streamer_overload_steps_total", direction="down") == 4
    assert value(scraped, "streamer_input_scale") == 0.5
    assert value(scraped, "streamer_camera_paused", camera="door") == 1
    assert value(scraped, "streamer_camera_paused", camera=AWKWARD) == 0
    assert value(scraped, "streamer_capacity_frames_per_second") == 61.5
    assert value(scraped, "streamer_workers_busy_seconds_total") == 1234.5
    assert value(scraped, "streamer_service_time_seconds", input="640", batch="4") == 0.06


def test_a_camera_that_was_removed_is_gone_from_the_next_scrape() -> None:
    status = FULL
    metrics = Metrics(lambda: status)
    assert b'camera="door"' in metrics.exposition()[0]
    status = replace(FULL, cameras=(NEW,))
    assert b'camera="door"' not in metrics.exposition()[0]


def test_the_table_and_what_is_told_agree() -> None:
    body, _ = Metrics(lambda: FULL).exposition()
    told = {f.name: f for f in parse_text(body.decode()) if f.name.startswith("streamer_")}
    assert list(told) == [metric.name.removesuffix("_total") for metric in METRICS]
    for metric in METRICS:
        family = told[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.type, metric.meaning)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_who_is_on_call_is_told_what_to_do_about_each() -> None:
    for metric in METRICS:
        assert metric.action.endswith(("?", ".")), f"{metric.name}: say what to do when it moves"
        assert metric.meaning.endswith("."), metric.name
        assert "|" not in metric.meaning + metric.action, metric.name


def test_what_is_not_there_is_not_told() -> None:
    told = Metrics(lambda: EMPTY).exposition()[0]
    assert b"streamer_viewers" not in told
    assert b"streamer_detect" not in told
    assert b"streamer_gpu" not in told


def test_the_status_is_read_once_for_each_scrape_and_not_before() -> None:
    reads = []

    def read() -> Status:
        reads.append(1)
        return FULL

    metrics = Metrics(read)
    assert len(reads) == 0
    metrics.exposition()
    metrics.exposition()
    assert len(reads) == 2


def test_no_created_series() -> None:
    for accept in ("", "application/openmetrics-text"):
        assert b"_created" not in Metrics(lambda: FULL).exposition(accept)[0]


ACCEPTED = (
    "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


def test_openmetrics_is_given_to_who_asks_and_says_the_same() -> None:
    metrics = Metrics(lambda: FULL)
    body, kind = metrics.exposition(ACCEPTED)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    plain, plain_kind = metrics.exposition("text/html,*/*")
    assert plain_kind == "text/plain; version=0.0.4; charset=utf-8"

    def ours(families: object) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
        return {
            (sample.name, frozenset(sample.labels.items()), sample.value)
            for family in families  # type: ignore[attr-defined]
            for sample in family.samples
            if sample.name.startswith("streamer_")
        }

    assert ours(parse_openmetrics(body.decode())) == ours(parse_text(plain.decode()))


def test_an_empty_program_is_told_too() -> None:
    assert value(scrape(EMPTY), "streamer_uptime_seconds") == 12.5


@pytest.mark.prometheus
@pytest.mark.parametrize("status", [FULL, EMPTY], ids=["full", "empty"])
def test_prometheus_finds_nothing_to_complain_of(status: Status) -> None:
    body, _ = Metrics(lambda: status).exposition()
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=body, capture_output=True, timeout=60
    )
    assert (checked.stdout + checked.stderr).decode() == ""
    assert checked.returncode == 0


def test_faults_of_the_device_are_counted() -> None:
    scraped = scrape(FULL)
    assert value(scraped, "streamer_inference_faults_total", kind="hang") == 1
    assert value(scraped, "streamer_inference_faults_total", kind="batch_split") == 2
    assert value(scraped, "streamer_inference_stuck_seconds") == 3.5


def test_viewers_are_counted_all_together() -> None:
    scraped = scrape(FULL)
    assert value(scraped, "streamer_viewers") == 1
    assert value(scraped, "streamer_viewer_pictures_total") == 70
    assert value(scraped, "streamer_viewer_dropped_total", reason="slow") == 2
    assert value(scraped, "streamer_viewer_dropped_total", reason="paced") == 1
    assert value(scraped, "streamer_viewers_cut_off_total") == 1


def test_subscribers_are_counted_by_socket() -> None:
    scraped = scrape(FULL)
    for socket, connected in (("events", 2), ("replay", 1), ("sse", 4)):
        assert value(scraped, "streamer_subscribers", socket=socket) == connected


@pytest.mark.parametrize("state", STATES)
def test_a_camera_is_up_while_it_is_live_and_then_only(state: State) -> None:
    camera = replace(DOOR, source=replace(DOOR.source, state=state))
    scraped = scrape(replace(FULL, cameras=[camera]))
    assert value(scraped, "streamer_camera_up", camera="door") == (state == "live")


def test_why_since_when_and_how_often_a_camera_is_what_it_is() -> None:
    source = SourceState("backing_off", 0.0, "dns", "no such host", epoch=2)
    scraped = scrape(replace(FULL, cameras=[replace(DOOR, source=source, in_state_s=7.5, late=3)]))
    door = {"camera": "door"}
    assert value(scraped, "streamer_camera_reason", reason="dns", **door) == 1
    assert value(scraped, "streamer_camera_state_seconds", **door) == 7.5
    assert value(scraped, "streamer_camera_lives_total", **door) == 3
    assert value(scraped, "streamer_results_late_total", **door) == 3
    scraped = scrape(FULL)
    assert value(scraped, "streamer_camera_reason", reason="none", **door) == 1
    lives = {labels for name, labels in scraped if name == "streamer_camera_lives_total"}
    assert lives == {frozenset(door.items())}  # the other had none yet


def test_a_bridge_that_had_nothing_to_say_is_not_told_as_down() -> None:
    def connected(link: LinkStatus) -> list[float]:
        sink = SinkStatus("webhook", channel("webhook"), 0, True, link)
        scraped = scrape(replace(FULL, sinks=[sink]))
        return [v for (name, _), v in scraped.items() if name == "streamer_bridge_connected"]

    assert connected(LinkStatus(False)) == []
    assert connected(LinkStatus(False, trouble="nobody answers")) == [0]
    assert connected(LinkStatus(True)) == [1]


def test_frames_that_are_only_filled_are_no_part_of_the_queue() -> None:
    camera = replace(DOOR, lane=channel("door", depth=5, capacity=1, peak=1, beside=4))
    scraped = scrape(replace(FULL, cameras=[camera]))
    assert value(scraped, "streamer_queue_depth", queue="lane:door") == 1
    assert value(scraped, "streamer_queue_peak", queue="lane:door") == 1
