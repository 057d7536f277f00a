"""The composition root: configuration in, running stages out. The one file that knows all.

Nothing below it reads the environment.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from streamer import __version__
from streamer.bridges import Bridge, open_bridges
from streamer.cameras import Cameras
from streamer.config import Config
from streamer.engine import open_engine
from streamer.exposure import refuse_exposure
from streamer.flow.channel import Channel
from streamer.flow.fan import FanIn
from streamer.flow.fan_out import FanOut
from streamer.flow.meters import Durations
from streamer.flow.stage import Stage, StageGroup
from streamer.front import open_front
from streamer.inference.scheduling import FairShare
from streamer.log import get_logger
from streamer.outlets import naming, open_restream, open_zeromq
from streamer.protocols import ChangeSink, Sink, TrackSink
from streamer.publish.metrics import Metrics
from streamer.publish.restream import RestreamSink
from streamer.publish.zeromq import ZeroMqSink
from streamer.roster import Roster
from streamer.stages import Job, StageMeters, infer, label_of, publish
from streamer.status import SinkStatus, Status
from streamer.steering import Steering, steer
from streamer.types import Beat, Failure, Published, Result
from streamer.watching import watch
from streamer.web.live import LiveView
from streamer.web.server import HttpServer
from streamer.web.told import Told

DRAIN_S = 5.0
"""Seconds that stages have to end by themselves after a stop, within a container's usual 10."""

EVENT_QUEUE = 64
"""Outcomes (without pictures) that may wait for a sink: 64 are a second of two cameras."""

LIVE_QUEUE = 16
"""Outcomes with pictures that may wait for the live view, which takes microseconds for each."""


class App:
    """Everything that runs, built from a configuration; :meth:`run` runs it to its end.

    Cameras may be added, removed, replaced and paused while it runs, by :attr:`roster`.
    """

    def __init__(
        self,
        config: Config,
        *,
        base_folder: Path,
        environ: Mapping[str, str],
        extra_sinks: Mapping[str, Sink] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Build all parts, listening sockets included, and start nothing.

        Relative files of the configuration are sought in ``base_folder``. ``extra_sinks`` get
        every outcome with its picture, beside those configured. Raises ModelError, DeviceError,
        MissingDependency, Exposed or BindError.
        """
        refuse_exposure(config)
        self._config = config
        self._clock = clock
        self._wall_clock = wall_clock
        self._started_at = clock()
        self.boot_id = uuid.uuid4().hex
        self._times = StageMeters(Durations(), Durations(), Durations())
        self._engine = open_engine(
            config, base_folder=base_folder, environ=environ, cameras=len(config.cameras)
        )
        order = FairShare(delay_s=self._engine.delay_s)
        self._lanes: FanIn[Job] = FanIn("infer", order=order, label=label_of, clock=clock)
        self._steering = Steering(order.times, workers=self._engine.workers)
        self._outlet: FanOut[Published] = FanOut()
        self._changes: FanOut[Published] = FanOut()  # some of the same channels
        self._tracks: FanOut[Published] = FanOut()  # and some again
        self._sinks: list[tuple[str, Channel[Published], Sink, bool]] = []
        self.zeromq: ZeroMqSink | None = None
        self.http: HttpServer | None = None
        self._live: LiveView | None = None
        self._restream: RestreamSink | None = None
        self._cameras = Cameras(
            self._lanes, self._engine, config.model, base_folder=base_folder, clock=clock
        )
        for name, camera in sorted(config.cameras.items()):
            self._cameras.add(name, camera)
        self.roster = Roster(self._cameras, config, show=self._show)
        with ExitStack() as undo:  # what is bound is let go of when a later part cannot be built
            if config.publish.zeromq is not None:
                self.zeromq = open_zeromq(
                    config.publish.zeromq,
                    base_folder=base_folder,
                    boot_id=self.boot_id,
                    model=self._engine.model,
                    final=self._beat,
                    clock=clock,
                )
                undo.callback(self.zeromq.close)
                attached = config.publish.zeromq.attach != "none"
                capacity = LIVE_QUEUE if attached else EVENT_QUEUE
                self._add_sink("zeromq", self.zeromq, capacity=capacity, pictures=attached)
            for name, bridge in open_bridges(
                config.publish,
                base_folder=base_folder,
                boot_id=self.boot_id,
                model=self._engine.model,
                clock=clock,
                wall_clock=wall_clock,
            ):
                undo.callback(bridge.close)
                self._add_sink(name, bridge, capacity=EVENT_QUEUE, vital=False)
            if config.publish.restream is not None:
                self._restream = open_restream(config.publish.restream, clock=clock)
                self._restream.show(sorted(config.cameras))
                self._add_sink(
                    "restream", self._restream, capacity=LIVE_QUEUE, pictures=True, vital=False
                )
            for name, sink in (extra_sinks or {}).items():
                self._add_sink(name, sink, capacity=4, pictures=True)
            if config.http is not None:
                self._live = LiveView(sorted(config.cameras), clock=clock)
                told = Told(boot_id=self.boot_id, model=self._engine.model, clock=clock)
                with naming("http.bind"):
                    self.http = open_front(
                        config,
                        config.http,
                        base_folder=base_folder,
                        live=self._live,
                        told=told,
                        provider=self._engine.session.provider,
                        lanes=self._lanes,
                        cameras=self._cameras,
                        roster=self.roster,
                        model=self._engine.model,
                        status=self.status,
                        metrics=Metrics(self.status).exposition,
                        clock=clock,
                        wall_clock=wall_clock,
                    )
                undo.callback(self.http.close)
                self._add_sink("live", self._live, capacity=LIVE_QUEUE, pictures=True, vital=False)
                self._add_sink("sse", told, capacity=EVENT_QUEUE, vital=False)
            undo.pop_all()  # from here on run() closes them
        self._running: set[str] = {name for name, _, _, _ in self._sinks}
        self._group = StageGroup(
            [
                *self._infer_stages(),
                self._watch_stage(),
                self._steer_stage(),
                *self._publish_stages(),
                *(self.zeromq.stages() if self.zeromq is not None else ()),
            ],
            stopping=threading.Event(),
            drain_s=DRAIN_S,
            intake=[self._cameras],
        )

    def _add_sink(
        self, name: str, sink: Sink, *, capacity: int, pictures: bool = False, vital: bool = True
    ) -> None:
        lossless = vital and not any(line.source.live for line in self._cameras.lines())
        channel: Channel[Published] = Channel(
            name,
            capacity=capacity,
            overflow="block" if lossless else "drop_oldest",
            too_old_at=self._cameras.too_old_at,
            clock=self._clock,
        )
        self._outlet.add(channel, prepare=None if pictures else _without_picture, vital=vital)
        if isinstance(sink, ChangeSink):
            self._changes.add(channel, vital=vital)
        if isinstance(sink, TrackSink):
            self._tracks.add(channel, vital=vital)
        self._sinks.append((name, channel, sink, vital))

    def _infer_stages(self) -> Iterable[Stage]:
        def run() -> None:
            infer(
                self._lanes, self._outlet, self._times, max_batch=self._engine.max_batch,
                clock=self._clock, news=self._tracks,
            )  # fmt: skip

        for number in range(self._engine.workers):
            yield Stage(f"infer-{number}", run, reads=[self._lanes], writes=[self._outlet])

    def _watch_stage(self) -> Stage:
        def run() -> None:
            watch(
                lambda: self._cameras.changes(self._clock(), self._wall_clock()),
                self._changes,
                self._cameras.over,
                clock=self._clock,
                wall_clock=self._wall_clock,
                beat=self._beat,
                depart=lambda last: self._cameras.depart(self._tracks, self._clock(), last=last),
                drained=self._cameras.drained,
            )

        # What the cameras did last is told before the sinks are closed.
        return Stage("watch", run, writes=[self._outlet])

    def _beat(self) -> Beat:
        beat = self._cameras.beat(self._clock(), self._wall_clock())
        sinks = {
            one.name: {
                "depth": one.depth, "capacity": one.capacity,
                "written": one.delivered, "dropped": sum(one.dropped.values()),
            }
            for one in self._outlet.stats()
        }  # fmt: skip
        return replace(beat, sinks=sinks)

    def _steer_stage(self) -> Stage:
        def run() -> None:
            steer(
                self._steering,
                lambda: self._cameras.steered(self._clock()),
                self._cameras.give_up,
                self._cameras.over,
                clock=self._clock,
            )

        return Stage("steer", run)

    def _publish_stages(self) -> Iterable[Stage]:
        # Latency is of the sink that people's programs listen to.
        timed = "zeromq" if self.zeromq is not None else next((s[0] for s in self._sinks), "")

        def stage(name: str, channel: Channel[Published], sink: Sink, vital: bool) -> Stage:
            def run() -> None:
                try:
                    publish(
                        channel,
                        sink,
                        self._cameras.meters if name == timed else None,
                        self._times.publish if name == timed else None,
                        clock=self._clock,
                    )
                finally:
                    self._running.discard(name)

            return Stage(f"publish:{name}", run, reads=[channel], vital=vital)

        return [stage(*sink) for sink in self._sinks]

    def run(self, *, seconds: float | None = None) -> None:
        """Run until every file has ended, ``seconds`` have passed or :meth:`stop` is called.

        Raises StageFailure when a stage failed, StageStuck when one did not end, and SourceLost
        when all else went well but a file could not be read, of a camera that is still there.
        """
        timer = threading.Timer(seconds or 0.0, self._group.stop)
        timer.daemon = True
        if self.http is not None:
            self.http.start()
        if seconds is not None:
            timer.start()
        if self._restream is not None:
            self._restream.begin(self._group.start)
        self._cameras.begin(self._group.start)
        try:
            self._group.run()
        finally:
            timer.cancel()
            self._cameras.settle()
            if self.http is not None:
                self.http.close()
        if self._group.left_behind:
            stages = ", ".join(self._group.left_behind)
            get_logger("app").warning("cameras_left_behind", stages=stages)
        failure = self._cameras.failure()
        if failure is not None:
            raise failure

    def stop(self) -> None:
        """Ask everything to end. Safe in a signal handler, from any thread, more than once."""
        self._group.stop()

    def _show(self, names: Sequence[str]) -> None:
        if self._live is not None:
            self._live.show(names)
        if self._restream is not None:
            self._restream.show(names)

    def status(self) -> Status:
        """Everything now. Each camera's ledger is one exact reading."""
        now = self._clock()
        session = self._engine.session
        channels = {stats.name: stats for stats in self._outlet.stats()}
        return Status(
            version=__version__,
            boot_id=self.boot_id,
            model=self._engine.model,
            provider=session.provider,
            requested_device=self._config.device,
            uptime_s=now - self._started_at,
            cameras=self._cameras.status(now),
            sinks=[
                SinkStatus(
                    name,
                    channels[name],
                    channels[name].delivered,
                    name in self._running,
                    sink.link if isinstance(sink, Bridge) else None,
                )
                for name, _, sink, _ in self._sinks
            ],
            restreams=self._restream.status() if self._restream is not None else (),
            refused=self.zeromq.refused if self.zeromq is not None else {},
            connected=self.zeromq.connected if self.zeromq is not None else {},
            device_warning=session.warning or "",
            inference_faults={
                "hang": session.hangs,
                "batch_split": session.memory.splits,
                "input_shrunk": session.memory.shrinks,
                "out_of_memory": session.memory.given_up,
            },
            inference_stuck_s=session.stuck_s(),
            load=self._steering.load(),
            batches=self._times.batches.stats(),
            watching=self.http.watching() if self.http is not None else None,
            gpu=self._engine.gpu_use(),
            stages={
                "wait": self._times.wait.stats(),
                "infer": self._times.infer.stats(),
                "publish": self._times.publish.stats(),
            },
        )


def _without_picture(item: Published) -> Published:
    return item.without_picture() if isinstance(item, Result | Failure) else item
