"""One line, from a source by a detector to a sink: the smallest whole machine, for parts of yours.

``streamer.app`` runs many of them with everything around; this is what to try a part of one's own
with, in a script or a notebook.
"""

from __future__ import annotations

import threading
import time

from streamer.flow.channel import Channel
from streamer.flow.fan import FanIn
from streamer.flow.fan_out import FanOut
from streamer.flow.ledger import Ledger
from streamer.flow.meters import Durations, Rate
from streamer.flow.stage import Stage, StageGroup
from streamer.protocols import Detector, Sink, Source
from streamer.stages import (
    CameraMeters,
    CameraWork,
    Job,
    Position,
    StageMeters,
    capture,
    infer,
    label_of,
    publish,
)
from streamer.types import Published
from streamer.vision.tracking import FaceTracker


def run_line(
    source: Source, detector: Detector, sink: Sink, *, seconds: float | None = None
) -> Ledger:
    """Run until the source ends or ``seconds`` have passed; says what became of each frame.

    Nothing of a file is lost; of a live source the newest frame wins. The sink is closed at the
    end, however it comes. Raises StageFailure where a part raised, a source's SourceLost included:
    ``streamer.capture.reconnect.Reconnecting`` around a live source dials again instead.
    """
    clock, stop = time.monotonic, threading.Event()
    live = source.live
    lanes: FanIn[Job] = FanIn("infer", label=label_of)
    lane = lanes.add_lane(
        "line", capacity=1 if live else 4, overflow="drop_oldest" if live else "block"
    )
    lanes.close()
    channel: Channel[Published] = Channel("sink", capacity=8, overflow="block")
    outlet: FanOut[Published] = FanOut()
    outlet.add(channel)
    meters = CameraMeters(Rate(clock), Rate(clock), Durations())
    work = CameraWork(detector, FaceTracker(), meters)
    times = StageMeters(Durations(), Durations(), Durations())

    def run_capture() -> None:
        capture(source, lane, lambda _: True, lambda: work, meters.captured, Position(), stop=stop)

    def run_infer() -> None:
        infer(lanes, outlet, times, max_batch=1, clock=clock)

    def run_publish() -> None:
        publish(channel, sink, lambda _: meters, times.publish, clock=clock)

    group = StageGroup(
        [
            Stage("capture", run_capture, writes=[lane]),
            Stage("infer", run_infer, reads=[lanes], writes=[outlet]),
            Stage("publish", run_publish, reads=[channel]),
        ],
        stopping=stop,
        drain_s=5.0,
    )
    timer = threading.Timer(seconds or 0.0, group.stop)
    timer.daemon = True
    if seconds is not None:
        timer.start()
    try:
        group.run()
    finally:
        timer.cancel()
    return lane.ledger()
