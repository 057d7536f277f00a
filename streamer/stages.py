"""The whole machine on one screen: capture, infer, publish.

Each is a plain function. Its inputs and outputs are its arguments, its state is its local
variables; it ends by returning. ``app`` puts each on a thread and joins them by channels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from streamer.camera_meters import STATIONS, CameraMeters, Position, StageMeters
from streamer.errors import DetectionFailed, OutOfMemory, PictureFailed
from streamer.flow.channel import Channel
from streamer.flow.fan import Batch, FanIn, Lane
from streamer.flow.fan_out import FanOut
from streamer.flow.meters import Durations, Rate
from streamer.job import CameraWork, Job, label_of
from streamer.log import get_logger
from streamer.protocols import (
    BeatSink,
    BurstSink,
    ChangeSink,
    Sink,
    Source,
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

__all__ = ["STATIONS", "CameraMeters", "CameraWork", "Job", "Position", "StageMeters", "label_of"]

log = get_logger("infer")

FAILURES_IN_A_ROW = 3
"""A detector that fails this often in a row, whatever the camera, is broken: the program ends."""


def capture(
    source: Source,
    lane: Lane[Job],
    wants: Callable[[float], bool],
    work: Callable[[], CameraWork | None],
    captured: Rate,
    position: Position,
    *,
    stop: threading.Event,
    still: Callable[[Frame, float, bool], bool] | None = None,
) -> None:
    """Stage 1, one for each camera: read frames, choose those to look at, offer them.

    ``wants`` says of a frame's instant (seconds) whether to look at it, ``still`` whether nothing
    moves in it (it compares only frames that are wanted, which it is told; for others it answers as
    for the last), and ``work`` what to look at it with, or None while there is too much to do. A
    live lane lets the oldest go rather than wait; a file lane waits. Files are paced by their own
    time, however fast they are read. Where a chosen frame came too late, the next is chosen.
    Numbers that are missing were left out or lost before they came here and count as dropped.
    ``position`` is where they begin, and goes on with them.
    """
    view, late = None, lane.late
    try:
        for frame in source.frames(stop):
            captured.tick()
            if (missing := frame.index - position.index) > 0:
                left_out = min(missing, frame.left_out)
                lane.miss(left_out, "not_decoded")
                lane.miss(missing - left_out, "ring_full")  # on the way from another process
            position.epoch, position.index = frame.epoch + 1, frame.index + 1
            file_at = None if source.live else frame.pts
            at = frame.captured_at if file_at is None else file_at
            before, late = late, lane.late
            looks, now = wants(at) or late != before, work()
            if _view(frame) != view:  # what was known of it says nothing of this one
                view, looks = _view(frame), True
            stands = now is not None and still is not None and still(frame, at, looks)
            compared, looks = looks and stands, looks and not stands
            if now is None:
                lane.miss(1, "overload")
            elif looks or now.fills:
                lane.put(Job(frame, now, looks, stands, file_at, compared))
            else:
                lane.skip()
            del frame  # do not keep a picture alive while waiting for the next
    finally:
        position.index += (left_out := getattr(source, "left_out", 0))
        lane.miss(left_out, "not_decoded")  # no frame tells of these any more


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
        for position, (frame, work, *_) in zip(positions, jobs, strict=True):
            shown = work.privacy.unknown(frame)
            out.put(Failure(shown, Stamps(frame.captured_at, taken_at, clock()), str(error)))
            batch.drop(position, "failed")
        # Neither says that it is broken, and least of all what anybody may send.
        return out is not outlet or isinstance(error, PictureFailed | OutOfMemory)
    detected_at = clock()
    times.batches.observe(len(jobs))
    for position, job, faces in zip(positions, jobs, found, strict=True):
        frame, work = job.frame, job.work
        meters = work.meters
        if _view(frame) != meters.view:  # dialled again, or another resolution
            work.tracker.reset()
            meters.view = _view(frame)
        shown = work.privacy.looked(frame, faces, job.at)
        seen = tracks = work.tracker.update(faces, job.at)
        work.patience.looked()
        if work.fills:
            tracks = joined(tracks, _predicted(job, missed=True))
        if out is outlet:
            times.wait.observe(taken_at - frame.captured_at)
            times.infer.observe(detected_at - taken_at)
        meters.spent["wait"].observe(taken_at - frame.captured_at)
        meters.spent["infer"].observe(detected_at - taken_at)
        result = Result(shown, tracks, Stamps(frame.captured_at, taken_at, detected_at))
        out.put(result)
        batch.settle(position, "detected")
        meters.detected.tick()
        meters.faces_total += len(seen)
        meters.faces_now = len(tracks)
        meters.newest_captured_at = frame.captured_at
        meters.newest, meters.newest_at = result.without_picture(), job.at
        if news is not None and out is outlet:
            with work.telling:
                for change in work.visits.see(frame, seen, job.at):
                    news.put(change)
    return True


def _predict(
    batch: Batch[Job], positions: Sequence[int], outlet: FanOut[Published], taken_at: float
) -> None:
    """Hand on the jobs at ``positions`` with the faces that are to be expected there."""
    for position in positions:
        job = batch.items[position]
        frame, work = job.frame, job.work
        if _unseen(job):  # nobody knows who is there, which is not to say that nobody is
            batch.skip(position)
            continue
        tracks = _predicted(job)
        stamps = Stamps(frame.captured_at, taken_at, taken_at)
        shown = work.privacy.expected(frame, job.at, still=job.compared)
        outlet.put(Result(shown, tracks, stamps, "tracked", job.compared))
        batch.settle(position, "tracked")
        work.meters.faces_now = len(tracks)
        if job.compared:  # it was seen that nothing moved
            work.meters.newest_captured_at = frame.captured_at


def _predicted(job: Job, *, missed: bool = False) -> Tracks:
    """The faces that are to be expected in a frame, none where its camera sees anew.

    Where nothing moved since the last look, they are where it found them. ``missed``: of a frame
    that was looked at, only those that were not found there.
    """
    work, newest = job.work, job.work.meters.newest
    if newest is None or _unseen(job):
        return Tracks.none()
    if job.still:
        passed_s = job.at - work.meters.newest_at
        return held(newest.tracks, passed_s) if passed_s <= work.patience.holds_s else Tracks.none()
    return work.tracker.predict(job.at, within=_view(job.frame)[1:], missed=missed)


def _unseen(job: Job) -> bool:
    """Whether no frame of its resolution was looked at since its camera was dialled."""
    return job.work.meters.newest is None or _view(job.frame) != job.work.meters.view


def _view(frame: Frame) -> tuple[int, int, int]:
    return frame.epoch, frame.picture.width, frame.picture.height


def _by_detector(jobs: Sequence[Job]) -> list[list[int]]:
    """Positions of ``jobs`` by the detector of their camera; without a look; asked about, alone."""
    groups: dict[int, list[int]] = {}
    for position, (_, work, looks, *_) in enumerate(jobs):
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
    gathers = sink if isinstance(sink, BurstSink) else None
    try:
        for burst in inlet.bursts(gathers.apart_s if gathers is not None else 0.0):
            with gathers.burst() if gathers is not None else nullcontext():
                for outcome in burst:
                    _write(outcome, sink, meters, times, clock)
                    del outcome  # do not keep a picture alive while waiting for the next
    finally:
        sink.close()


def _write(
    outcome: Published,
    sink: Sink,
    meters: Callable[[str], CameraMeters | None] | None,
    times: Durations | None,
    clock: Callable[[], float],
) -> None:
    if isinstance(outcome, CameraChange):
        if isinstance(sink, ChangeSink):
            sink.write_change(outcome)
        return
    if isinstance(outcome, TrackChange):
        if isinstance(sink, TrackSink):
            sink.write_track(outcome)
        return
    if isinstance(outcome, Beat):
        if isinstance(sink, BeatSink):
            sink.write_beat(outcome)
        return
    sink.write(outcome)
    written_at = clock()
    if times is not None:
        times.observe(written_at - outcome.stamps.detected_at)
    counted = meters(outcome.frame.camera) if meters is not None else None
    if counted is not None:
        counted.published.tick()
        if outcome.status == "detected" or (outcome.status == "tracked" and outcome.still):
            counted.published_captured_at = outcome.stamps.captured_at
        if outcome.status != "tracked":
            counted.spent["publish"].observe(written_at - outcome.stamps.detected_at)
            age_s = written_at - outcome.stamps.captured_at
            counted.latency.observe(age_s)
            if counted.max_age_s is not None and age_s > counted.max_age_s:
                counted.late += 1
