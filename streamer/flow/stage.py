"""Stages: plain functions on threads of their own, and the group that runs them to the end.

A stage says what it writes and what it reads. When its function returns or raises, what it
writes is closed (readers drain and end); when it raises, or when the last stage reading a
channel ends, that channel is aborted (writers get ``Closed`` and end). So one failure folds the
line up from both sides and nobody has to walk it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamer.errors import StageFailure, StageStuck
from streamer.flow.channel import Closed


class Writable(Protocol):
    """What a stage writes to."""

    def close(self) -> None:
        """Say that nothing more will be written."""


class Readable(Protocol):
    """What a stage reads from."""

    def abort(self) -> None:
        """Say that nothing more will be read."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A function to run on a thread named ``name``.

    A stage that is not ``vital`` may raise without ending the others.
    """

    name: str
    run: Callable[[], None]
    writes: Sequence[Writable] = ()
    reads: Sequence[Readable] = ()
    vital: bool = True


class StageGroup:
    """Runs stages until all have ended, one has failed, or :meth:`stop` is called."""

    def __init__(self, stages: Sequence[Stage], *, stopping: threading.Event, drain_s: float):
        """``stopping`` is set at :meth:`stop`, for sources to see.

        After a stop or a failure stages have ``drain_s`` seconds to end by themselves; then
        everything they read is aborted, and two seconds later they are named and left behind.
        """
        self._stages = list(stages)
        self._stopping = stopping
        self._drain_s = drain_s
        self._events: queue.SimpleQueue[Stage | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._running: dict[str, Stage] = {}
        self._failures: list[Exception] = []
        self._side_failures: list[Exception] = []

    def stop(self) -> None:
        """Ask all stages to end. Safe to call from a signal handler and more than once."""
        self._events.put(None)

    @property
    def side_failures(self) -> tuple[Exception, ...]:
        """What stages that are not vital raised."""
        return tuple(self._side_failures)

    def run(self) -> None:
        """Run every stage on its thread and wait.

        Raises :class:`StageFailure` when vital stages raised and :class:`StageStuck` when a
        stage did not end in time.
        """
        self._running = {stage.name: stage for stage in self._stages}
        if len(self._running) != len(self._stages):
            raise ValueError("two stages have the same name")
        for stage in self._stages:
            threading.Thread(
                target=self._run_stage, args=(stage,), name=stage.name, daemon=True
            ).start()
        self._wait(None)
        if self._running:
            self._wait(self._drain_s)
        if self._running:
            for stage in self._running.values():
                for read in stage.reads:
                    read.abort()
            self._wait(2.0)
        if self._failures:
            raise StageFailure("a stage failed", self._failures)
        if self._running:
            raise StageStuck(sorted(self._running))

    def _wait(self, limit_s: float | None) -> None:
        """Take events until every stage has ended, the limit passes, or a stop is first asked."""
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while self._running:
            try:
                left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
                ended = self._events.get(timeout=left_s)
            except queue.Empty:
                return
            if ended is None:
                self._stopping.set()
            else:
                del self._running[ended.name]
                if self._failures:
                    self._stopping.set()
            if limit_s is None and self._stopping.is_set():
                return

    def _run_stage(self, stage: Stage) -> None:
        failed = False
        try:
            stage.run()
        except Closed:
            pass  # whoever read from this stage is gone; its own ending says why
        except Exception as error:  # noqa: BLE001 - any failure of a stage is kept and raised
            failed = stage.vital
            error.add_note(f"in stage '{stage.name}'")
            (self._failures if stage.vital else self._side_failures).append(error)
        finally:
            self._fold(stage, failed)
            self._events.put(stage)

    def _fold(self, stage: Stage, failed: bool) -> None:
        """Close what only this stage still wrote, abort what only it still read."""
        with self._lock:
            others = [s for s in self._stages if s is not stage]
            self._stages = others
            written = {id(end) for s in others for end in s.writes}
            read = {id(end) for s in others for end in s.reads}
        for end in stage.writes:
            if id(end) not in written:
                end.close()
        for source in stage.reads:
            if failed or id(source) not in read:
                source.abort()
