"""Events as the wire has them, numbered, of which a bridge wants some."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from streamer.events import camera_event, camera_topic, encode, faces_event, topic
from streamer.publish.pace import Pace, When
from streamer.track_events import track_event, track_topic
from streamer.types import CameraChange, Outcome, TrackChange


class Message(NamedTuple):
    """One event: ``topic`` as on ZeroMQ (``faces/door/``), ``seq`` its number there, ``body`` JSON.

    ``seq`` counts what was chosen, from 1 without a hole: a gap is a loss.
    """

    topic: str
    seq: int
    body: bytes

    @property
    def kind(self) -> str:
        """faces, track or camera."""
        return self.topic.split("/")[0]

    @property
    def camera(self) -> str:
        """Whose event it is."""
        return self.topic.split("/")[1]


class Messages:
    """Makes messages of what a sink is given; ``boot_id`` and ``model`` are as the wire has them.

    ``when`` and ``max_per_s`` choose the results, see :class:`Pace`; ``tracks`` says
    whether faces that appear and leave are told, ``best`` whether their best pictures are too.
    """

    def __init__(
        self,
        *,
        boot_id: str,
        model: str,
        when: When,
        max_per_s: float,
        tracks: bool = True,
        best: bool = False,
        cameras: bool = True,
    ) -> None:
        """Nothing was made yet."""
        self._boot_id = boot_id
        self._model = model
        self._pace = Pace(when, max_per_s)
        self._kinds = {"appeared", "left", "best"} if best else {"appeared", "left"}
        self._tracks = tracks
        self._cameras = cameras
        self._seqs: dict[str, int] = {}

    def faces(self, outcome: Outcome, now: float) -> Message | None:
        """The message of a result, None where it is not wanted. ``now`` is monotonic seconds."""
        if not self._pace.wants(outcome, now):
            return None
        to, seq = self._next(topic(outcome.frame.camera))
        event = faces_event(outcome, seq=seq, boot_id=self._boot_id, model=self._model, now_at=now)
        return Message(to, seq, encode(event))

    def track(self, change: TrackChange, now: float) -> Message | None:
        """The message of a face that came or went."""
        if not self._tracks or change.kind not in self._kinds:
            return None
        to, seq = self._next(track_topic(change.camera))
        event = track_event(change, seq=seq, boot_id=self._boot_id, now_at=now)
        return Message(to, seq, encode(event))

    def change(self, change: CameraChange, now: float) -> Message | None:
        """The message of what a camera does from now on."""
        if not self._cameras:
            return None
        to, seq = self._next(camera_topic(change.camera))
        event = camera_event(change, seq=seq, boot_id=self._boot_id, now_at=now)
        return Message(to, seq, encode(event))

    def keep(self, cameras: Collection[str]) -> None:
        """What was chosen of other cameras than these matters no more; their numbers go on."""
        self._pace.keep(cameras)

    def _next(self, to: bytes) -> tuple[str, int]:
        name = to.decode()
        self._seqs[name] = self._seqs.get(name, 0) + 1
        return name, self._seqs[name]
