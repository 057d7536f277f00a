"""What travels from capture to inference: a frame, and what it is to be looked at with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from streamer.camera_meters import CameraMeters
from streamer.flow.order import FREE, Label
from streamer.protocols import Detector, Reply, Tracker
from streamer.types import Frame
from streamer.vision.patience import Patience
from streamer.vision.privacy import Privacy
from streamer.vision.visits import Visits


@dataclass(frozen=True, slots=True)
class CameraWork:
    """What one camera's frames are looked at with, and where they are counted.

    ``size`` is the long side of the detector's input, pixels: frames of one size take the same
    time and share a batch. ``fills``: the faces of frames that are not looked at are predicted,
    and so are those that a look missed. ``reply``: it was asked about; its outcome goes there.
    ``patience``: how long faces go on that are not found, and those of a look where nothing moves.
    ``visits``: what is told of its faces, used and told under the lock ``telling``, for a camera
    that is lost is told of by another thread. ``privacy`` is what covers faces in its pictures:
    none goes on without it.
    """

    detector: Detector
    tracker: Tracker
    meters: CameraMeters
    size: int = 0
    fills: bool = False
    reply: Reply | None = None
    patience: Patience = field(default_factory=Patience)
    visits: Visits = field(default_factory=Visits)
    telling: threading.Lock = field(default_factory=threading.Lock)
    privacy: Privacy = field(default_factory=Privacy)


class Job(NamedTuple):
    """A frame and what it is to be looked at with: what travels from capture to inference.

    ``looks`` False: it is not to be looked at, only its faces are to be predicted; ``still``:
    nothing moved when a picture was compared last, so they are where they were; ``compared``: that
    was this very picture. ``file_at``: when it happened by a file's own time, seconds; faces move
    by that, however fast the file is read.
    """

    frame: Frame
    work: CameraWork
    looks: bool = True
    still: bool = False
    file_at: float | None = None
    compared: bool = False

    @property
    def at(self) -> float:
        """When it happened, by the clock that its camera's faces move by."""
        return self.frame.captured_at if self.file_at is None else self.file_at


def label_of(job: Job) -> Label:
    """What decides when a job is served: its age, and what it takes."""
    kind = job.work.size if job.work.reply is None else ("asked", job.work.size)
    return Label(job.frame.captured_at, kind if job.looks else FREE)
