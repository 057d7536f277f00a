"""The whole machine on one screen: capture, infer, publish, and a watch on the cameras.

Each is a plain function. Its inputs and outputs are its arguments, its state is its local
variables; it ends by returning. ``app`` puts each on a thread and joins them by channels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from streamer.errors import DetectionFailed, OutOfMemory, PictureFailed
from streamer.flow.channel import Channel
from streamer.flow.fan import Batch, FanIn, Lane
from streamer.flow.fan_out import FanOut
from streamer.flow.meters import Durations, Rate
from streamer.flow.order import FREE, Label
from streamer.log import get_logger
from streamer.protocols import BeatSink, ChangeSink, Detector, Reply, Sink, Source, Tracker
from streamer.types import (
    Beat,
    CameraChange,
    Failure,
    Frame,
    Published,
    Result,
    Stamps,
    Tracks,
)
from streamer.vision.tracking import joined

log = get_logger("infer")
_log_watch = get_logger("watch")

FAILURES_IN_A_ROW = 3
"""A detector that fails this often in a row, whatever the camera, is broken: the program ends."""

WATCH_S = 0.25
"""How often the cameras are looked at, seconds."""

BEAT_S = 1.0
"""How often a sign of life is given, seconds."""


STATIONS = ("wait", "infer", "publish")
"""Where a frame spends time: in the lane, in the detector, and from there until it is written."""

BATCH_BOUNDS = (1, 2, 4, 8, 16, 32)
"""Buckets of how many frames share a run of the model."""


@dataclass(slots=True)
class CameraMeters:
    """What the stages count for one camera, besides the lane's ledger."""

    captured: Rate
    detected: Rate
    latency: Durations
    published: Rate = field(default_factory=partial(Rate, time.monotonic))
    spent: Mapping[str, Durations] = field(
        default_factory=lambda: {s: Durations(bounds=(), recent=0) for s in STATIONS}
    )
    faces_total: int = 0
    faces_now: int = 0
    newest_captured_at: float | None = None
    view: tuple[int, int, int] | None = None
    """Epoch, width and height of the frame looked at last: what was tracked is good for these."""


@dataclass(slots=True)
class Position:
    """Where the numbers of a camera's frames go on: after the last that was captured."""

    epoch: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True)
class StageMeters:
    """Time spent by station: in the lane, in the detector, and from there to each sink's end.

    ``batches`` counts, in the place of seconds, the frames of each run of the model.
    """

    wait: Durations
    infer: Durations
    publish: Durations
    batches: Durations = field(default_factory=partial(Durations, bounds=BATCH_BOUNDS, recent=0))


@dataclass(frozen=True, slots=True)
class CameraWork:
    """What one camera's frames are looked at with, and where they are counted.

    ``size`` is the long side of the detector's input, pixels: frames of one size take the same
    time and share a batch. ``fills``: the faces of frames that are not looked at are predicted,
    and so are those that a look missed. ``reply``: it was asked about; its outcome goes there.
    """

    detector: Detector
    tracker: Tracker
    meters: CameraMeters
    size: int = 0
    fills: bool = False
    reply: Reply | None = None


class Job(NamedTuple):
    """A frame and what it is to be looked at with: what travels from capture to inference.

    ``looks`` False: it is not to be looked at, only its faces are to be predicted.
    """

    frame: Frame
    work: CameraWork
    looks: bool = True


def label_of(job: Job) -> Label:
    """What decides when a job is served: its age, and what it takes."""
    kind = job.work.size if job.work.reply is None else ("asked", job.work.size)
    return Label(job.frame.captured_at, kind if job.looks else FREE)


def capture(
    source: Source,
    lane: Lane[Job],
    wants: Callable[[float], bool],
    work: Callable[[], CameraWork | None],
    captured: Rate,
    position: Position,
    *,
    stop: threading.Event,
) -> None:
    """Stage 1, one for each camera: read frames, choose those to look at, offer them.

    ``wants`` says of a frame's instant (seconds) whether to look at it, and ``work`` what to look
    at it with, or None while there is too much to do for this camera to be looked at. A live
    lane lets the oldest go rather than wait; a file lane waits. Files are paced by their own
    time, so that ``max_fps`` means the same however fast the file is read. Numbers that are
    missing between frames were decoded and lost before they came here; they count as dropped.
    ``position`` is where the numbers begin, and goes on with them.
    """
    for frame in source.frames(stop):
        captured.tick()
        if frame.index > position.index:  # decoded in another process, and no room on the way
            lane.miss(frame.index - position.index, "ring_full")
        position.epoch, position.index = frame.epoch + 1, frame.index + 1
        at = frame.captured_at if source.live or frame.pts is None else frame.pts
        looks, now = wants(at), work()
        if now is None:
            lane.miss(1, "overload")
        elif looks or now.fills:
            lane.put(Job(frame, now, looks))
        else:
            lane.skip()
        del frame  # do not keep a picture alive while waiting for the next


def infer(
    lanes: FanIn[Job],
    outlet: FanOut[Published],
    times: StageMeters,
    *,
    max_batch: int,
    clock: Callable[[], float],
) -> None:
    """Stage 2, one for each worker: take what is ready, find faces, give them identity.

    Cameras that share a detector share a batch. A frame that could not be looked at becomes a
    :class:`Failure`, counted as dropped, and is never an empty result.
    """
    failures = 0
    for batch in lanes.batches(max_batch):
        with batch:
            taken_at = clock()
            for positions in _by_detector(batch.items):
                if not batch.items[positions[0]].looks:
                    _predict(batch, positions, outlet, taken_at)
                    continue
                if _look(batch, positions, outlet, times, taken_at, clock):
                    failures = 0
                    continue
                failures += 1
                if failures >= FAILURES_IN_A_ROW:
                    raise DetectionFailed(
                        f"the detector failed {failures} times in a row; the log says why"
                    )


def _look(
    batch: Batch[Job],
    positions: Sequence[int],
    outlet: FanOut[Published],
    times: StageMeters,
    taken_at: float,
    clock: Callable[[], float],
) -> bool:
    """Detect, track and hand on the jobs at ``positions``; False when the detector is at fault."""
    jobs = [batch.items[position] for position in positions]
    out = jobs[0].work.reply or outlet
    try:
        found = jobs[0].work.detector.detect([job.frame.picture for job in jobs])
    except DetectionFailed as error:
        log.warning("detection_failed", camera=jobs[0].frame.camera, reason=str(error))
        for position, (frame, *_) in zip(positions, jobs, strict=True):
            out.put(Failure(frame, Stamps(frame.captured_at, taken_at, clock()), str(error)))
            batch.drop(position, "failed")
        # Neither says that it is broken, and least of all what anybody may send.
        return out is not outlet or isinstance(error, PictureFailed | OutOfMemory)
    detected_at = clock()
    times.batches.observe(len(jobs))
    for position, (frame, work, _), faces in zip(positions, jobs, found, strict=True):
        meters = work.meters
        if _view(frame) != meters.view:  # dialled again, or another resolution
            work.tracker.reset()
            meters.view = _view(frame)
        tracks = work.tracker.update(faces, frame.captured_at)
        seen = len(tracks)
        if work.fills:
            tracks = joined(tracks, _predicted(frame, work))
        if out is outlet:
            times.wait.observe(taken_at - frame.captured_at)
            times.infer.observe(detected_at - taken_at)
        meters.spent["wait"].observe(taken_at - frame.captured_at)
        meters.spent["infer"].observe(detected_at - taken_at)
        out.put(Result(frame, tracks, Stamps(frame.captured_at, taken_at, detected_at)))
        batch.settle(position, "detected")
        meters.detected.tick()
        meters.faces_total += seen
        meters.faces_now = len(tracks)
        meters.newest_captured_at = frame.captured_at
    return True


def _predict(
    batch: Batch[Job], positions: Sequence[int], outlet: FanOut[Published], taken_at: float
) -> None:
    """Hand on the jobs at ``positions`` with the faces that are to be expected there."""
    for position in positions:
        frame, work, _ = batch.items[position]
        tracks = _predicted(frame, work)
        stamps = Stamps(frame.captured_at, taken_at, taken_at)
        outlet.put(Result(frame, tracks, stamps, "tracked"))
        batch.settle(position, "tracked")
        work.meters.faces_now = len(tracks)


def _predicted(frame: Frame, work: CameraWork) -> Tracks:
    """The faces that are to be expected in a frame, none where its camera sees anew."""
    if _view(frame) != work.meters.view:
        return Tracks.none()
    return work.tracker.predict(frame.captured_at, within=_view(frame)[1:])


def _view(frame: Frame) -> tuple[int, int, int]:
    return frame.epoch, frame.picture.width, frame.picture.height


def _by_detector(jobs: Sequence[Job]) -> list[list[int]]:
    """Positions of ``jobs`` by the detector of their camera; without a look; asked about, alone."""
    groups: dict[int, list[int]] = {}
    for position, (_, work, looks) in enumerate(jobs):
        groups.setdefault(id(work.reply or work.detector) if looks else 0, []).append(position)
    return list(groups.values())


def publish(
    inlet: Channel[Published],
    sink: Sink,
    meters: Callable[[str], CameraMeters | None] | None,
    times: Durations | None,
    *,
    clock: Callable[[], float],
) -> None:
    """Stage 3, one for each sink: write every outcome and change, then close the sink.

    ``meters`` gives those of a camera, whose latency is from capture to the end of the write, of
    frames that were looked at; ``times`` observes detection to the end of the write. Both belong
    to the sink that people's programs listen to, and are None for the others.
    """
    try:
        for outcome in inlet:
            if isinstance(outcome, CameraChange):
                if isinstance(sink, ChangeSink):
                    sink.write_change(outcome)
                continue
            if isinstance(outcome, Beat):
                if isinstance(sink, BeatSink):
                    sink.write_beat(outcome)
                continue
            sink.write(outcome)
            written_at = clock()
            if times is not None:
                times.observe(written_at - outcome.stamps.detected_at)
            counted = meters(outcome.frame.camera) if meters is not None else None
            if counted is not None:
                counted.published.tick()
                if outcome.status != "tracked":
                    counted.spent["publish"].observe(written_at - outcome.stamps.detected_at)
                    counted.latency.observe(written_at - outcome.stamps.captured_at)
            del outcome  # do not keep a picture alive while waiting for the next
    finally:
        sink.close()


def watch(
    changes: Callable[[], Mapping[str, CameraChange]],
    outlet: FanOut[Published],
    over: threading.Event,
    *,
    clock: Callable[[], float],
    wall_clock: Callable[[], float],
    beat: Callable[[], Beat] | None = None,
) -> None:
    """Beside the line: tell what each camera does whenever that changes, until ``over``.

    ``changes`` reads what every camera does now, by name, and ``beat`` gives what is told each
    second. Looking instead of being told keeps the threads that read cameras free of this, bounds
    how much a flapping camera can say, and finds what no thread reports: that one is blocked.
    """
    told: dict[str, CameraChange] = {}
    last, beat_at = False, clock()
    while not last:
        last = over.wait(WATCH_S)  # one more look after the end: all have stopped by then
        now = changes()
        for name in told.keys() - now.keys():
            gone = replace(
                told.pop(name), state="stopped", since_at=clock(), wall_at=wall_clock(),
                reason="", detail="removed from the configuration", retry_at=None, frozen=False,
            )  # fmt: skip
            outlet.put(gone)
        for name, change in now.items():
            if name not in told or _differ(told[name], change):
                outlet.put(change)
                if change.state == "stalled" and name in told and told[name].state != "stalled":
                    _log_watch.warning("camera_stalled", camera=name, detail=change.detail)
                told[name] = change
        if beat is not None and (last or clock() >= beat_at):
            beat_at = clock() + BEAT_S - WATCH_S / 2
            outlet.put(beat())


def _differ(a: CameraChange, b: CameraChange) -> bool:
    """Whether ``b`` is news after ``a``; the words of ``detail`` alone are none."""
    return replace(a, detail="", wall_at=0.0) != replace(b, detail="", wall_at=0.0)
