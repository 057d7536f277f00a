"""Sends what people see of each camera, faces drawn or covered, to an RTSP server.

From there any number watch, by WebRTC, HLS or RTSP, in the player they like (docs/restream.md).
Each camera is encoded on a thread of its own, the newest picture only: a server that is slow or
gone costs pictures here and nothing elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, Protocol, TypeAlias

from streamer.errors import LossReason, SourceLost
from streamer.flow.channel import Channel, Closed
from streamer.flow.stage import Stage
from streamer.log import get_logger
from streamer.publish.rtsp_push import RtspPush
from streamer.status import RestreamState, RestreamStatus
from streamer.types import Beat, CameraChange, Failure, Image, Outcome, SourceUrl
from streamer.vision.annotate import draw
from streamer.vision.jpeg import dim
from streamer.vision.privacy import mode_of

STALE_S: Final = 3.0
"""A picture that is older is sent once a second, dimmed, and says so."""

STALLED_S: Final = 2.0
"""A picture that takes longer to send is held up by the server."""

log = get_logger("restream")


class Waits(Protocol):
    """How long to wait before the server is dialled again."""

    def next_s(self, reason: LossReason) -> float:
        """Seconds to wait after a loss, counted as one more."""

    def reset(self) -> None:
        """Begin again from the shortest waits."""


@dataclass(frozen=True, slots=True)
class Form:
    """How pictures are sent: ``width`` pixels, ``fps`` a second and ``kbps`` at most."""

    width: int = 1280
    fps: float = 15.0
    kbps: int = 2000
    transport: Literal["tcp", "udp"] = "tcp"


class _Tick:
    """Stands for a picture where none has come for a second."""


_Item: TypeAlias = Outcome | _Tick


class _Feed:
    """One camera's stream: what waits for it, and what became of it."""

    def __init__(
        self, camera: str, url: SourceUrl, form: Form, waits: Waits, clock: Callable[[], float]
    ) -> None:
        self.channel: Channel[_Item] = Channel(
            f"restream:{camera}", capacity=1, overflow="drop_oldest", clock=clock
        )
        self.newest_at: float | None = None  # set by who writes
        self._camera = camera
        self._url = url
        self._form = form
        self._waits = waits
        self._clock = clock
        self._push: RtspPush | None = None
        self._due_at = self._retry_at = 0.0
        self._last: Outcome | None = None
        self._state: RestreamState = "idle"
        self._reason: LossReason | Literal[""] = ""
        self._detail = ""
        self._dialled_at = 0.0
        self._busy_at: float | None = None  # since when a picture is being sent
        self._sent = 0
        self._skipped = 0
        self._losses: Counter[LossReason] = Counter()
        self._unsent = 0

    def status(self) -> RestreamStatus:
        """What it does now; it does not trust the thread that sends, which may be blocked."""
        dropped = {**self.channel.stats().dropped, "not_connected": self._unsent}
        state, reason, detail, busy_at = self._state, self._reason, self._detail, self._busy_at
        if state == "live" and busy_at is not None and self._clock() - busy_at >= STALLED_S:
            state, reason = "stalled", "stall"
            detail = "the RTSP server takes nothing; check that it is not overloaded"
        return RestreamStatus(
            self._camera, str(self._url), state, reason, detail,
            sent=self._sent, skipped=self._skipped, dropped=dropped, losses=dict(self._losses),
        )  # fmt: skip

    def run(self) -> None:
        """Stage: send what comes until nothing more will."""
        try:
            for item in self.channel:
                self._take(item)
                del item
        finally:
            self._close()
            self._state, self._last = "stopped", None

    def _take(self, item: _Item) -> None:
        now = self._clock()
        outcome = self._last if isinstance(item, _Tick) else item
        if outcome is None:
            return
        self._last = outcome
        if now < self._retry_at:
            self._unsent += 1
            return
        if now < self._due_at and not isinstance(item, _Tick):
            self._skipped += 1
            return
        # A tenth early is in time: cameras do not keep their pace to the millisecond.
        self._due_at = max(self._due_at + 1 / self._form.fps, now + 0.9 / self._form.fps)
        try:
            self._send(outcome, now)
        except SourceLost as lost:
            self._lose(lost.reason, str(lost))

    def _send(self, outcome: Outcome, now: float) -> None:
        picture = outcome.frame.picture
        width = max(16, min(self._form.width, picture.width) // 2 * 2)
        height = max(16, round(picture.height * width / picture.width / 2) * 2)
        image = drawn(outcome, width, height, old=now - outcome.frame.captured_at >= STALE_S)
        if self._push is not None and self._push.size != (width, height):
            self._close()  # a stream has one size
        if self._push is None:
            self._state = "connecting"
            self._push = RtspPush(
                self._url, width=width, height=height, fps=self._form.fps, kbps=self._form.kbps,
                transport=self._form.transport,
            )  # fmt: skip
            self._state, self._reason, self._detail = "live", "", ""
            log.info("restream_live", camera=self._camera, url=str(self._url))
            self._dialled_at = now
        self._busy_at = self._clock()
        try:
            self._push.write(image, now)
        finally:
            self._busy_at = None
        self._sent += 1
        if now - self._dialled_at >= 60.0:
            self._waits.reset()

    def _lose(self, reason: LossReason, detail: str) -> None:
        self._close()
        self._losses[reason] += 1
        wait_s = self._waits.next_s(reason)
        self._retry_at = self._clock() + wait_s
        self._state, self._reason = "backing_off", reason
        self._detail = f"the RTSP server {detail}"
        log.warning(
            "restream_lost", camera=self._camera, url=str(self._url), reason=reason,
            detail=self._detail, retry_in_s=round(wait_s, 2),
        )  # fmt: skip

    def _close(self) -> None:
        if self._push is not None:
            self._push.close()
            self._push = None


class RestreamSink:
    """A :class:`streamer.protocols.BeatSink` that sends each camera to ``url``.

    ``url`` holds ``{camera}``, which the camera's name takes the place of. ``waits`` makes what
    says how long to wait for the server, one for each camera. Nothing here waits: each camera's
    pictures are encoded and sent by a stage of its own, which :meth:`begin` says how to run.
    """

    def __init__(
        self,
        url: str,
        form: Form,
        *,
        waits: Callable[[], Waits],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is dialled before the first picture."""
        self._url = url
        self._form = form
        self._waits = waits
        self._clock = clock
        self._start: Callable[[Stage], None] | None = None
        self._feeds: dict[str, _Feed] = {}
        self._shown: frozenset[str] | None = None
        self._begun = 0
        self._closed = False
        self._lock = threading.Lock()

    def begin(self, start: Callable[[Stage], None]) -> None:
        """Run the stage of each camera by ``start``, from its first picture on."""
        self._start = start

    def show(self, camera_names: Sequence[str]) -> None:
        """Send these cameras only, from now on."""
        with self._lock:
            self._shown = frozenset(camera_names)
            for name in self._feeds.keys() - self._shown:
                self._feeds.pop(name).channel.close()

    def write(self, outcome: Outcome) -> None:
        """Take one outcome with its picture: the newest of each camera waits for its stage."""
        feed = self._feed(outcome.frame.camera)
        if feed is not None:
            feed.newest_at = self._clock()
            self._put(feed, outcome)

    def write_change(self, change: CameraChange) -> None:
        """Nothing: what a camera does is seen in its picture, or that none comes."""

    def write_beat(self, beat: Beat) -> None:  # noqa: ARG002 - the beat is all that counts
        """Once a second: where no picture comes, have the last one sent, marked as old."""
        with self._lock:
            feeds = list(self._feeds.values())
        for feed in feeds:
            if feed.newest_at is not None and self._clock() - feed.newest_at >= STALE_S:
                self._put(feed, _Tick())

    def status(self) -> list[RestreamStatus]:
        """What each stream is doing, by camera. Any thread may ask."""
        with self._lock:
            feeds = sorted(self._feeds.items())
        return [feed.status() for _, feed in feeds]

    def close(self) -> None:
        """Have every stage end; they say good-bye to the server."""
        with self._lock:
            self._closed = True
            for feed in self._feeds.values():
                feed.channel.close()

    def _feed(self, camera: str) -> _Feed | None:
        with self._lock:
            feed = self._feeds.get(camera)
            shown = self._shown is None or camera in self._shown
            if feed is not None or self._start is None or self._closed or not shown:
                return feed
            url = SourceUrl(self._url.replace("{camera}", camera))
            feed = _Feed(camera, url, self._form, self._waits(), self._clock)
            self._feeds[camera] = feed
            self._begun += 1
            name, run = f"restream:{camera}.{self._begun}", feed.run
            self._start(Stage(name, run, reads=[feed.channel], vital=False, detachable=True))
            return feed

    @staticmethod
    def _put(feed: _Feed, item: _Item) -> None:
        try:
            feed.channel.put(item)
        except Closed:
            pass  # its stage has ended, and the channel counts it


def drawn(outcome: Outcome, width: int, height: int, *, old: bool) -> Image:
    """The picture as people get it: uint8 BGR (height, width, 3), faces drawn.

    One that is ``old`` or was never looked at is dimmed and says so.
    """
    frame = outcome.frame
    image = frame.picture.bgr(width, height).copy()
    failed = isinstance(outcome, Failure)
    if not isinstance(outcome, Failure):
        scale = width / frame.picture.width, height / frame.picture.height
        draw(image, outcome.tracks, *scale, covered=mode_of(frame.picture) != "none")
    if old or failed:
        taken = datetime.fromtimestamp(frame.wall_at, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        dim(image, f"NOT LIVE since {taken}" if old else f"NOT LOOKED AT {taken}")
    return image
