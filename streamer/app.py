"""The composition root: configuration in, running stages out. The one file that knows all.

Nothing below it sees a configuration object or reads the environment.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from streamer import __version__
from streamer.capture.ffmpeg import Tls
from streamer.capture.once import Once
from streamer.capture.reconnect import Reconnecting
from streamer.capture.schemes import make_source
from streamer.config import Camera, Config
from streamer.engine import open_engine
from streamer.errors import SourceLost, StageStuck
from streamer.flow.channel import Channel
from streamer.flow.fan import FanIn, FanOut, Lane
from streamer.flow.meters import Durations, Rate
from streamer.flow.stage import Stage, StageGroup
from streamer.inference.pacing import Pacer
from streamer.log import get_logger
from streamer.protocols import Sink, Source
from streamer.publish.metrics import Metrics
from streamer.publish.zeromq import ZeroMqSink
from streamer.stages import CameraMeters, StageMeters, capture, infer, publish
from streamer.status import CameraStatus, SinkStatus, Status
from streamer.types import Frame, Outcome, SourceUrl
from streamer.vision.tracking import IouTracker
from streamer.web.live import LiveView
from streamer.web.server import HttpServer

DRAIN_S = 6.0
"""Seconds that stages have to end by themselves after a stop, within a container's usual 10."""

EVENT_QUEUE = 64
"""Outcomes (without pictures) that may wait for a sink: 64 are a second of two cameras."""


def source_of(name: str, camera: Camera, base_folder: Path) -> Source:
    """The source of one configured camera, not yet opened."""
    ca_file = camera.ca_file and base_folder.absolute() / camera.ca_file
    return make_source(
        camera.url,
        camera=name,
        transport=camera.transport,
        base_folder=base_folder,
        tls=Tls(verify=camera.tls_verify, ca_file=ca_file),
    )


class CameraLine:
    """One camera: its source, its lane and what is counted of it."""

    def __init__(
        self,
        name: str,
        source: Reconnecting | Once,
        url: SourceUrl,
        lane: Lane[Frame],
        pacer: Pacer,
        clock: Callable[[], float],
    ) -> None:
        """Join the parts; ``App`` makes one for each camera of the configuration."""
        self.name = name
        self.source = source
        self.url = url
        self.lane = lane
        self.pacer = pacer
        self.meters = CameraMeters(Rate(clock), Rate(clock), Durations())

    def status(self, now: float) -> CameraStatus:
        """One reading of this camera, at the monotonic instant ``now``."""
        meters = self.meters
        newest = meters.newest_captured_at
        return CameraStatus(
            name=self.name,
            source=self.source.state(),
            url=str(self.url),
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


class App:
    """Everything that runs, built from a configuration; :meth:`run` runs it to its end."""

    def __init__(
        self,
        config: Config,
        *,
        base_folder: Path,
        environ: Mapping[str, str],
        extra_sinks: Mapping[str, Sink] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Build all parts, listening sockets included, and start nothing.

        Relative files of the configuration are sought in ``base_folder``. ``extra_sinks`` get
        every outcome with its picture, beside those configured. Raises ModelError, DeviceError,
        MissingDependency or BindError.
        """
        self._clock = clock
        self._started_at = clock()
        self._stopping = threading.Event()
        self._requested = config.device
        self.boot_id = uuid.uuid4().hex
        self._times = StageMeters(Durations(), Durations(), Durations())

        self._lanes: FanIn[Frame] = FanIn("infer")
        self._cameras = [
            self._camera_line(name, config, base_folder) for name in sorted(config.cameras)
        ]
        self._engine = open_engine(
            config, base_folder=base_folder, environ=environ, cameras=len(self._cameras)
        )
        # One detector for each input size in use, all on one session.
        sizes = {n: c.input_size or config.model.input_size for n, c in config.cameras.items()}
        by_size = {size: self._engine.detector(config.model, size) for size in {*sizes.values()}}
        self._detectors = {name: by_size[size] for name, size in sizes.items()}
        self._outlet: FanOut[Outcome] = FanOut()
        self._sinks: list[tuple[str, Channel[Outcome], Sink, bool]] = []
        self.http: HttpServer | None = None
        self.zeromq: ZeroMqSink | None = None
        with ExitStack() as undo:  # what is bound is let go of when a later part cannot be built
            if config.publish.zeromq is not None:
                self.zeromq = ZeroMqSink(
                    config.publish.zeromq.bind,
                    boot_id=self.boot_id,
                    model=self._engine.model,
                    clock=clock,
                )
                undo.callback(self.zeromq.close)
                self._add_sink("zeromq", self.zeromq, capacity=EVENT_QUEUE)
            for name, sink in (extra_sinks or {}).items():
                self._add_sink(name, sink, capacity=4, pictures=True)
            if config.http is not None:
                live = LiveView([line.name for line in self._cameras], clock=clock)
                metrics = Metrics(self.status)
                self.http = HttpServer(
                    config.http.bind,
                    live=live,
                    status=self.status,
                    metrics=metrics.exposition,
                    allowed_hosts=config.http.allowed_hosts,
                )
                undo.callback(self.http.close)
                self._add_sink(
                    "live", live, capacity=2 * len(self._cameras), pictures=True, vital=False
                )
            undo.pop_all()  # from here on run() closes them
        self._running: set[str] = {name for name, _, _, _ in self._sinks}
        self._group = StageGroup(self._stages(), stopping=self._stopping, drain_s=DRAIN_S)

    def _camera_line(self, name: str, config: Config, base_folder: Path) -> CameraLine:
        camera = config.cameras[name]
        source = source_of(name, camera, base_folder)
        lane = (
            self._lanes.add_lane(name, capacity=1, overflow="drop_oldest")
            if source.live
            else self._lanes.add_lane(name, capacity=4, overflow="block")
        )
        return CameraLine(
            name,
            Reconnecting(source, url=camera.url) if source.live else Once(source),
            camera.url,
            lane,
            Pacer(every=camera.every, max_fps=camera.max_fps),
            self._clock,
        )

    def _add_sink(
        self, name: str, sink: Sink, *, capacity: int, pictures: bool = False, vital: bool = True
    ) -> None:
        lossless = vital and not any(line.source.live for line in self._cameras)
        channel: Channel[Outcome] = Channel(
            name, capacity=capacity, overflow="block" if lossless else "drop_oldest"
        )
        prepare = None if pictures else _without_picture
        self._outlet.add(channel, prepare=prepare, vital=vital)
        self._sinks.append((name, channel, sink, vital))

    def _stages(self) -> list[Stage]:
        meters = {line.name: line.meters for line in self._cameras}
        latency = {line.name: line.meters.latency for line in self._cameras}
        trackers = {line.name: IouTracker() for line in self._cameras}
        timed = "zeromq" if self.zeromq is not None else next((s[0] for s in self._sinks), "")

        def capture_stage(line: CameraLine) -> Stage:
            def run() -> None:
                capture(line.source, line.lane, line.pacer.wants, line.meters, stop=self._stopping)

            # A file that cannot be read costs its own camera only; the run then ends with 1.
            return Stage(f"capture:{line.name}", run, writes=[line.lane], vital=line.source.live)

        def infer_stage(number: int) -> Stage:
            def run() -> None:
                infer(
                    self._lanes,
                    self._detectors,
                    trackers,
                    self._outlet,
                    meters,
                    self._times,
                    max_batch=self._engine.max_batch,
                    clock=self._clock,
                )

            return Stage(f"infer-{number}", run, reads=[self._lanes], writes=[self._outlet])

        def publish_stage(name: str, channel: Channel[Outcome], sink: Sink, vital: bool) -> Stage:
            def run() -> None:
                try:
                    publish(
                        channel,
                        sink,
                        latency if name == timed else {},
                        self._times.publish if name == timed else None,
                        clock=self._clock,
                    )
                finally:
                    self._running.discard(name)

            return Stage(f"publish:{name}", run, reads=[channel], vital=vital)

        return [
            *(capture_stage(line) for line in self._cameras),
            *(infer_stage(number) for number in range(self._engine.workers)),
            *(publish_stage(*sink) for sink in self._sinks),
        ]

    def run(self, *, seconds: float | None = None) -> None:
        """Run until every file has ended, ``seconds`` have passed or :meth:`stop` is called.

        Raises StageFailure when a stage failed, StageStuck when one did not end, and SourceLost
        when all else went well but a file could not be read.
        """
        timer = threading.Timer(seconds or 0.0, self._group.stop)
        timer.daemon = True
        if self.http is not None:
            self.http.start()
        if seconds is not None:
            timer.start()
        self._lanes.close()
        try:
            self._group.run()
        except StageStuck as stuck:
            # A camera that is being dialled cannot be interrupted, only left behind: it holds no
            # frame, its thread is a daemon, and waiting longer would only delay the end.
            if not all(name.startswith("capture:") for name in stuck.names):
                raise
            get_logger("app").warning("cameras_left_behind", stages=", ".join(stuck.names))
        finally:
            timer.cancel()
            if self.http is not None:
                self.http.close()
        for failure in self._group.side_failures:
            if isinstance(failure, SourceLost):
                raise failure

    def stop(self) -> None:
        """Ask everything to end. Safe in a signal handler, from any thread, more than once."""
        self._group.stop()

    def status(self) -> Status:
        """Everything now. Each camera's ledger is one exact reading."""
        now = self._clock()
        channels = {stats.name: stats for stats in self._outlet.stats()}
        return Status(
            version=__version__,
            boot_id=self.boot_id,
            model=self._engine.model,
            provider=self._engine.session.provider,
            requested_device=self._requested,
            uptime_s=now - self._started_at,
            cameras=[line.status(now) for line in self._cameras],
            sinks=[
                SinkStatus(name, channels[name], channels[name].delivered, name in self._running)
                for name, _, _, _ in self._sinks
            ],
            stages={
                "wait": self._times.wait.stats(),
                "infer": self._times.infer.stats(),
                "publish": self._times.publish.stats(),
            },
        )


def _without_picture(outcome: Outcome) -> Outcome:
    return outcome.without_picture()
