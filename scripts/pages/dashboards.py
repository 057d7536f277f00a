"""deploy/grafana/dashboards/*.json: all cameras on one screen, and one camera on another.

A dashboard is a list of panels; here each is one call, so that what it asks and what it is for
stand side by side. Every expression must give data while the demo runs (tests/deploy proves it),
so what may have no series yet falls back to a 0 that says "none".
"""

from __future__ import annotations

from typing import Any

from scripts.pages.panels import (
    BAD,
    GOOD,
    ODD,
    Query,
    cameras_table,
    dashboard,
    graph,
    or_none,
    stat,
    steps,
    timeline,
    variable,
)  # fmt: skip

CHOSEN = 'instance=~"$instance"'
ONE = 'instance=~"$instance", camera="$camera"'


def _p(q: float, by: str, chosen: str) -> str:
    buckets = f"rate(streamer_latency_seconds_bucket{{{chosen}}}[$__rate_interval])"
    return f"histogram_quantile({q}, sum by ({by}le) ({buckets}))"


def _alerts(chosen: str) -> dict[str, Any]:
    """What fires now: a green "none", or a red name for each."""
    firing = f'ALERTS{{alertstate="firing", alertname=~"Streamer.+", {chosen}}}'
    return stat(
        "Alerts that fire", "What to do about each: docs/runbook.md, a section for each name.",
        Query(or_none(f"max by (alertname, instance, camera, sink) ({firing})", "alertname"),
              "{{alertname}} {{instance}} {{camera}}{{sink}}"),
        name=True, width=20, colours=steps((None, GOOD), (1, BAD)),
    )  # fmt: skip


def fleet() -> str:
    """All cameras: which is down, what is slow, and why. Two streamers may have one of a name."""
    c, rate = CHOSEN, "[$__rate_interval]"
    dropped = f"rate(streamer_frames_dropped_total{{{c}}}{rate})"
    captured = f"sum(rate(streamer_frames_captured_total{{{c}}}{rate}))"
    up = f'up{{job="streamer", {c}}}'
    panels = [
        # None of these two says 0 of a streamer that is not there: "no data" is no good news.
        stat("Not answering", "Streamers that Prometheus asks in vain. Of their cameras nothing is "
             "known.", Query(f"count({up}) - sum({up})"), colours=steps((None, GOOD), (1, BAD))),
        _alerts(c),
        stat("Cameras live", "Cameras that give pictures at this moment.",
             Query(f"sum(streamer_camera_up{{{c}}})")),
        stat("Not live", "Cameras that should give pictures and give none; paused ones and files "
             "that ended are not among them. The table says which, and why.",
             Query(f'sum(streamer_camera_state{{{c}, state!~"live|ended|stopped"}})'),
             colours=steps((None, GOOD), (1, BAD))),
        stat("Frames looked at", "Of all cameras together.",
             Query(f"sum(rate(streamer_frames_detected_total{{{c}}}{rate}))"), unit="cps"),
        stat("Latency, 99th percentile", "From capture to publishing, all cameras.",
             Query(_p(0.99, "", c)), unit="s", colours=steps((None, GOOD), (0.5, ODD), (1, BAD))),
        stat("Frames lost", "Share of all frames that were let go unseen.",
             Query(f"sum({dropped}) / {captured} or on () vector(0)"), unit="percentunit",
             colours=steps((None, GOOD), (0.1, ODD), (0.5, BAD))),
        stat("Runs on", "The device in use and the model.",
             Query(f"streamer_inference_provider_info{{{c}}}", "{{active}}: {{model}}"), name=True),
        timeline("Which camera was live when", "Green while pictures come, red while none do.",
                 Query(f"streamer_camera_up{{{c}}}", "{{instance}} {{camera}}")),
        cameras_table("Cameras", "Click a name for that camera alone.", {
            "(state)": (Query(
                f"max by (instance, camera, state) (streamer_camera_state{{{c}}} == 1)"), "short"),
            "(reason)": (Query(
                f"max by (instance, camera, reason) (streamer_camera_reason{{{c}}})"), "short"),
            "for": (Query(
                f"max by (instance, camera) (streamer_camera_state_seconds{{{c}}})"), "s"),
            "captured": (Query(f'max by (instance, camera) (streamer_camera_fps{{{c}, stage="capture"}})'),
                         "cps"),
            "looked at": (Query(f'max by (instance, camera) (streamer_camera_fps{{{c}, stage="detect"}})'),
                          "cps"),
            "published": (Query(f'max by (instance, camera) (streamer_camera_fps{{{c}, stage="publish"}})'),
                          "cps"),
            "newest result": (Query(
                f"max by (instance, camera) (streamer_newest_result_age_seconds{{{c}}})"), "s"),
            "latency p99": (Query(_p(0.99, "instance, camera, ", c)), "s"),
            "faces": (Query(f"max by (instance, camera) (streamer_faces_visible{{{c}}})"), "short"),
            "times lost": (Query(
                f"sum by (instance, camera) (streamer_source_losses_total{{{c}}}) or "
                f"max by (instance, camera) (0 * streamer_camera_up{{{c}}})"), "short"),
        }),
        graph("Frames looked at", "By camera. Even lines are a fair share of what there is.",
              Query(f'streamer_camera_fps{{{c}, stage="detect"}}', "{{instance}} {{camera}}"), unit="cps"),
        graph("Latency, 99th percentile", "By camera, from capture to publishing.",
              Query(_p(0.99, "instance, camera, ", c), "{{instance}} {{camera}}"), unit="s"),
        graph("Age of the newest result", "A line that climbs is a camera that nothing comes from.",
              Query(f"streamer_newest_result_age_seconds{{{c}}}", "{{instance}} {{camera}}"), unit="s"),
        graph("Frames lost, by reason", "queue_full, deadline, overload: more to do than can be.",
              Query(or_none(f"sum by (stage, reason) ({dropped})", "reason"),
                    "{{stage}} {{reason}}"), unit="cps", stacked=True),
        graph("Where a frame's time goes", "Mean by stage: wait is for a worker.",
              Query(f"sum by (stage) (rate(streamer_stage_duration_seconds_sum{{{c}}}{rate})) / "
                    f"sum by (stage) (rate(streamer_stage_duration_seconds_count{{{c}}}{rate}))",
                    "{{stage}}"), unit="s", stacked=True),
        graph("Queues", "Full is 1, of frames to be looked at and of results: what reads a full queue is the slow part.",
              Query(f"streamer_queue_depth{{{c}}} / streamer_queue_capacity{{{c}}}", "{{queue}}"),
              unit="percentunit"),
        graph("Sinks", "Results that each took, and lost.",
              Query(f"sum by (sink) (rate(streamer_sink_written_total{{{c}}}{rate}))",
                    "{{sink}} written"),
              Query(or_none(f"sum by (sink) (rate(streamer_sink_dropped_total{{{c}}}{rate}))",
                            "sink"), "{{sink}} lost"), unit="cps"),
        graph("Bridges, restream", "Messages that wait for the other end's yes; 0 or 1: is it "
              "there; pictures a second to the RTSP server.",
              Query(or_none(f"streamer_bridge_waiting{{{c}}}", "sink"), "{{sink}} waiting"),
              Query(or_none(f"streamer_bridge_connected{{{c}}}", "sink"), "{{sink}} connected"),
              Query(or_none(f"sum by (sink, reason) (rate(streamer_bridge_lost_total{{{c}}}{rate}))",
                            "sink"), "{{sink}} lost: {{reason}}"),
              Query(or_none(f"sum by (instance, camera) (rate(streamer_restream_sent_total{{{c}}}{rate}))",
                            "camera"), "{{instance}} {{camera}} restream")),
        graph("Given up because of overload", "0 steps is nothing. Below an input scale of 1 small "
              "faces are missed.",
              Query(f"streamer_overload_level{{{c}}}", "steps"),
              Query(f"streamer_input_scale{{{c}}}", "input scale")),
        graph("Load", "Workers that are busy; frames in one run of the model.",
              Query(f"rate(streamer_workers_busy_seconds_total{{{c}}}{rate})", "workers busy"),
              Query(f"rate(streamer_inference_batch_frames_sum{{{c}}}{rate}) / "
                    f"rate(streamer_inference_batch_frames_count{{{c}}}{rate})", "batch")),
        graph("CPU", "Cores in use by the process.",
              Query(f'rate(process_cpu_seconds_total{{job="streamer", {c}}}{rate})',
                    "{{instance}}")),
        graph("Memory", "In RAM, and of the GPU where there is one.",
              Query(f'process_resident_memory_bytes{{job="streamer", {c}}}', "{{instance}}"),
              Query(or_none(f"streamer_gpu_memory_used_bytes{{{c}}}", "gpu"), "GPU {{gpu}}"),
              unit="bytes"),
        graph("Viewers, subscribers, files", "Who watches pictures and hears events now; files and "
              "sockets that are open.",
              Query(f"streamer_viewers{{{c}}}", "viewers"),
              Query(f"sum by (socket) (streamer_subscribers{{{c}}})", "{{socket}}"),
              Query(f'process_open_fds{{job="streamer", {c}}}', "open files")),
        graph("Pictures sent to /detect", "Answers a second by HTTP status; pictures on their way.",
              Query(or_none(f"sum by (status) (rate(streamer_detect_requests_total{{{c}}}{rate}))",
                            "status"), "{{status}}"),
              Query(f"streamer_detect_waiting{{{c}}}", "on their way")),
    ]  # fmt: skip
    instance = variable("instance", "streamer", 'label_values(up{job="streamer"}, instance)',
                         several=True)  # fmt: skip
    return dashboard("streamer-fleet", "streamer: fleet", [instance], panels)


def camera() -> str:
    """One camera: what it does, what becomes of its frames, and where their time goes."""
    c, rate = ONE, "[$__rate_interval]"

    def per_second(name: str) -> str:
        return f"sum(rate(streamer_{name}{{{c}}}{rate}))"

    spent = "streamer_camera_stage_duration_seconds"
    panels = [
        stat("Why", "The reason that it is not live.",
             Query(f"streamer_camera_reason{{{c}}}", "{{reason}}"), name=True),
        _alerts('instance=~"$instance", camera="$camera"'),
        stat("State", "What the camera does now; docs/cameras.md says what each means.",
             Query(f"streamer_camera_state{{{c}}} == 1", "{{state}}"), name=True,
             colours=steps((None, "blue"))),
        stat("Newest result", "Its age, from capture.",
             Query(f"streamer_newest_result_age_seconds{{{c}}}"), unit="s",
             colours=steps((None, GOOD), (1, ODD), (5, BAD))),
        stat("Captured", "Frames per second that the camera gives.",
             Query(f'streamer_camera_fps{{{c}, stage="capture"}}'), unit="cps"),
        stat("Looked at", "Frames per second.",
             Query(f'streamer_camera_fps{{{c}, stage="detect"}}'), unit="cps"),
        stat("Latency, 99th percentile", "From capture to publishing.",
             Query(_p(0.99, "", c)), unit="s", colours=steps((None, GOOD), (0.5, ODD), (1, BAD))),
        stat("Faces", "In the newest result.", Query(f"streamer_faces_visible{{{c}}}")),
        timeline("When it was live", "Green while pictures come, red while none do.",
                 Query(f"streamer_camera_up{{{c}}}", "{{camera}}")),
        graph("Frames per second", "From the camera, by the detector, to the sinks.",
              Query(f"streamer_camera_fps{{{c}}}", "{{stage}}"), unit="cps", width=12),
        graph("What becomes of its frames", "Together they are all frames that were captured.",
              Query(per_second("frames_detected_total"), "detected"),
              Query(per_second("frames_tracked_total"), "tracked"),
              Query(per_second("frames_skipped_total"), "skipped"),
              Query(f"{per_second('frames_dropped_total')} or on () vector(0)", "dropped"),
              unit="cps", width=12, stacked=True),
        graph("Latency", "From capture to publishing, beside what is promised (max_age_s).",
              Query(_p(0.5, "", c), "median"), Query(_p(0.99, "", c), "99th percentile"),
              Query(f"streamer_camera_max_age_seconds{{{c}}} or on () vector(NaN)", "promise"),
              unit="s", width=12),
        graph("Where its time goes", "Mean by stage: wait is for a worker.",
              Query(f"rate({spent}_sum{{{c}}}{rate}) / rate({spent}_count{{{c}}}{rate})",
                    "{{stage}}"), unit="s", width=12, stacked=True),
        graph("Frames lost, by reason", "queue_full, deadline, overload: more to do than can be.",
              Query(or_none(f"sum by (stage, reason) (rate(streamer_frames_dropped_total{{{c}}}"
                            f"{rate}))", "reason"), "{{stage}} {{reason}}"), unit="cps"),
        graph("Times it was lost, by reason", "All so far; each step is one.",
              Query(or_none(f"sum by (reason) (streamer_source_losses_total{{{c}}})", "reason"),
                    "{{reason}}")),
        graph("Faces", "In the newest result, over time.",
              Query(f"streamer_faces_visible{{{c}}}", "faces")),
        graph("Stream faults", "Packets without a picture, jumps of its clock, dials: per minute.",
              Query(f"60 * {per_second('decode_errors_total')}", "decode errors"),
              Query(f"60 * {per_second('timestamp_jumps_total')}", "clock jumps"),
              Query(f"60 * {per_second('source_dials_total')}", "dials")),
        graph("Frozen, paused", "1: one picture repeated; 1: not looked at because of overload.",
              Query(f"streamer_camera_frozen{{{c}}}", "frozen"),
              Query(f"streamer_camera_paused{{{c}}}", "paused")),
        graph("Frames on the way", "Waiting for a worker, or with one.",
              Query(f"streamer_frames_in_flight{{{c}}}", "in flight"),
              Query(f"streamer_ledger_imbalance_frames{{{c}}}", "unaccounted for")),
    ]  # fmt: skip
    # One: cameras of two streamers may have the same name.
    instance = variable("instance", "streamer", 'label_values(up{job="streamer"}, instance)',
                         several=False)  # fmt: skip
    one = variable("camera", "camera", 'label_values(streamer_camera_up{instance=~"$instance"}, '
                    "camera)", several=False)  # fmt: skip
    return dashboard("streamer-camera", "streamer: camera", [instance, one], panels)
