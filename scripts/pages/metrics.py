"""docs/metrics.md: every metric, from the table in streamer/publish/metric_table.py."""

from __future__ import annotations

from collections.abc import Iterable

from streamer.camera_meters import BATCH_BOUNDS
from streamer.config import MAX_CAMERAS
from streamer.flow.meters import BUCKETS_S
from streamer.publish.metric_table import METRICS, Metric

GROUPS: dict[str, tuple[str, ...]] = {
    "Cameras": ("camera", "source", "decode", "timestamp"),
    "Frames": ("frames", "ledger", "motion"),
    "Faces": ("faces",),
    "Time": ("stage", "latency", "results", "newest"),
    "Queues": ("queue",),
    "Sinks and viewers": (
        "sink",
        "bridge",
        "subscribers",
        "zeromq",
        "viewers",
        "viewer",
        "restream",
    ),
    "Pictures that are sent": ("detect",),
    "Inference": ("inference", "gpu"),
    "Load": ("overload", "input", "capacity", "workers", "service"),
    "The program": ("build", "uptime"),
}
"""Headings, and the first words (after ``streamer_``) of the metrics below them."""

ELSEWHERE = "More"
"""The heading of metrics whose first word has none."""

HEAD = """\
# Metrics

Written from the code by `make docs`; change `streamer/publish/metric_table.py`, not this page.

`/metrics` at `http.bind` is for Prometheus: the plain text format, or OpenMetrics 1.0 for who asks
for it. Nothing is measured for a scrape: it reads counters that are there anyhow, once, so that
what it says fits together. A scrape of a camera that was removed no longer has it. Series named
`…_created` are not given. There are no exemplars: there are no traces that they could point to, and they cost
something (of CPU: 0.38 µs instead of 0.33 for each observation, 28 ms instead of 20 for the latencies of 100 cameras
in one scrape, which get 1.7 times as long).

Labels are bounded by the configuration (`camera`, `sink`, `queue`) or by the code (all others). Of what comes from a
network one thing becomes a label: the name of a camera that is added over HTTP (`POST /api/v1/cameras`, which needs a
token of `http.tokens.control` from other machines). It is 1 to 63 of a-z, 0-9, `-` and `_`, there are at most {cameras} cameras, and it goes with its camera.

The buckets of every duration end at {buckets} seconds,
and those of batches at {batches} frames.
[The alerts](runbook.md) say which of these matter at night.
"""

PROCESS = """\
## Process

| metric | type | unit | meaning |
|---|---|---|---|
| `process_cpu_seconds_total` | counter | seconds | CPU time used by streamer, all threads. |
| `process_resident_memory_bytes` | gauge | bytes | Memory in RAM, isolated cameras not counted. |
| `process_virtual_memory_bytes` | gauge | bytes | Address space; it says little. |
| `process_open_fds` | gauge | files | Open files and sockets. |
| `process_max_fds` | gauge | files | Most that the system allows. |
| `process_start_time_seconds` | gauge | Unix seconds | When the process began. |
"""


def heading_of(metric: Metric) -> str:
    """The heading that a metric stands under."""
    first = metric.name.removeprefix("streamer_").split("_")[0]  # "camera" of "camera_fps"
    return next((title for title, words in GROUPS.items() if first in words), ELSEWHERE)


def table(metrics: Iterable[Metric]) -> str:
    """Metrics as a Markdown table."""
    rows = [
        "| metric (type, unit, by its labels) | meaning | when it moves |",
        "|---|---|---|",
    ]
    for each in metrics:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        by = f", by {labels}" if labels else ""
        unit = f", {each.unit}" if each.unit else ""
        cells = (f"`{each.name}` ({each.type}{unit}{by})", each.meaning, each.action)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def page() -> str:
    """The whole page."""
    buckets = ", ".join(f"{bound:g}" for bound in BUCKETS_S)
    parts = [
        HEAD.format(buckets=buckets, batches=", ".join(map(str, BATCH_BOUNDS)), cameras=MAX_CAMERAS)
    ]
    for title in (*GROUPS, ELSEWHERE):
        mine = [metric for metric in METRICS if heading_of(metric) == title]
        if mine:
            parts.append(f"## {title}\n\n{table(mine)}\n")
    return "\n".join((*parts, PROCESS))
