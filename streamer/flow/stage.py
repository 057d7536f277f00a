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
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from streamer.errors import StageFailure, StageStuck
from streamer.flow.channel import Closed

ABORTED_S: Final = 2.0
"""Seconds that a stage has to end after everything it reads was aborted."""

DETACH_S: Final = 1.5
"""Seconds that a detachable stage has to end when nothing else is left to wait for."""


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

    A stage that is not ``vital`` may raise without ending the others. A ``detachable`` one holds
    nothing that anybody waits for (a camera that is being dialled, say, which cannot be
    interrupted): at a stop it may be left behind on its daemon thread, and that is no failure.
    """

    name: str
    run: Callable[[], None]
    writes: Sequence[Writable] = ()
    reads: Sequence[Readable] = ()
    vital: bool = True
    detachable: bool = False


class _Begin(NamedTuple):
    """An event of :meth:`StageGroup.start`."""

    stage: Stage


class StageGroup:
    """Runs stages until all have ended, one has failed, or :meth:`stop` is called."""

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        stopping: threading.Event,
        drain_s: float,
        intake: Sequence[Writable] = (),
    ) -> None:
        """``stopping`` is set and ``intake`` closed at :meth:`stop`, for sources to see.

        After a stop or a failure stages have ``drain_s`` seconds to end by themselves; then
        everything they read is aborted, and :data:`ABORTED_S` later they are named and left
        behind. Raises ``ValueError`` when two stages have the same name.
        """
        if len({stage.name for stage in stages}) != len(stages):
            raise ValueError("two stages have the same name")
        self._stages = list(stages)
        self._stopping = stopping
        self._drain_s = drain_s
        self._intake = tuple(intake)
        # One queue for "stop" (None), "begin this stage" and "this stage has ended": its put() is
        # written in C and takes no lock that the interrupted code may hold, so a signal handler
        # may call it.
        self._events: queue.SimpleQueue[Stage | _Begin | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._begun = False
        self._running: dict[str, Stage] = {}  # only run()'s own thread touches it
        self._failures: list[Exception] = []
        self._side_failures: list[Exception] = []
        self._left_behind: tuple[str, ...] = ()

    def stop(self) -> None:
        """Ask all stages to end. Safe in a signal handler, before :meth:`run`, more than once."""
        self._events.put(None)

    def start(self, stage: Stage) -> None:
        """Run one more stage, from any thread, before :meth:`run` or during it.

        When the group is ending already it never begins: what it writes is closed and what only
        it reads is aborted, as if it had ended. A name that is running fails the group.
        """
        with self._lock:
            self._stages.append(stage)
            if self._begun:
                self._events.put(_Begin(stage))

    @property
    def left_behind(self) -> tuple[str, ...]:
        """Names of the detachable stages that had not ended when :meth:`run` did."""
        return self._left_behind

    @property
    def side_failures(self) -> tuple[Exception, ...]:
        """What stages that are not vital raised, without the locals of their tracebacks."""
        return tuple(self._side_failures)

    def run(self) -> None:
        """Run every stage on a daemon thread of its name and wait. Call it once.

        Raises :class:`StageFailure` when vital stages raised and :class:`StageStuck` when a
        stage did not end in time (as one more member of the failure when there is one). When a
        signal raises here (``KeyboardInterrupt``), the stages are stopped before it goes on.
        """
        try:
            with self._lock:
                self._begun = True
                stages = list(self._stages)
            for stage in stages:
                self._start(stage)
            self._wait(None)
        finally:
            self._drain()
        self._left_behind = tuple(n for n, stage in self._running.items() if stage.detachable)
        names = sorted(set(self._running) - set(self._left_behind))
        stuck = StageStuck(names) if names else None
        if self._failures:
            if stuck is not None:
                stuck.add_note(f"in stage {', '.join(map(repr, stuck.names))}")
                self._failures.append(stuck)
            raise StageFailure("stages failed; each error below says in which", self._failures)
        if stuck is not None:
            raise stuck

    def _start(self, stage: Stage) -> None:
        if stage.name in self._running:
            self._end(stage, ValueError(f"there is a stage {stage.name!r} already"))
            return
        self._running[stage.name] = stage
        thread = threading.Thread(
            target=self._run_stage, args=(stage,), name=stage.name, daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            self._end(stage, error)

    def _drain(self) -> None:
        """Give what still runs its time to end, then take away what it reads."""
        self._stopping.set()
        for end in self._intake:
            end.close()
        if self._running:
            self._wait(self._drain_s)
        if self._needed():
            for stage in self._running.values():
                for source in stage.reads:
                    source.abort()
            self._wait(ABORTED_S)

    def _wait(self, limit_s: float | None) -> None:
        """Take events until every stage has ended or ``limit_s`` passes.

        Without a limit, only until a stop is asked or a stage has failed.
        """
        deadline = None if limit_s is None else time.monotonic() + limit_s
        alone_at: float | None = None  # since when only detachable stages are left
        while self._running:
            if deadline is not None and not self._needed():
                alone_at = time.monotonic() if alone_at is None else alone_at
                deadline = min(deadline, alone_at + DETACH_S)
            try:
                left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
                event = self._events.get(timeout=left_s)
            except queue.Empty:
                return
            if isinstance(event, _Begin):
                if self._stopping.is_set():
                    self._fold(event.stage, failed=False)
                else:
                    self._start(event.stage)
            elif event is not None:
                self._running.pop(event.name, None)
            if limit_s is None and (event is None or self._failures):
                return

    def _needed(self) -> bool:
        """Whether a stage still runs that must end in order."""
        return not all(stage.detachable for stage in self._running.values())

    def _run_stage(self, stage: Stage) -> None:
        self._end(stage, _failure_of(stage.run))

    def _end(self, stage: Stage, error: Exception | None) -> None:
        """Keep what the stage raised, fold the line up around it and tell :meth:`run`."""
        try:
            if error is not None:
                self._keep(stage, error)
            self._fold(stage, failed=error is not None and stage.vital)
        except Exception as broken:  # noqa: BLE001 - an end that cannot be closed is a failure too
            self._keep(stage, broken)
        finally:
            self._events.put(stage)

    def _keep(self, stage: Stage, error: Exception) -> None:
        error.add_note(f"in stage '{stage.name}'")
        if stage.vital:
            self._failures.append(error)
        else:
            traceback.clear_frames(error.__traceback__)  # the line goes on: keep no picture alive
            self._side_failures.append(error)

    def _fold(self, stage: Stage, *, failed: bool) -> None:
        """Close what only this stage still wrote, abort what only it still read."""
        with self._lock:
            self._stages = others = [s for s in self._stages if s is not stage]
            written = {id(end) for s in others for end in s.writes}
            read = {id(end) for s in others for end in s.reads}
        for outlet in stage.writes:
            if id(outlet) not in written:
                outlet.close()
        for source in stage.reads:
            if failed or id(source) not in read:
                source.abort()


def _failure_of(run: Callable[[], None]) -> Exception | None:
    """What ``run`` raised; None when it returned, or ended because its reader is gone."""
    try:
        run()
    except Closed:
        return None  # the reader's own ending says why
    except Exception as error:  # noqa: BLE001 - whatever a stage raises is kept and raised by run()
        return error
    except BaseException as error:  # noqa: BLE001 - sys.exit() or a panic of an extension module
        failure = RuntimeError(f"the stage was ended by {type(error).__name__}")
        failure.__cause__ = error
        return failure
    return None
