"""One camera of a running program, from its source to its lane."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeAlias

from streamer.capture.arrivals import LATE_S
from streamer.capture.ffmpeg import Tls
from streamer.capture.isolate import Isolated
from streamer.capture.once import Once
from streamer.capture.reach import Reach
from streamer.capture.reconnect import Reconnecting
from streamer.capture.refusals import Refusals
from streamer.capture.schemes import make_source
from streamer.config import Camera
from streamer.errors import SourceLost
from streamer.flow.fan import FanIn
from streamer.flow.lane import Lane
from streamer.flow.meters import Durations, Rate
from streamer.flow.order import Terms
from streamer.inference.pacing import Pacer
from streamer.protocols import Detector, Source
from streamer.stages import CameraMeters, CameraWork, Job, Position
from streamer.status import CameraStatus, SourceState
from streamer.types import CameraChange, Frame, TrackChange, redact
from streamer.vision.motion import MotionGate, shares, small_luma
from streamer.vision.patience import Patience
from streamer.vision.privacy import Privacy
from streamer.vision.tracking import FaceTracker
from streamer.vision.visits import Visits

Numbers: TypeAlias = tuple[Position, Iterator[int]]
"""Where frames are numbered on from, and the ids of the faces to come."""


def source_of(name: str, camera: Camera, base_folder: Path, reach: Reach | None = None) -> Source:
    """The source of one configured camera, not yet opened: one life of it.

    ``reach``: the addresses it may have; None for any.
    """
    ca_file = camera.ca_file and base_folder.absolute() / camera.ca_file
    make = partial(
        make_source,
        camera.url,
        camera=name,
        transport=camera.transport,
        decoder=camera.decoder,
        base_folder=base_folder,
        tls=Tls(verify=camera.tls_verify, ca_file=ca_file),
        reach=reach,
        stall_s=camera.stall_s,
        first_frame_s=camera.first_frame_s,
        late_s=math.inf if camera.pacing == "all" else min(LATE_S, camera.max_age_s / 2),
    )
    source = make()
    if not camera.isolate:
        return source
    # The child's source gives up by itself before it would be killed for its silence.
    silence_s = 2 * camera.first_frame_s + camera.stall_s
    return Isolated(make, camera=name, live=source.live, silence_s=max(30.0, silence_s))


def covers(camera: Camera) -> bool:
    """Whether the faces of a camera are covered in its pictures."""
    return camera.privacy != "none"


class CameraLine:
    """One camera from its source to its lane, and what is counted of it."""

    def __init__(
        self,
        name: str,
        camera: Camera,
        source: Source,
        lanes: FanIn[Job],
        detector: Detector,
        size: int,
        clock: Callable[[], float],
        *,
        confident: float = 0.0,
        before: CameraLine | None,
        numbers: Numbers | None = None,
        reach: Reach | None = None,
        privacy: Privacy,
        refusals: Refusals | None = None,
    ) -> None:
        """Join the parts; :class:`Cameras` makes one for each camera.

        ``size`` is the long side of the detector's input; a face of a confidence below
        ``confident`` is none, unless it is one that is known. ``privacy`` is of the camera's name,
        whatever line it had. ``refusals``: those of all cameras, past ones too, whose waits go on.
        ``before``: the line whose place it takes, if any. Frame numbers and counters go on,
        and with the same source what it was lost for. ``numbers``: where those of a camera of this
        name, which was removed, have come to; frames and faces are numbered on from there.
        ``reach``: the addresses that ``source`` may have, None for any; it is kept for a resume.
        """
        self.name = name
        at, ids = before.numbers if before is not None else numbers or (Position(), count(1))
        # Its own: the other may still be reading.
        self.position: Position = Position(at.epoch, at.index)
        self.ids: Iterator[int] = ids
        self._clock = clock
        self._stopped_at = 0.0
        self.camera = camera
        self.reach = reach
        self.stop = threading.Event()
        self.failure: SourceLost | None = None  # why its file could not be read
        earlier = before.source if before is not None and before.camera.url == camera.url else None
        self.source: Reconnecting | Once = (
            Reconnecting(
                source,
                url=camera.url,
                stall_s=camera.stall_s,
                first_frame_s=camera.first_frame_s,
                first_epoch=at.epoch,
                first_index=at.index,
                before=earlier if isinstance(earlier, Reconnecting) else None,
                refusals=refusals,
            )
            if source.live
            else Once(source, first_epoch=at.epoch, first_index=at.index)
        )
        self.adaptive = source.live and camera.pacing == "adaptive"
        self.lane: Lane[Job] = lanes.add_lane(
            name,
            capacity=1 if source.live else 4,
            overflow="drop_oldest" if source.live else "block",
            terms=Terms(camera.priority, camera.max_age_s if self.adaptive else None),
            after=before.lane if before is not None else None,
        )
        self.meters: CameraMeters = (
            before.meters
            if before is not None
            else CameraMeters(Rate(clock), Rate(clock), Durations(), Rate(clock))
        )
        self.meters.max_age_s = camera.max_age_s if source.live else None
        floor_fps = camera.motion_floor_fps if camera.motion else 1000.0
        slowest_fps = min(camera.max_fps or 1000.0, floor_fps)
        self._patience = Patience(every=camera.every, apart_s=1 / slowest_fps)
        privacy.mode = camera.privacy
        self.work = CameraWork(
            detector,
            FaceTracker(confident=confident, ids=self.ids, patience=self._patience),
            self.meters,
            size,
            camera.fill,
            patience=self._patience,
            visits=Visits(self._patience),
            privacy=privacy,
        )
        self._gate = (
            MotionGate(floor_fps=camera.motion_floor_fps, sensitivity=camera.motion_sensitivity)
            if camera.motion
            else None
        )
        self.paused = False  # not looked at, because there is too much to do
        self._pacer = Pacer(every=camera.every, max_fps=camera.max_fps)

    @property
    def numbers(self) -> Numbers:
        """Where the numbers of its frames, and the ids of its faces, go on."""
        return self.position, self.ids

    @property
    def over(self) -> bool:
        """Whether it is a file that has ended, well or not."""
        return not self.source.live and self.source.state().state in ("ended", "refused")

    def wants(self, at: float) -> bool:
        """Whether the frame of the instant ``at`` is to be looked at, as far as pacing goes."""
        self._patience.came(at)
        return self._pacer.wants(at)

    def still(self, frame: Frame, at: float, wanted: bool) -> bool:
        """Whether ``frame``, of the instant ``at``, need not be looked at: nothing moves in it.

        One that is not ``wanted`` is not compared: in it things are as they were in the last.
        """
        if self._gate is None:
            return False
        if not wanted:
            self._gate.passed(at)
            return self._gate.still
        newest, picture = self.meters.newest, frame.picture
        faces = None if newest is None else shares(newest.tracks.faces.boxes, picture)
        woken = self._gate.wakes
        still = not self._gate.wants(small_luma(picture), at, faces)
        self.meters.wakes += self._gate.wakes - woken
        self.meters.still += still
        return still

    def look_with(self, detector: Detector, size: int) -> None:
        """Look at its frames with another detector from now on, of the input size ``size``."""
        self.work = replace(self.work, detector=detector, size=size)

    def work_now(self) -> CameraWork | None:
        """What its next frame is looked at with; None while it is not to be looked at."""
        return None if self.paused else self.work

    def end(self) -> None:
        """Have it read no more; from now on it counts as stopped, however long it is dialling."""
        self._stopped_at = self._clock()
        self.stop.set()

    def departed(self, now: float, *, for_ever: bool) -> list[TrackChange]:
        """Which of its faces have left by ``now`` because nobody looks; to be told at once.

        The caller holds ``work.telling`` until it has told them.
        """
        if for_ever:
            return self.work.visits.end(for_ever=True)
        state, oldest_at = self.state().state, self.lane.oldest_at()
        if state not in ("live", "stalled") and oldest_at is None:
            return self.work.visits.end()
        if not self.source.live:
            return []  # a file has its own time
        return self.work.visits.leave(now, oldest_at=oldest_at)

    def state(self) -> SourceState:
        """What the camera is doing at this instant."""
        state = self.source.state()
        if not self.stop.is_set() or self.over or state.state == "stopped":
            return state
        return replace(state, state="stopped", since_at=self._stopped_at, reason="", detail="",
                       frozen=False, retry_at=None)  # fmt: skip

    def change(self, now: float, wall_now: float) -> CameraChange:
        """What the camera is doing, as it is told; ``now`` is monotonic, ``wall_now`` Unix time."""
        state = self.state()
        return CameraChange(
            camera=self.name,
            state=state.state,
            since_at=state.since_at,
            wall_at=wall_now - (now - state.since_at),
            reason=state.reason,
            detail=redact(state.detail),
            epoch=state.epoch,
            retry_at=state.retry_at,
            frozen=state.frozen,
        )

    def result_age_s(self, now: float) -> float | None:
        """How old what was found last is, from capture; None before the first."""
        newest = self.meters.newest_captured_at
        return None if newest is None else now - newest

    def status(self, now: float) -> CameraStatus:
        """One reading of this camera, at the monotonic instant ``now``."""
        meters, source = self.meters, self.state()
        published_at = meters.published_captured_at
        return CameraStatus(
            name=self.name,
            source=source,
            url=str(self.camera.url),
            ledger=self.lane.ledger(),
            lane=self.lane.stats(),
            faces_total=meters.faces_total,
            faces_now=meters.faces_now,
            capture_fps=meters.captured.per_second(),
            detect_fps=meters.detected.per_second(),
            latency=meters.latency.stats(),
            latency_p50_s=meters.latency.quantile(0.5),
            latency_p95_s=meters.latency.quantile(0.95),
            latency_p99_s=meters.latency.quantile(0.99),
            newest_age_s=None if published_at is None else now - published_at,
            max_age_s=self.lane.terms.max_age_s,
            late=meters.late,
            in_state_s=now - source.since_at,
            still=meters.still,
            wakes=meters.wakes,
            publish_fps=meters.published.per_second(),
            stages={station: spent.stats() for station, spent in meters.spent.items()},
            privacy=self.camera.privacy,
        )
