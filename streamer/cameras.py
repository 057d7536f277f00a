"""The cameras of a running program: added, removed, replaced and paused one by one.

Each is a line of its own (source, lane, pacer, detector, tracker, meters); all share one session.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streamer.camera_line import CameraLine, Numbers, covers, source_of
from streamer.capture.reach import Reach
from streamer.capture.refusals import Refusals
from streamer.config import MAX_CAMERAS, Camera, Model
from streamer.engine import Engine
from streamer.errors import ConfigError, SourceLost
from streamer.flow.fan import FanIn
from streamer.flow.fan_out import FanOut
from streamer.flow.stage import Stage
from streamer.inference.overload import Step
from streamer.log import get_logger
from streamer.protocols import Detector
from streamer.stages import CameraMeters, Job, capture
from streamer.status import CameraStatus
from streamer.steering import Steered
from streamer.types import Beat, CameraChange, Published, TrackChange
from streamer.vision.privacy import PrivacyByName

log = get_logger("app")

SETTLE_S = 3.0
"""Longest wait for an engine that is being retuned when the program ends; 1 s is usual."""

SURE_INPUT: Final = 640
"""Input size below which faces were bare in the demo clip (docs/privacy.md), pixels."""


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
        self._detectors: dict[tuple[int, bool], Detector] = {}
        self._privacy = PrivacyByName()
        self._refusals = Refusals(clock=clock)
        self._making = threading.Lock()
        self._step = Step()
        self._lines: dict[str, CameraLine] = {}
        self._generations: dict[str, int] = {}
        self._max_ages_s: dict[str, float | None] = {}  # of cameras that are gone, too
        self._numbers: dict[str, Numbers] = {}  # of cameras that were removed, MAX_CAMERAS at most
        self._gone: list[CameraLine] = []  # whose faces are still to be told to have left
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

    def depart(self, news: FanOut[Published], now: float, *, last: bool) -> None:
        """Tell ``news`` which faces have left because nobody looks; with ``last`` all have."""
        with self._lock:
            gone, self._gone = self._gone, []
        for line in [*gone, *self.lines()]:
            with line.work.telling:
                for change in line.departed(now, for_ever=last or line.stop.is_set()):
                    news.put(change)

    def drained(self) -> bool:
        """Whether no frame of any camera is in flight."""
        return not any(line.lane.ledger().in_flight for line in self.lines())

    def beat(self, now: float, wall_now: float) -> Beat:
        """What every camera's ledger says now, and its state."""
        cameras, states = {}, {}
        for one in self.status(now):
            ledger = one.ledger
            cameras[one.name] = {
                "captured": ledger.captured,
                **dict.fromkeys(("detected", "tracked"), 0),
                **ledger.settled,
                "skipped": ledger.skipped,
                "dropped": sum(ledger.dropped.values()),
                "in_flight": ledger.in_flight,
            }
            states[one.name] = one.source.state
        return Beat(now, wall_now, cameras, states)

    def too_old_at(self, item: Published) -> float | None:
        """From what instant on nobody wants ``item`` any more; None: it stays wanted."""
        if isinstance(item, CameraChange | TrackChange | Beat):
            return None
        limit_s = self._max_ages_s.get(item.frame.camera)
        return None if limit_s is None else item.frame.captured_at + limit_s

    def meters(self, camera: str) -> CameraMeters | None:
        """What is counted of a camera; None when the camera is gone."""
        line = self._lines.get(camera)
        return line.meters if line else None

    def add(self, name: str, camera: Camera, reach: Reach | None = None) -> None:
        """Begin to watch a camera, which may have the addresses of ``reach`` (None: any).

        Raises ConfigError when the name is taken.
        """
        self._detector_of(camera)  # it may take seconds to warm up: not with the lock held
        with self._lock:
            if name in self._lines:
                raise ConfigError([f"cameras.{name}: is there already; choose another name"])
            self._begin(name, camera, None, reach)

    def remove(self, name: str) -> None:
        """Stop watching a camera; its numbers are kept. Raises ConfigError when there is none."""
        with self._lock:
            line = self._end(name)
            del self._lines[name]
            self._numbers[name] = line.numbers
            if len(self._numbers) > MAX_CAMERAS:
                del self._numbers[next(iter(self._numbers))]
            self._privacy.forget(name)  # what it knows is of no other camera
        _say_totals("camera_removed", line)

    def replace(self, name: str, camera: Camera, reach: Reach | None = None) -> None:
        """Watch ``camera`` under a name that is in use, with ``reach`` as of :meth:`add`.

        Its frame numbers and counters go on, its epoch grows. With the same source what it
        has lost goes on too. The wait after a wrong password goes on whenever a camera of that
        source is watched again, added anew too.
        Raises ConfigError when there is no camera of this name.
        """
        self._detector_of(camera)
        with self._lock:
            before = self._end(name)
            self._begin(name, camera, before, reach)
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
            self.replace(name, line.camera, line.reach)

    def retune(self) -> None:
        """Fit the engine to the number of cameras, after some came or went; all there are count.

        Those that are paused or away may be back in a second. It may take seconds, in which
        everything else goes on.
        """
        with self._retuning:
            if not self.over.is_set():
                self._engine.retune(len(self.lines()))

    def steered(self, now: float) -> dict[str, Steered]:
        """The cameras that may be given less, by name, at the monotonic instant ``now``."""
        return {
            line.name: Steered(
                line.lane.ledger(), line.result_age_s(now), line.camera.max_age_s,
                line.camera.priority, not covers(line.camera),
            )
            for line in self.lines()
            if line.adaptive and not line.stop.is_set()
        }  # fmt: skip

    def give_up(self, step: Step) -> None:
        """Do less, or more again, as ``step`` says; cameras that come later begin on it.

        A new size of input takes a moment to warm up; meanwhile all goes on as before. Files and
        cameras with ``pacing: all`` are not touched, and cameras that cover faces are never looked
        at with a smaller input, which would miss some: they can only be paused.
        """
        with self._lock:
            self._step = step
            lines = [line for line in self._lines.values() if line.adaptive]
        for line in lines:
            self._take(step, line)

    def _take(self, step: Step, line: CameraLine) -> None:
        """Have a camera do what ``step`` says."""
        line.paused = line.name in step.paused
        if covers(line.camera):
            return
        size = max(32, round(self._size(line.camera) * step.scale / 32) * 32)
        if size != line.work.size:
            line.look_with(self.detector(size), size)

    def _size(self, camera: Camera) -> int:
        """Long side of the detector's input that is asked for, pixels."""
        return camera.input_size or self._model.input_size

    def detector(self, size: int, *, shrinks: bool = True) -> Detector:
        """The detector of an input size, weak faces included; made when it is first asked for.

        Without ``shrinks`` it is one that fails where memory is short, and never looks at less.
        """
        key = size, shrinks
        with self._making:
            if key not in self._detectors:
                self._detectors[key] = self._engine.detector(
                    self._model, size, weak=True, shrinks=shrinks
                )
            return self._detectors[key]

    def _detector_of(self, camera: Camera) -> Detector:
        """What a camera is looked at with while nothing is given up."""
        return self.detector(self._size(camera), shrinks=not covers(camera))

    def settle(self) -> None:
        """Wait until nobody retunes, a few seconds at most; call it after :meth:`close`.

        A session that is being opened while the process ends would end it with a signal.
        """
        if self._retuning.acquire(timeout=SETTLE_S):
            self._retuning.release()

    def failure(self) -> SourceLost | None:
        """Why a file could not be read, of the cameras that are there; None when all is well."""
        return next((line.failure for line in self.lines() if line.failure is not None), None)

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

    def _begin(
        self, name: str, camera: Camera, before: CameraLine | None, reach: Reach | None
    ) -> None:
        """With the lock held: make the line of a camera, in the place of another, and run it."""
        source = source_of(name, camera, self._base_folder, reach)
        size = self._size(camera)
        if covers(camera) and size < SURE_INPUT:
            log.warning("privacy_input_small", camera=name, input_size=size)
        line = CameraLine(
            name, camera, source, self._lanes, self._detector_of(camera), size, self._clock,
            confident=self._model.confidence, before=before, numbers=self._numbers.pop(name, None),
            reach=reach, privacy=self._privacy.of(name, camera.privacy), refusals=self._refusals,
        )  # fmt: skip
        if line.adaptive:
            self._take(self._step, line)
        self._lines[name] = line
        self._max_ages_s[name] = line.lane.terms.max_age_s
        generation = self._generations[name] = self._generations.get(name, 0) + 1

        def run() -> None:
            try:
                capture(
                    line.source, line.lane, line.wants, line.work_now, line.meters.captured,
                    line.position, stop=line.stop, still=line.still if camera.motion else None,
                )  # fmt: skip
            except SourceLost as lost:  # of a file: nobody dials it again, so say which it was
                line.failure = SourceLost(lost.reason, f"camera {name}, {camera.url}: {lost}")
                log.error("file_unreadable", camera=name, reason=lost.reason, detail=str(lost))
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
        self._gone.append(line)
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
