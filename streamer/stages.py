"""The whole machine on one screen: capture, infer, publish.

Each is a plain function. Its inputs and outputs are its arguments, its state is its local
variables; it ends by returning. ``app`` puts each on a thread and joins them by channels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from streamer.errors import DetectionFailed, OutOfMemory, PictureFailed
from streamer.flow.channel import Channel
from streamer.flow.fan import Batch, FanIn, Lane
from streamer.flow.fan_out import FanOut
from streamer.flow.meters import Durations, Rate
from streamer.flow.order import FREE, Label
from streamer.log import get_logger
from streamer.protocols import (
    BeatSink,
    ChangeSink,
    Detector,
    Reply,
    Sink,
    Source,
    Tracker,
    TrackSink,
)
from streamer.types import (
    Beat,
    CameraChange,
    Failure,
    Frame,
    Published,
    Result,
    Stamps,
    TrackChange,
    Tracks,
)
from streamer.vision.tracking import held, joined
from streamer.vision.visits import Visits

log = get_logger("infer")

FAILURES_IN_A_ROW = 3
"""A detector that fails this often in a row, whatever the camera, is broken: the program ends."""

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
    newest: Result | None = None
    """What was found in that frame, without its picture."""
    still: int = 0
    """Frames that were not looked at because nothing moved."""
    wakes: int = 0
    """How often something began to move."""


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
    ``holds_s``: while nothing moves, what the last look found is there for so many seconds.
    ``visits``: what is told of its faces, used and told under the lock ``telling``, for a camera
    that is lost is told of by another thread.
    """

    detector: Detector
    tracker: Tracker
    meters: CameraMeters
    size: int = 0
    fills: bool = False
    reply: Reply | None = None
    holds_s: float = 0.0
    visits: Visits = field(default_factory=Visits)
    telling: threading.Lock = field(default_factory=threading.Lock)


class Job(NamedTuple):
    """A frame and what it is to be looked at with: what travels from capture to inference.

    ``looks`` False: it is not to be looked at, only its faces are to be predicted; ``still``: for
    nothing moves in it, so they are where they were.
    """

    frame: Frame
    work: CameraWork
    looks: bool = True
    still: bool = False


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
    still: Callable[[Frame, float], bool] | None = None,
) -> None:
    """Stage 1, one for each camera: read frames, choose those to look at, offer them.

    ``wants`` says of a frame's instant (seconds) whether to look at it, ``still`` whether nothing
    moves in it, so that it need not be, and ``work`` what to look at it with, or None while there
    is too much to do for this camera to be looked at. A live lane lets the oldest go rather than
    wait; a file lane waits. Files are paced by their own time, so that ``max_fps`` means the same
    however fast the file is read. Numbers that are missing between frames were decoded and lost
    before they came here; they count as dropped. ``position`` is where the numbers begin, and
    goes on with them.
    """
    for frame in source.frames(stop):
        captured.tick()
        if frame.index > position.index:  # decoded in another process, and no room on the way
            lane.miss(frame.index - position.index, "ring_full")
        position.epoch, position.index = frame.epoch + 1, frame.index + 1
        at = frame.captured_at if source.live or frame.pts is None else frame.pts
        looks, now = wants(at), work()
        stands = looks and now is not None and still is not None and still(frame, at)
        looks = looks and not stands
        if now is None:
            lane.miss(1, "overload")
        elif looks or now.fills:
            lane.put(Job(frame, now, looks, stands))
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
    news: FanOut[Published] | None = None,
) -> None:
    """Stage 2, one for each worker: take what is ready, find faces, give them identity.

    Who comes and goes is told to ``news``. Cameras that share a detector share a batch. A frame
    that could not be looked at becomes a :class:`Failure`, counted as dropped, and is never an
    empty result.
    """
    failures = 0
    for batch in lanes.batches(max_batch):
        with batch:
            taken_at = clock()
            for positions in _by_detector(batch.items):
                if not batch.items[positions[0]].looks:
                    _predict(batch, positions, outlet, taken_at)
                    continue
                if _look(batch, positions, outlet, times, taken_at, clock, news):
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
    news: FanOut[Published] | None,
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
    for position, (frame, work, *_), faces in zip(positions, jobs, found, strict=True):
        meters = work.meters
        if _view(frame) != meters.view:  # dialled again, or another resolution
            work.tracker.reset()
            meters.view = _view(frame)
        seen = tracks = work.tracker.update(faces, frame.captured_at)
        if work.fills:
            tracks = joined(tracks, _predicted(frame, work))
        if out is outlet:
            times.wait.observe(taken_at - frame.captured_at)
            times.infer.observe(detected_at - taken_at)
        meters.spent["wait"].observe(taken_at - frame.captured_at)
        meters.spent["infer"].observe(detected_at - taken_at)
        result = Result(frame, tracks, Stamps(frame.captured_at, taken_at, detected_at))
        out.put(result)
        batch.settle(position, "detected")
        meters.detected.tick()
        meters.faces_total += len(seen)
        meters.faces_now = len(tracks)
        meters.newest_captured_at = frame.captured_at
        meters.newest = result.without_picture()
        if news is not None and out is outlet:
            with work.telling:
                for change in work.visits.see(frame, seen):
                    news.put(change)
    return True


def _predict(
    batch: Batch[Job], positions: Sequence[int], outlet: FanOut[Published], taken_at: float
) -> None:
    """Hand on the jobs at ``positions`` with the faces that are to be expected there."""
    for position in positions:
        frame, work, _, still = batch.items[position]
        tracks = _predicted(frame, work, still=still)
        stamps = Stamps(frame.captured_at, taken_at, taken_at)
        outlet.put(Result(frame, tracks, stamps, "tracked"))
        batch.settle(position, "tracked")
        work.meters.faces_now = len(tracks)
        if still:  # it was seen that nothing moved
            work.meters.newest_captured_at = frame.captured_at


def _predicted(frame: Frame, work: CameraWork, *, still: bool = False) -> Tracks:
    """The faces that are to be expected in a frame, none where its camera sees anew.

    Where nothing moved since the last look (``still``), they are where it found them.
    """
    newest = work.meters.newest
    if newest is None or _view(frame) != work.meters.view:
        return Tracks.none()
    passed_s = frame.captured_at - newest.frame.captured_at
    if still:
        return held(newest.tracks, passed_s) if passed_s <= work.holds_s else Tracks.none()
    return work.tracker.predict(frame.captured_at, within=_view(frame)[1:])


def _view(frame: Frame) -> tuple[int, int, int]:
    return frame.epoch, frame.picture.width, frame.picture.height


def _by_detector(jobs: Sequence[Job]) -> list[list[int]]:
    """Positions of ``jobs`` by the detector of their camera; without a look; asked about, alone."""
    groups: dict[int, list[int]] = {}
    for position, (_, work, looks, _) in enumerate(jobs):
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
            if isinstance(outcome, TrackChange):
                if isinstance(sink, TrackSink):
                    sink.write_track(outcome)
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
