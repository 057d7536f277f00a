"""The whole machine on one screen: capture, infer, publish.

Each is a plain function. Its inputs and outputs are its arguments, its state is its local
variables; it ends by returning. ``app`` puts each on a thread and joins them by channels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamer.errors import DetectionFailed
from streamer.flow.channel import Channel
from streamer.flow.fan import FanIn, FanOut, Lane
from streamer.flow.meters import Durations, Rate
from streamer.log import get_logger
from streamer.protocols import Detector, Sink, Source, Tracker
from streamer.types import Failure, Frame, Outcome, Result, Stamps

log = get_logger("infer")

FAILURES_IN_A_ROW = 3
"""A detector that fails this often in a row, whatever the camera, is broken: the program ends."""


@dataclass(slots=True)
class CameraMeters:
    """What the stages count for one camera, besides the lane's ledger."""

    captured: Rate
    detected: Rate
    latency: Durations
    faces_total: int = 0
    faces_now: int = 0
    newest_captured_at: float | None = None


@dataclass(frozen=True, slots=True)
class StageMeters:
    """Time spent by station: in the lane, in the detector, and from there to each sink's end."""

    wait: Durations
    infer: Durations
    publish: Durations


def capture(
    source: Source,
    lane: Lane[Frame],
    wants: Callable[[float], bool],
    meters: CameraMeters,
    *,
    stop: threading.Event,
) -> None:
    """Stage 1, one for each camera: read frames, choose those to look at, offer them.

    ``wants`` says of a frame's instant (seconds) whether to look at it. A live lane lets the
    oldest go rather than wait; a file lane waits. Files are paced by their own time, so that
    ``max_fps`` means the same however fast the file is read.
    """
    for frame in source.frames(stop):
        meters.captured.tick()
        at = frame.captured_at if source.live or frame.pts is None else frame.pts
        if wants(at):
            lane.put(frame)
        else:
            lane.skip()


def infer(
    lanes: FanIn[Frame],
    detectors: Mapping[str, Detector],
    trackers: Mapping[str, Tracker],
    outlet: FanOut[Outcome],
    meters: Mapping[str, CameraMeters],
    times: StageMeters,
    *,
    max_batch: int,
    clock: Callable[[], float],
) -> None:
    """Stage 2, one for each worker: take what is ready, find faces, give them identity.

    ``detectors`` and ``trackers`` are by camera; cameras that share a detector share a batch. A
    frame that could not be looked at becomes a :class:`Failure`, counted as dropped, and is
    never an empty result.
    """
    failures = 0
    for batch in lanes.batches(max_batch):
        with batch:
            taken_at = clock()
            for positions in _by_detector(batch.items, detectors):
                frames = [batch.items[p] for p in positions]
                detector = detectors[frames[0].camera]
                try:
                    found = detector.detect([frame.picture for frame in frames])
                except DetectionFailed as error:
                    failures += 1
                    log.warning("detection_failed", camera=frames[0].camera, reason=str(error))
                    if failures >= FAILURES_IN_A_ROW:
                        raise
                    stamps = [Stamps(f.captured_at, taken_at, clock()) for f in frames]
                    for p, frame, stamp in zip(positions, frames, stamps, strict=True):
                        outlet.put(Failure(frame, stamp, str(error)))
                        batch.drop(p, "failed")
                    continue
                failures = 0
                detected_at = clock()
                for p, frame, faces in zip(positions, frames, found, strict=True):
                    tracks = trackers[frame.camera].update(faces, frame.captured_at)
                    times.wait.observe(taken_at - frame.captured_at)
                    times.infer.observe(detected_at - taken_at)
                    stamp = Stamps(frame.captured_at, taken_at, detected_at)
                    outlet.put(Result(frame, tracks, stamp))
                    batch.settle(p, "detected")
                    meter = meters[frame.camera]
                    meter.detected.tick()
                    meter.faces_total += len(tracks)
                    meter.faces_now = len(tracks)
                    meter.newest_captured_at = frame.captured_at


def _by_detector(frames: Sequence[Frame], detectors: Mapping[str, Detector]) -> list[list[int]]:
    """Positions of ``frames`` grouped by the detector of their camera."""
    groups: dict[int, list[int]] = {}
    for position, frame in enumerate(frames):
        groups.setdefault(id(detectors[frame.camera]), []).append(position)
    return list(groups.values())


def publish(
    inlet: Channel[Outcome],
    sink: Sink,
    latency: Mapping[str, Durations],
    times: Durations | None,
    *,
    clock: Callable[[], float],
) -> None:
    """Stage 3, one for each sink: write every outcome, then close the sink.

    ``latency`` (by camera, capture to the end of the write) and ``times`` (detection to the end
    of the write) are observed by the sink that people's programs listen to, and empty and None
    for the others.
    """
    try:
        for outcome in inlet:
            sink.write(outcome)
            written_at = clock()
            if times is not None:
                times.observe(written_at - outcome.stamps.detected_at)
            if outcome.frame.camera in latency:
                latency[outcome.frame.camera].observe(written_at - outcome.stamps.captured_at)
    finally:
        sink.close()
