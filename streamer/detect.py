"""`streamer detect`: pictures and videos through the same stages, one JSON line a frame."""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from streamer.capture.once import Once
from streamer.capture.schemes import make_source
from streamer.config import Config
from streamer.engine import open_engine
from streamer.errors import ConfigError, SourceLost
from streamer.flow.channel import Channel
from streamer.flow.fan import FanIn, Lane
from streamer.flow.fan_out import FanOut
from streamer.flow.meters import Durations, Rate
from streamer.flow.stage import Stage, StageGroup
from streamer.protocols import Detector, Sink
from streamer.publish.annotated import PICTURE_SUFFIXES, AnnotatedSink, drawn_name
from streamer.publish.jsonlines import JsonLinesSink
from streamer.stages import (
    CameraMeters,
    CameraWork,
    Job,
    Position,
    StageMeters,
    capture,
    infer,
    publish,
)
from streamer.types import Published, SourceUrl, redact
from streamer.vision.privacy import Mode, Privacy
from streamer.vision.tracking import FaceTracker


class FileList:
    """Several files read one after the other, each with identities of its own.

    A frame's ``camera`` is its file's name and its ``index`` counts from 0 in that file. A file
    that cannot be read is noted in :attr:`failed`, as a sentence, and the next one follows.
    """

    def __init__(
        self, files: Sequence[Path], *, privacy: Mode = "none", confident: float = 0.0
    ) -> None:
        """Read ``files`` in this order; a face below ``confident`` is none, unless it is known."""
        self._files = files
        self._mode: Mode = privacy
        self._confident = confident
        self.failed: list[str] = []
        self.done = 0

    def read(
        self, lane: Lane[Job], detector: Detector, meters: CameraMeters, *, stop: threading.Event
    ) -> None:
        """Offer all frames of every file that can be read. Raises Closed as the lane does."""
        for file in self._files:
            if stop.is_set():
                return
            url = SourceUrl(str(file.absolute()))
            source = Once(make_source(url, camera=file.name, base_folder=file.parent))
            work = partial(
                CameraWork, detector, FaceTracker(confident=self._confident), meters,
                privacy=Privacy(self._mode),
            )  # fmt: skip
            try:
                capture(
                    source, lane, lambda _at: True, work, meters.captured, Position(), stop=stop
                )
            except SourceLost as lost:
                self.failed.append(f"{file}: {str(lost).removeprefix(f'{file.name} ')}")
            self.done += 1


def detect_files(
    files: Sequence[Path],
    config: Config,
    *,
    environ: Mapping[str, str],
    output: Path | None,
    annotated: Path | None,
    privacy: Mode = "none",
) -> list[str]:
    """Detect faces in every frame of ``files``; returns a sentence for each file that failed.

    JSON lines go to ``output`` (standard output when None), pictures and videos with boxes to
    ``annotated`` when given, with faces covered as ``privacy`` says. Raises ConfigError when a
    file is not there, and what ``app`` raises.
    """
    wrong = [
        f"{redact(str(file))}: "
        + ("is a folder; name files" if file.is_dir() else "there is no such file; check the name")
        for file in files
        if not file.is_file()
    ]
    if wrong:
        raise ConfigError(wrong)
    _refuse_to_overwrite(files, output, annotated)
    into = annotated is not None and _is_folder(annotated, files)
    if annotated is not None:  # before anything is looked at, which may take hours
        _refuse_what_cannot_be_written(annotated, into=into)
    engine = open_engine(config, base_folder=Path.cwd(), environ=environ, cameras=1)
    detector = engine.detector(
        config.model,
        config.model.input_size,
        weak=privacy != "none",
        shrinks=privacy == "none",
    )
    source = FileList(files, privacy=privacy, confident=config.model.confidence)
    with ExitStack() as closing:
        stream: BinaryIO = sys.stdout.buffer
        if output is not None:
            try:
                stream = closing.enter_context(output.open("wb"))
            except OSError as error:
                raise ConfigError(
                    [f"{output}: cannot be written ({error.strerror}); choose another --output"]
                ) from None
        sinks: dict[str, Sink] = {
            "output": JsonLinesSink(stream, boot_id=uuid.uuid4().hex, model=engine.model)
        }
        if annotated is not None:
            sinks["annotated"] = AnnotatedSink(annotated, folder=into)
        _run(source, detector, sinks, total=len(files))
    return source.failed


def _is_folder(annotated: Path, files: Sequence[Path]) -> bool:
    """Whether what is drawn goes into ``annotated`` and not to it."""
    return len(files) > 1 or annotated.is_dir() or not annotated.suffix


def _refuse_to_overwrite(
    files: Sequence[Path], output: Path | None, annotated: Path | None
) -> None:
    """Raise ConfigError when a result would be written over an input or over another result."""
    inputs = {file.resolve() for file in files}
    targets = [] if output is None else [("--output", output)]
    if annotated is not None and not _is_folder(annotated, files):
        targets.append(("--annotated", annotated))
    elif annotated is not None:
        if annotated.suffix.lower() in {*PICTURE_SUFFIXES, ".mp4"} and not annotated.is_dir():
            raise ConfigError([f"--annotated: {annotated} is one file for several; name a folder"])
        targets += [("--annotated", annotated / drawn_name(file.name)) for file in files]
    taken: set[Path] = set()
    for option, target in targets:
        if target.resolve() in inputs:
            raise ConfigError([f"{option}: {target} is an input; choose another place"])
        if target.resolve() in taken:
            raise ConfigError([f"{option}: {target} would be written twice; run it in two steps"])
        taken.add(target.resolve())


def _refuse_what_cannot_be_written(annotated: Path, *, into: bool) -> None:
    """Raise ConfigError when nothing can be drawn to ``annotated``, or ``into`` it; it is made."""
    why = "its folder is not there"
    try:
        if into:
            annotated.mkdir(parents=True, exist_ok=True)
        there = annotated if annotated.exists() else annotated.parent
        if os.access(there, os.W_OK):
            return
        if there.exists():
            why = "no permission"
    except OSError as error:
        why = str(error.strerror)
    raise ConfigError([f"{annotated}: cannot be written ({why}); choose another --annotated"])


def _run(source: FileList, detector: Detector, sinks: Mapping[str, Sink], *, total: int) -> None:
    """Join the stages, run them to the end, and show how far they are."""
    clock = time.monotonic
    stop = threading.Event()
    lanes: FanIn[Job] = FanIn("infer")
    lane = lanes.add_lane("files", capacity=4, overflow="block")
    lanes.close()
    outlet: FanOut[Published] = FanOut()
    channels: dict[str, Channel[Published]] = {
        name: Channel(name, capacity=8, overflow="block") for name in sinks
    }
    for channel in channels.values():
        outlet.add(channel)
    meters = CameraMeters(Rate(clock), Rate(clock), Durations())
    times = StageMeters(Durations(), Durations(), Durations())

    def run_infer() -> None:
        infer(lanes, outlet, times, max_batch=1, clock=clock)

    def publish_stage(name: str) -> Stage:
        def run() -> None:
            publish(channels[name], sinks[name], None, None, clock=clock)

        return Stage(f"publish:{name}", run, reads=[channels[name]])

    stages = [
        Stage("capture", lambda: source.read(lane, detector, meters, stop=stop), writes=[lane]),
        Stage("infer", run_infer, reads=[lanes], writes=[outlet]),
        *map(publish_stage, sinks),
    ]
    group = StageGroup(stages, stopping=stop, drain_s=30.0)
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console,
        disable=not console.is_terminal, transient=True,
    )  # fmt: skip
    ended = threading.Event()
    with bar:
        task = bar.add_task("files", total=total)

        def show() -> None:
            while not ended.wait(0.2):
                frames, faces = meters.detected.count(), meters.faces_total
                bar.update(
                    task, completed=source.done, description=f"{frames} frames, {faces} faces"
                )

        shower = threading.Thread(target=show, name="progress", daemon=True)
        shower.start()
        try:
            group.run()
        finally:
            ended.set()
            shower.join()
