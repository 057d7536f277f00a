"""Keeps a camera alive: when one life of a source ends, wait and dial again, for ever.

It is the camera's state machine::

    connecting ── first picture ──► live ◄─ picture ─ stalled   (live, no picture for stall_s)
        ▲  │                         │                   │
        │  └──────── lost ───────────┴─────── lost ──────┘
        │                            ▼
        └── wait is over ── backing_off, or refused where only a person can help ── stop ─► stopped

Log lines, one for each change: ``camera_connecting``, ``camera_live``, ``camera_lost`` (with the
reason, and when it is dialled again), ``camera_resumed`` (was quiet and came back by itself),
``camera_frozen``, ``camera_moves``, ``camera_behind`` (pictures are left out), ``camera_stopped``.
That a camera stalls is said by whoever watches (``streamer.watching.watch``): the thread here is
the one that is waiting.
"""

from __future__ import annotations

import random as _random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Final, cast

from streamer.capture.backoff import LOCKING, REFUSALS, Backoff
from streamer.capture.dials import Dials
from streamer.capture.lines import Lines
from streamer.capture.liveness import Flood, Stillness, StreamTime
from streamer.capture.memory import trim
from streamer.capture.refusals import Refusals
from streamer.errors import SourceLost
from streamer.protocols import Source
from streamer.status import SourceState
from streamer.types import Frame, SourceUrl, State

BEHIND_AGAIN_S: Final = 60.0
"""That pictures are left out is told at most once in so many seconds."""


class Reconnecting:
    """Wraps a live source and is one: it ends by ``stop`` only.

    ``epoch`` is ``first_epoch`` in the first life that gives a frame and grows by one with each
    later life that gives one; lives without a frame use none up. ``index`` begins at
    ``first_index`` and goes on from life to life: the n-th frame of a life has the index of the
    life's first frame plus the source's own n.
    """

    live = True

    def __init__(
        self,
        source: Source,
        *,
        url: SourceUrl,
        stall_s: float = 5.0,
        first_frame_s: float = 10.0,
        first_backoff_s: float = 0.5,
        max_backoff_s: float = 30.0,
        healthy_after_s: float = 60.0,
        auth_backoff_s: float = 60.0,
        frozen_s: float = 10.0,
        max_fps_in: float = 500.0,
        first_epoch: int = 0,
        first_index: int = 0,
        before: Reconnecting | None = None,
        refusals: Refusals | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _random.random,
    ) -> None:
        """``url`` is for log lines, with the source's own ``camera`` where it has one.

        Times are in seconds. The source itself must give up after ``stall_s`` without a frame,
        and after ``first_frame_s`` without the first; here they only decide what :meth:`state`
        says meanwhile. ``healthy_after_s`` of frames reset the waits. Pictures that stay the same
        for ``frozen_s`` make the camera frozen; more than ``max_fps_in`` frames within a second
        end its life. ``before``: one whose place it takes, of the same ``url``; its counters go
        on. ``refusals``: what was refused to any camera until now, whose waits go on; None: what
        was refused to ``before``.
        """
        self._source = source
        self._stall_s = stall_s
        self._first_frame_s = first_frame_s
        self._healthy_after_s = healthy_after_s
        self._max_fps_in = max_fps_in
        self._clock = clock
        waits = Backoff(
            first_s=first_backoff_s, most_s=max_backoff_s, auth_s=auth_backoff_s, random=random
        )
        self._dials: Dials = Dials(waits) if before is None else before._dials
        if refusals is None:
            refusals = Refusals(clock=clock) if before is None else before._refusals
        self._refusals: Refusals = refusals
        self._key = refusals.key(url)
        self._lines = Lines(clock=clock, camera=getattr(source, "camera", ""), url=str(url))
        self._stillness = Stillness(frozen_s)
        self._flood = Flood(max_fps_in)
        self._time = StreamTime()
        self._lock = self._dials.lock  # guards its losses and _state; the rest has one writer
        earlier = None if before is None else before.state()
        self._damaged_before = 0 if earlier is None else earlier.decode_errors
        self._jumps_before = 0 if earlier is None else earlier.timestamp_jumps
        self._state = SourceState("connecting", clock())
        self._newest_at: float | None = None
        self._handed_over = False  # whoever reads the frames has one and has not come back
        self._dialled = False
        self._first_epoch = first_epoch
        self._epoch = first_epoch - 1
        self._next_index = first_index
        self.left_out = 0  # pictures of lives that ended, which no frame told of yet
        self._undecoded = 0
        self._behind_again_at = clock()

    def state(self) -> SourceState:
        """What the source is doing at this instant, and what befell it; from any thread.

        It does not trust the thread that reads the source, which may be blocked: a live camera
        whose newest frame is older than ``stall_s`` is stalled, whatever was noted last.
        """
        with self._lock:
            noted, losses = self._state, dict(self._dials.losses)
            attempts = self._dials.attempts
            newest_at = self._newest_at
            now = self._clock()  # after newest_at, so that no age is negative
        state, since_at, reason, detail = noted.state, noted.since_at, noted.reason, noted.detail
        if state == "live" and newest_at is not None and now - newest_at >= self._stall_s:
            state, since_at, reason = "stalled", newest_at + self._stall_s, "stall"
            who = (
                "streamer is still busy with its last picture; look for a slow stage"
                if self._handed_over
                else "check the camera and the network"
            )
            detail = f"no picture for {now - newest_at:.1f} s: {who}"
        elif state == "connecting" and self._dialled and now - since_at >= self._first_frame_s:
            reason = "no_frames"
            detail = f"no picture {now - since_at:.1f} s after dialling; check the camera"
        return replace(
            noted,
            state=state,
            since_at=since_at,
            reason=reason,
            detail=detail,
            losses=losses,
            decode_errors=self._damaged_before + getattr(self._source, "decode_errors", 0),
            attempts=attempts,
            frozen=state == "live" and self._stillness.frozen,
            newest_frame_at=newest_at,
            epoch=self._epoch if self._epoch >= self._first_epoch else None,
            timestamp_jumps=self._jumps_before + self._time.jumps,
        )

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Frames of all lives until ``stop``; never raises SourceLost."""
        try:
            self._await_leave(stop)
            while not stop.is_set():
                dialled_at = self._clock()
                self._enter("connecting")
                attempt = self._dials.begin()
                self._dialled = True
                self._lines.say("info", "camera_connecting", attempt=attempt)
                epoch = self._epoch
                with self._refusals.dial(self._key, stop):
                    lost = yield from self._one_life(stop)
                    if lost is None:
                        break
                    lived = epoch != self._epoch
                    alive_at = (self._newest_at or dialled_at) if lived else dialled_at
                    wait_s = self._wait_s(lost, self._clock() - alive_at)
                with self._lock:
                    self._dials.losses[lost.reason] += 1
                    self._lose(lost, wait_s)
                self._lines.say(
                    "warning",
                    "camera_lost",
                    reason=lost.reason,
                    detail=str(lost),
                    retry_in_s=round(wait_s, 2),
                )
                trim()
                if stop.wait(wait_s):
                    break
        finally:
            self._enter("stopped")
            self._lines.say("info", "camera_stopped")
            self._lines.catch_up(anyway=True)
            trim()

    def _await_leave(self, stop: threading.Event) -> None:
        """Wait as long as a refusal asks for that befell an earlier camera of the same source."""
        self._refusals.await_verdict(self._key, stop, self._first_frame_s)
        held = self._refusals.held(self._key)
        if held is not None and not stop.is_set():
            self._dials.refused_before(held.times)
            with self._lock:
                self._lose(held.lost, held.wait_s)
            self._lines.say(
                "warning", "camera_refused_before", reason=held.lost.reason,
                detail=str(held.lost), retry_in_s=round(held.wait_s, 2),
            )  # fmt: skip
            stop.wait(held.wait_s)

    def _wait_s(self, lost: SourceLost, quiet_s: float) -> float:
        """How long to wait after a loss; after a refusal whoever has the same source waits."""
        wait_s = self._dials.wait_s(lost, quiet_s)
        if lost.reason in LOCKING:
            self._refusals.hold(self._key, lost, wait_s, self._dials.refusals)
        return wait_s

    def _one_life(self, stop: threading.Event) -> Generator[Frame, None, SourceLost | None]:
        """Yield the frames of one life; return why it ended, or None when by ``stop``."""
        first_index = self._next_index
        healthy_since: float | None = None
        quiet_since = 0.0
        captured_at = self._clock()
        frames = cast("Generator[Frame]", self._source.frames(stop))
        try:
            with closing(frames):
                for frame in frames:
                    now = self._clock()
                    if healthy_since is None:
                        healthy_since = now
                        self._refusals.let_in(self._key, stop)
                        self._begin(now)
                    elif now - quiet_since >= self._stall_s:
                        healthy_since = now
                        quiet_s = round(now - quiet_since, 1)
                        self._lines.say("info", "camera_resumed", quiet_s=quiet_s)
                    elif now - healthy_since >= self._healthy_after_s:
                        self._dials.reset()
                    self._newest_at = now
                    gap_s = max(1.0, frame.captured_at - captured_at)
                    captured_at = frame.captured_at
                    if self._flood.see(now, 1 + frame.left_out / gap_s):
                        return SourceLost(
                            "flood",
                            f"sent more than {self._max_fps_in:g} pictures in a second; lower its "
                            "frame rate",
                        )
                    self._look(frame, now)
                    self._next_index = first_index + frame.index + 1
                    self._handed_over = True
                    left_out, self.left_out = frame.left_out + self.left_out, 0
                    yield replace(
                        frame, epoch=self._epoch, index=first_index + frame.index, left_out=left_out
                    )
                    self._handed_over = False
                    del frame  # do not hold a picture while waiting for the next
                    quiet_since = self._clock()  # what the reader took is not the camera's silence
        except SourceLost as lost:
            # A new one: the one that was raised holds the whole life, decoder and pictures.
            again = SourceLost(lost.reason, str(lost))
            if not stop.is_set():
                return again
            if lost.reason in LOCKING:  # the camera counts it, whoever has stopped meanwhile
                self._wait_s(again, 0.0)
                with self._lock:
                    self._dials.losses[lost.reason] += 1
            return None
        finally:
            self._handed_over = False
            owed = getattr(self._source, "left_out", 0)
            self.left_out += owed
            self._next_index += owed
        if stop.is_set():
            return None
        return SourceLost("eof", "the source ended; it is opened again")

    def _begin(self, now: float) -> None:
        """The first frame of a life has come."""
        self._stillness.begin()
        self._flood.begin(now)
        self._time.begin()
        self._epoch += 1
        self._newest_at = now  # before the state: a live camera has a newest frame
        self._enter("live")
        self._lines.say("info", "camera_live", epoch=self._epoch)

    def _look(self, frame: Frame, now: float) -> None:
        """Take in what a frame tells of the camera's health."""
        self._time.see(frame.pts, now)
        self._undecoded += frame.left_out
        if frame.left_out and now >= self._behind_again_at:
            self._lines.say(
                "warning", "camera_behind", pictures=self._undecoded,
                detail="was not decoded in time; if that goes on, choose a smaller stream of it, "
                "fewer cameras or a GPU",
            )  # fmt: skip
            self._undecoded, self._behind_again_at = 0, now + BEHIND_AGAIN_S
        if self._stillness.see(frame.picture, now):
            if self._stillness.frozen:
                self._lines.say(
                    "warning", "camera_frozen", detail="sends the same picture; restart the camera"
                )
            else:
                self._lines.say("info", "camera_moves")
        self._lines.catch_up()

    def _enter(self, state: State) -> None:
        with self._lock:
            # While dialling again, what ended the last life is still the news.
            again = state == "connecting"
            reason = self._state.reason if again else ""
            detail = self._state.detail if again else ""
            self._state = SourceState(state, self._clock(), reason, detail)

    def _lose(self, lost: SourceLost, wait_s: float) -> None:
        """With the lock held: say that it was lost, and is dialled again after ``wait_s``."""
        now = self._clock()
        state: State = "refused" if lost.reason in REFUSALS else "backing_off"
        self._state = SourceState(state, now, lost.reason, str(lost), retry_at=now + wait_s)
