"""Every metric of streamer: its name, what it means and what to do when it moves.

:mod:`streamer.publish.metrics` tells their values; docs/metrics.md is written from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its full name, its labels, the unit of its value and what it means.

    ``action`` says to whom is on call what to do when it moves; ``meaning`` is also the help text
    of a scrape.
    """

    name: str
    type: Literal["counter", "gauge", "histogram", "summary"]
    labels: tuple[str, ...]
    unit: str
    meaning: str
    action: str = ""


_CAMERA = ("camera",)

METRICS: Final = (
    Metric("streamer_frames_captured_total", "counter", _CAMERA, "frames",
           "Frames that came. At any instant captured = detected + tracked + skipped + dropped + "
           "in flight.",
           "Stands still: the camera gives nothing; look at `streamer_camera_state`."),
    Metric("streamer_frames_detected_total", "counter", _CAMERA, "frames",
           "Frames that a detector looked at.",
           "Stands still while captured grows: see the drops, and `streamer_camera_paused`."),
    Metric("streamer_frames_tracked_total", "counter", _CAMERA, "frames",
           "Frames whose faces were carried over from the one before, without a detector.",
           "Nothing: it is what `every`, `max_fps` and `motion` ask for while `fill` is on."),
    Metric("streamer_frames_skipped_total", "counter", _CAMERA, "frames",
           "Frames not looked at because of `every`, `max_fps` or `motion`.",
           "Nothing: it is what `every`, `max_fps` and `motion` ask for."),
    Metric("streamer_frames_still_total", "counter", _CAMERA, "frames",
           "Frames not looked at because nothing moved (`motion`); they are among the tracked, or "
           "the skipped without `fill`.",
           "Stands still where nobody passes: something moves all the time, or it is too noisy; "
           "see `streamer_motion_wakes_total`."),
    Metric("streamer_motion_wakes_total", "counter", _CAMERA, "times",
           "Times something began to move in a still scene (`motion`).",
           "Rises where nobody passes: give `motion_sensitivity` less, or aim the camera away from "
           "what moves."),
    Metric("streamer_frames_dropped_total", "counter", ("camera", "stage", "reason"), "frames",
           "Frames let go unseen, by the stage they were lost in and why (`failed`: the detector "
           "could not look at it; `fill_full`: it was not to be looked at, only filled, and it was "
           "late or others came; docs/runbook.md has the others).",
           "Rises: there is more to do than this machine can; the reason says where. "
           "`failed`: read the log."),
    Metric("streamer_frames_in_flight", "gauge", _CAMERA, "frames",
           "Frames between capture and their outcome now.",
           "Nothing: two or three are usual, a batch more while the model is busy."),
    Metric("streamer_ledger_imbalance_frames", "gauge", _CAMERA, "frames",
           "Captured frames that are nowhere. Anything but 0 is a fault of streamer.",
           "Report it, with the log and the configuration."),
    Metric("streamer_faces_detected_total", "counter", _CAMERA, "faces",
           "Faces found, counted again in each frame.",
           "Stands still where people pass: is the camera dark, covered or turned away?"),
    Metric("streamer_faces_visible", "gauge", _CAMERA, "faces",
           "Faces in the newest result.",
           "Old when the camera is down: read it with `streamer_newest_result_age_seconds`."),
    Metric("streamer_stage_duration_seconds", "histogram", ("stage",), "seconds",
           "Time one frame spends in a stage: wait (from capture until a worker takes it), infer, "
           "publish (from there until it is written).",
           "`wait` grows: too much to do. `infer` grows: the machine is shared or throttled. "
           "`publish` grows: a sink is slow."),
    Metric("streamer_camera_stage_duration_seconds", "summary", ("camera", "stage"), "seconds",
           "Time that the camera's frames spend in a stage, as a sum and a count.",
           "One camera waits longer than others: its `priority` or its input size is why."),
    Metric("streamer_latency_seconds", "histogram", _CAMERA, "seconds",
           "Time from capture to publishing, of frames that were looked at.",
           "Grows: see which of the stages does."),
    Metric("streamer_results_late_total", "counter", _CAMERA, "results",
           "Results, of frames that were looked at, that were older than `max_age_s` when they "
           "were published. Files have no such age.",
           "Rises: the promise is broken; see which of the stages takes long."),
    Metric("streamer_newest_result_age_seconds", "gauge", _CAMERA, "seconds",
           "Age of the newest published result of a look, or of a frame that was seen to be still, "
           "from its capture. Absent before the first.",
           "Grows by a second a second: nothing comes out; is the camera up, is it paused, is a "
           "sink slow?"),
    Metric("streamer_camera_max_age_seconds", "gauge", _CAMERA, "seconds",
           "How old a result of the camera may be, from capture: `max_age_s`. Absent for files "
           "and with `pacing: all`.",
           "It does not move; the latency should be below it."),
    Metric("streamer_queue_depth", "gauge", ("queue",), "items",
           "Items waiting now in a camera's lane (lane:NAME) or a sink's channel (sink:NAME). "
           "Frames that are only filled, not looked at, have room of their own and are not among "
           "them.",
           "At its capacity all the time: what reads that queue is the slow part."),
    Metric("streamer_queue_capacity", "gauge", ("queue",), "items",
           "Most items the queue may hold.",
           "It does not move."),
    Metric("streamer_queue_peak", "gauge", ("queue",), "items",
           "Most items the queue ever held.",
           "At its capacity: things may have been let go; see the drops."),
    Metric("streamer_camera_up", "gauge", _CAMERA, "",
           "1 while frames arrive from the camera, 0 otherwise.",
           "0: `streamer check` and the status page say why."),
    Metric("streamer_camera_state", "gauge", ("camera", "state"), "",
           "1 for the state the camera is in, 0 for all others (docs/cameras.md).",
           "`refused`: a password or a path is wrong, waiting will not help."),
    Metric("streamer_camera_reason", "gauge", ("camera", "reason"), "",
           "Always 1; its label says why the camera is not live (docs/cameras.md), `none` while it "
           "is or nothing is known.",
           "See the runbook, StreamerCameraDown, for what to do about each."),
    Metric("streamer_camera_state_seconds", "gauge", _CAMERA, "seconds",
           "How long the camera is in its state.",
           "Begins at 0 again and again: it comes and goes."),
    Metric("streamer_camera_lives_total", "counter", _CAMERA, "lives",
           "Times that its pictures began to come. Absent before the first.",
           "Rises: it was lost and came back, however fast; `streamer_source_losses_total` says "
           "why. A pause, or a change of its lines, begins a life too."),
    Metric("streamer_camera_fps", "gauge", ("camera", "stage"), "frames per second",
           "Frames per second over the last seconds, by stage: capture, detect or publish.",
           "Capture falls: the camera or its network. Detect falls alone: too much to do."),
    Metric("streamer_source_losses_total", "counter", ("camera", "reason"), "losses",
           "Times the camera was lost, by reason.",
           "Rises again and again: the network or the power of that camera."),
    Metric("streamer_decode_errors_total", "counter", _CAMERA, "packets",
           "Packets that gave no picture.",
           "Rises steadily: packets are lost; try `transport: tcp`, or a lower bit rate."),
    Metric("streamer_camera_frozen", "gauge", _CAMERA, "",
           "1 while pictures come but have not changed for ten seconds.",
           "1: the camera repeats one picture; start the camera again."),
    Metric("streamer_source_dials_total", "counter", _CAMERA, "dials",
           "Times the camera was dialled, the first included.",
           "Rises without losses: it never answers; check address, power and network."),
    Metric("streamer_timestamp_jumps_total", "counter", _CAMERA, "jumps",
           "Times the stream's own clock stood still, went back or leapt. It decides nothing.",
           "Rises steadily: the camera's clock or encoder is poor; nothing depends on it."),
    Metric("streamer_sink_written_total", "counter", ("sink",), "outcomes",
           "Outcomes, and changes of cameras, that the sink wrote.",
           "Stands still while frames are detected: the sink hangs."),
    Metric("streamer_sink_dropped_total", "counter", ("sink", "reason"), "outcomes",
           "Outcomes and changes that the sink did not get, by reason.",
           "Rises: the sink is slower than the cameras together."),
    Metric("streamer_sink_up", "gauge", ("sink",), "",
           "1 while the sink runs, 0 after it ended.",
           "0: the log says why; start streamer again."),
    Metric("streamer_bridge_connected", "gauge", ("sink",), "",
           "1 while a bridge (mqtt, nats or webhook) is connected to its other end, 0 while it "
           "fails to be. Absent before it tried: a webhook that had nothing to say yet.",
           "0: the log says why (`bridge_down`); cameras go on."),
    Metric("streamer_bridge_connects_total", "counter", ("sink",), "connections",
           "Connections that a bridge made, the first included.",
           "Rises often: the other end or the network comes and goes."),
    Metric("streamer_bridge_delivered_total", "counter", ("sink",), "messages",
           "Messages that the other end confirmed.",
           "Stands still while there are faces: see `streamer_bridge_connected`."),
    Metric("streamer_bridge_retries_total", "counter", ("sink",), "messages",
           "Messages, or batches, that were sent again.",
           "Rises: the other end is slow or fails; see its log."),
    Metric("streamer_bridge_waiting", "gauge", ("sink",), "messages",
           "Messages held now that the other end did not confirm yet.",
           "Grows: it takes less than it is given; choose fewer with `when`."),
    Metric("streamer_bridge_lost_total", "counter", ("sink", "reason"), "messages",
           "Messages that a bridge gave up, by reason; docs/bridges.md has them.",
           "Rises: the other end is away for too long or too slow."),
    Metric("streamer_subscribers", "gauge", ("socket",), "connections",
           "Who is connected now to hear of faces: to `events` or `replay` of ZeroMQ, or to `sse`, "
           "the events over HTTP. A connection that keys will refuse counts until it is.",
           "Falls to 0: nobody hears; is the program that should listen running?"),
    Metric("streamer_zeromq_refused_total", "counter", ("socket", "reason"), "connections",
           "Connections to `events` or `replay` ended because they sent `too_much` or were "
           "`too_many`, or refused by keys: `not_allowed`, `wrong_server_key`, `no_key`, or "
           "`broken` (it went before it was known).",
           "Rises: a subscriber floods, or has no key or a wrong one; docs/security.md."),
    Metric("streamer_viewers", "gauge", (), "viewers",
           "Browsers and other programs that watch pictures now. Absent without `http`.",
           "Many: each camera that is watched is drawn and encoded, once for all viewers."),
    Metric("streamer_viewer_pictures_total", "counter", (), "pictures",
           "Pictures sent to viewers, counted for each.",
           "Nothing: it is what people watch."),
    Metric("streamer_viewer_dropped_total", "counter", ("reason",), "pictures",
           "Pictures that viewers did not get, counted for each: `slow` (it did not take them in "
           "time), `busy` (streamer did not make them in time), `paced` (more than asked for).",
           "`busy` rises: too much to do, ask for smaller pictures. `slow`: that viewer, or its "
           "network; `/api/v1/status` says which."),
    Metric("streamer_viewers_cut_off_total", "counter", (), "viewers",
           "Viewers sent away because they did not read.",
           "Rises: a program asks for pictures and forgets them."),
    Metric("streamer_detect_requests_total", "counter", ("status",), "pictures",
           "Pictures sent to `/detect`, by HTTP status of the answer (503: too many wait, the "
           "cameras left no time, or the detector could not look). Absent where none are taken.",
           "503 rises: more is sent than is left beside the cameras; docs/http.md. 4xx: it is no "
           "picture, or too large a one."),
    Metric("streamer_detect_duration_seconds", "histogram", (), "seconds",
           "Time from the request to the answer, of pictures that were looked at (status 200).",
           "Grows: cameras come first; see `streamer_capacity_frames_per_second`."),
    Metric("streamer_detect_waiting", "gauge", (), "pictures",
           "Pictures on their way now: being read, decoded, waiting or looked at.",
           "At `http.detect.waiting` all the time: more is sent than can be looked at."),
    Metric("streamer_inference_provider_info", "gauge", ("requested", "active", "model"), "",
           "Always 1; its labels say the device asked for, the one in use and the model.",
           "`active` is the CPU where a GPU was meant: `streamer doctor` says what is missing."),
    Metric("streamer_inference_fallback", "gauge", (), "",
           "1 where `device: auto` saw signs of a GPU and does not use it, 0 otherwise.",
           "1: `streamer doctor` says what is missing. Set `device: cuda` to refuse to start so."),
    Metric("streamer_inference_batch_frames", "histogram", (), "frames",
           "Frames that were looked at in one run of the model; its count is the runs, and "
           "`streamer_workers_busy_seconds_total` over it what a run takes.",
           "At its largest all the time: the device is the limit."),
    Metric("streamer_inference_faults_total", "counter", ("kind",), "",
           "Runs of the model that went wrong and were borne: `hang` (ended after too long), "
           "`batch_split`, `input_shrunk`, `out_of_memory` (pictures given up).",
           "`hang`: look at the driver's log. The others: leave more memory to streamer."),
    Metric("streamer_inference_stuck_seconds", "gauge", (), "seconds",
           "How long a run of the model goes on although it was told to end; 0 when none does.",
           "More than 0: start streamer again, and the machine when that does not help."),
    Metric("streamer_gpu_memory_used_bytes", "gauge", ("gpu",), "bytes",
           "Memory of the GPU in use, by all programs. Absent without a GPU in use.",
           "Close to all: set `inference.gpu_memory_mb`, or end what else uses the GPU."),
    Metric("streamer_gpu_memory_bytes", "gauge", ("gpu",), "bytes",
           "Memory that the GPU has.",
           "It does not move."),
    Metric("streamer_gpu_busy_ratio", "gauge", ("gpu",), "",
           "Share of the last moment (a second at most) in which the GPU did anything, 0 to 1.",
           "Low while `infer` is slow: the GPU waits for the CPU."),
    Metric("streamer_restream_sent_total", "counter", _CAMERA, "pictures",
           "Pictures sent to the RTSP server of `publish.restream`.",
           "Stands still while frames are detected: see `streamer_restream_state`."),
    Metric("streamer_restream_skipped_total", "counter", _CAMERA, "pictures",
           "Pictures that came sooner than `publish.restream.fps` asks for.",
           "Nothing: it is what `fps` asks for."),
    Metric("streamer_restream_dropped_total", "counter", ("camera", "reason"), "pictures",
           "Pictures that were not sent: a newer one came (`queue_full`), or the server was away "
           "(`not_connected`).",
           "`queue_full` rises: encoding or the server is slow; give it less `width` or `fps`."),
    Metric("streamer_restream_losses_total", "counter", ("camera", "reason"), "times",
           "Times the RTSP server was lost or did not take the stream, by reason.",
           "Rises: the reason says whether it is down, slow, or refuses the password."),
    Metric("streamer_restream_state", "gauge", ("camera", "state"), "",
           "1 for the state the stream to the RTSP server is in, 0 for all others.",
           "`backing_off` or `stalled`: nobody sees this camera there; look at that server."),
    Metric("streamer_overload_level", "gauge", (), "steps",
           "Steps of what is given up because there is too much to do; 0 is nothing.",
           "More than 0 for long: fewer cameras, `every`, a smaller model, or a GPU."),
    Metric("streamer_overload_steps_total", "counter", ("direction",), "steps",
           "Steps taken (`down`) and taken back (`up`).",
           "Both rise: the load is just at the limit; give it a little less."),
    Metric("streamer_input_scale", "gauge", (), "",
           "Factor of the detector's input size: 1, 0.75 or 0.5; cameras with `privacy` keep 1.",
           "Below 1: small faces are missed meanwhile."),
    Metric("streamer_camera_paused", "gauge", _CAMERA, "",
           "1 while the camera is not looked at because there is too much to do.",
           "1: give the camera a higher `priority`, or the machine less to do."),
    Metric("streamer_capacity_frames_per_second", "gauge", (), "frames per second",
           "Frames that all workers can look at together, as measured lately.",
           "Falls without a change of yours: the machine is shared, hot or throttled."),
    Metric("streamer_workers_busy_seconds_total", "counter", (), "seconds",
           "Time that workers were busy, all added up.",
           "Its rate over the number of workers is their load; above 0.8 there is no room."),
    Metric("streamer_service_time_seconds", "gauge", ("input", "batch"), "seconds",
           "Time one batch takes, by input size in pixels: the 95th percentile of the last 32.",
           "Grows without a change of yours: the machine is shared, hot or throttled."),
    Metric("streamer_build_info", "gauge", ("version",), "",
           "Always 1; its label says the version.",
           "Changes with an update."),
    Metric("streamer_uptime_seconds", "gauge", (), "seconds",
           "Time since the start.",
           "Begins at 0 again and again: streamer is restarted; read its last log lines."),
)  # fmt: skip
"""Every metric of streamer, in the order of a scrape. The process metrics come with it."""
