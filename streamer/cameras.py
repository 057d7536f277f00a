"""The cameras of a running program: added, removed, replaced and paused one by one.

Each is a line of its own (source, lane, pacer, detector, tracker, meters); all share one session.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from streamer.capture.ffmpeg import Tls
from streamer.capture.isolate import Isolated
from streamer.capture.once import Once
from streamer.capture.reconnect import Reconnecting
from streamer.capture.schemes import make_source
from streamer.config import Camera, Model
from streamer.engine import Engine
from streamer.errors import ConfigError, SourceLost
from streamer.flow.fan import FanIn
from streamer.flow.meters import Durations, Rate
from streamer.flow.stage import Stage
from streamer.inference.pacing import Pacer
from streamer.log import get_logger
from streamer.protocols import Detector, Source
from streamer.stages import CameraMeters, CameraWork, Job, capture
from streamer.status import CameraStatus, SourceState
from streamer.types import CameraChange, redact
from streamer.vision.tracking import IouTracker

log = get_logger("app")

SETTLE_S = 3.0
"""Longest wait for an engine that is being retuned when the program ends; 1 s is usual."""


def source_of(name: str, camera: Camera, base_folder: Path) -> Source:
    """The source of one configured camera, not yet opened: one life of it."""
    ca_file = camera.ca_file and base_folder.absolute() / camera.ca_file
    make = partial(
        make_source,
        camera.url,
        camera=name,
        transport=camera.transport,
        decoder=camera.decoder,
        base_folder=base_folder,
        tls=Tls(verify=camera.tls_verify, ca_file=ca_file),
        stall_s=camera.stall_s,
        first_frame_s=camera.first_frame_s,
    )
    source = make()
    if not camera.isolate:
        return source
    # The child's source gives up by itself before it would be killed for its silence.
    silence_s = 2 * camera.first_frame_s + camera.stall_s
    return Isolated(make, camera=name, live=source.live, silence_s=max(30.0, silence_s))


class CameraLine:
    """One camera from its source to its lane, and what is counted of it."""

    def __init__(
        self,
        name: str,
        camera: Camera,
        source: Source,
        lanes: FanIn[Job],
        detector: Detector,
        clock: Callable[[], float],
        *,
        first_epoch: int,
        first_index: int,
    ) -> None:
        """Join the parts; :class:`Cameras` makes one for each camera."""
        self.name = name
        self._clock = clock
        self._stopped_at = 0.0
        self.camera = camera
        self.stop = threading.Event()
        self.source: Reconnecting | Once = (
            Reconnecting(
                source,
                url=camera.url,
                stall_s=camera.stall_s,
                first_frame_s=camera.first_frame_s,
                first_epoch=first_epoch,
                first_index=first_index,
            )
            if source.live
            else Once(source, first_epoch=first_epoch, first_index=first_index)
        )
        self.lane = (
            lanes.add_lane(name, capacity=1, overflow="drop_oldest")
            if source.live
            else lanes.add_lane(name, capacity=4, overflow="block")
        )
        self.meters = CameraMeters(Rate(clock), Rate(clock), Durations())
        self.work = CameraWork(detector, IouTracker(), self.meters)
        self.wants = Pacer(every=camera.every, max_fps=camera.max_fps).wants

    @property
    def over(self) -> bool:
        """Whether it is a file that has ended, well or not."""
        return not self.source.live and self.source.state().state in ("ended", "refused")

    def end(self) -> None:
        """Have it read no more; from now on it counts as stopped, however long it is dialling."""
        self._stopped_at = self._clock()
        self.stop.set()

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

    def status(self, now: float) -> CameraStatus:
        """One reading of this camera, at the monotonic instant ``now``."""
        meters = self.meters
        newest = meters.newest_captured_at
        return CameraStatus(
            name=self.name,
            source=self.state(),
            url=str(self.camera.url),
            ledger=self.lane.ledger(),
            lane=self.lane.stats(),
            faces_total=meters.faces_total,
            faces_now=meters.faces_now,
            capture_fps=meters.captured.per_second(),
            detect_fps=meters.detected.per_second(),
            latency=meters.latency.stats(),
            latency_p50_s=meters.latency.quantile(0.5),
            latency_p99_s=meters.latency.quantile(0.99),
            newest_age_s=None if newest is None else now - newest,
        )


class Cameras:
    """All cameras. Every method may be called from any thread while the program runs.

    The program ends by itself when every camera is a file that has ended.
    """

    def __init__(
        self,
        lanes: FanIn[Job],
        engine: Engine,
        model: Model,
        *,
        base_folder: Path,
        clock: Callable[[], float],
    ) -> None:
        """No cameras yet; those added before :meth:`begin` wait for it.

        ``over`` is set when there will be no more frames, by :meth:`close` or of themselves.
        """
        self._lanes = lanes
        self._engine = engine
        self._model = model
        self._base_folder = base_folder
        self._start: Callable[[Stage], None] | None = None
        self._waiting: list[Stage] = []
        self._clock = clock
        self._detectors: dict[int, Detector] = {}
        self._lines: dict[str, CameraLine] = {}
        self._generations: dict[str, int] = {}
        self._lock = threading.Lock()
        self._retuning = threading.Lock()
        self.over = threading.Event()

    def begin(self, start: Callable[[Stage], None]) -> None:
        """Run the capture stage of every camera, and of each that comes, by ``start``."""
        with self._lock:
            self._start = start
            for stage in self._waiting:
                start(stage)
            self._waiting.clear()

    def lines(self) -> list[CameraLine]:
        """Every camera now, by name."""
        with self._lock:
            return sorted(self._lines.values(), key=lambda line: line.name)

    def status(self, now: float) -> list[CameraStatus]:
        """One reading of every camera, at the monotonic instant ``now``."""
        return [line.status(now) for line in self.lines()]

    def changes(self, now: float, wall_now: float) -> dict[str, CameraChange]:
        """What every camera is doing, by name; see :meth:`CameraLine.change`."""
        return {line.name: line.change(now, wall_now) for line in self.lines()}

    def latency(self, camera: str) -> Durations | None:
        """Where the latency of a camera is observed; None when the camera is gone."""
        line = self._lines.get(camera)
        return line.meters.latency if line else None

    def add(self, name: str, camera: Camera) -> None:
        """Begin to watch a camera. Raises ConfigError when the name is taken."""
        with self._lock:
            if name in self._lines:
                raise ConfigError([f"cameras.{name}: is there already; choose another name"])
            self._begin(name, camera, epoch=0, index=0)

    def remove(self, name: str) -> None:
        """Stop watching a camera and forget it. Raises ConfigError when there is none."""
        with self._lock:
            line = self._end(name)
            del self._lines[name]
        _say_totals("camera_removed", line)

    def replace(self, name: str, camera: Camera) -> None:
        """Watch ``camera`` under a name that is in use; its frame numbers go on, its epoch grows.

        Raises ConfigError when there is no camera of this name.
        """
        with self._lock:
            before = self._end(name)
            meters = before.meters
            self._begin(name, camera, epoch=meters.next_epoch, index=meters.next_index)
        _say_totals("camera_replaced", before)

    def pause(self, name: str) -> None:
        """Stop reading a camera and keep it, as stopped, until :meth:`resume`.

        Raises ConfigError when there is no camera of this name.
        """
        with self._lock:
            self._end(name)

    def resume(self, name: str) -> None:
        """Read a paused camera again. Raises ConfigError when there is no camera of this name."""
        with self._lock:
            line = self._line(name)
        if line.stop.is_set():
            self.replace(name, line.camera)

    def retune(self) -> None:
        """Fit the engine to the number of cameras, after some came or went.

        It may take seconds, in which everything else goes on.
        """
        with self._retuning:
            if not self.over.is_set():
                self._engine.retune(len(self.lines()))

    def settle(self) -> None:
        """Wait until nobody retunes, a few seconds at most; call it after :meth:`close`.

        A session that is being opened while the process ends would end it with a signal.
        """
        if self._retuning.acquire(timeout=SETTLE_S):
            self._retuning.release()

    def close(self) -> None:
        """End all cameras: what waits is still looked at, and nothing more is taken."""
        with self._lock:
            for line in self._lines.values():
                line.end()
        self._lanes.close(lanes=True)
        self.over.set()

    def _line(self, name: str) -> CameraLine:
        try:
            return self._lines[name]
        except KeyError:
            there = ", ".join(sorted(self._lines)) or "none"
            raise ConfigError([f"cameras.{name}: is not there; there are {there}"]) from None

    def _begin(self, name: str, camera: Camera, *, epoch: int, index: int) -> None:
        """With the lock held: make the line of a camera and run it."""
        source = source_of(name, camera, self._base_folder)
        size = camera.input_size or self._model.input_size
        if size not in self._detectors:
            self._detectors[size] = self._engine.detector(self._model, size)
        detector = self._detectors[size]
        line = CameraLine(name, camera, source, self._lanes, detector, self._clock,
                          first_epoch=epoch, first_index=index)  # fmt: skip
        line.meters.next_epoch, line.meters.next_index = epoch, index
        self._lines[name] = line
        generation = self._generations[name] = self._generations.get(name, 0) + 1

        def run() -> None:
            try:
                capture(line.source, line.lane, line.wants, line.work, stop=line.stop)
            except SourceLost as lost:  # of a file: nobody dials it again, so say which it was
                raise SourceLost(lost.reason, f"camera {name}, {camera.url}: {lost}") from None
            finally:
                line.lane.close()
                self._close_when_over()

        # A file that cannot be read costs only itself; a camera that is being dialled cannot be
        # interrupted, holds no frame, and may be left behind at a stop.
        stage = Stage(
            f"capture:{name}" if generation == 1 else f"capture:{name}.{generation}",
            run,
            vital=source.live,
            detachable=source.live,
        )
        if self._start is None:
            self._waiting.append(stage)
        else:
            self._start(stage)

    def _end(self, name: str) -> CameraLine:
        """With the lock held: stop a camera's line and take its lane out."""
        line = self._line(name)
        line.end()
        self._lanes.remove_lane(line.lane)
        return line

    def _close_when_over(self) -> None:
        with self._lock:
            over = bool(self._lines) and all(line.over for line in self._lines.values())
        if over:
            self._lanes.close(lanes=True)
            self.over.set()


def _say_totals(event: str, line: CameraLine) -> None:
    """Log what became of the frames of a line that is counted no more."""
    ledger = line.lane.ledger()
    log.info(event, camera=line.name, captured=ledger.captured,
             detected=ledger.settled.get("detected", 0), skipped=ledger.skipped,
             dropped=sum(ledger.dropped.values()), in_flight=ledger.in_flight)  # fmt: skip
