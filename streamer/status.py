"""One reading of everything: what the live table, /metrics and the web page show.

Nothing here is pushed: ``app`` reads channels, lanes and meters when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

from streamer.errors import LossReason
from streamer.flow.channel import ChannelStats
from streamer.flow.ledger import Ledger
from streamer.flow.meters import NO_DURATIONS, DurationStats
from streamer.types import State


@dataclass(frozen=True, slots=True)
class SourceState:
    """What one camera's source is doing, and why.

    Instants are monotonic seconds. ``since_at`` is when it began to do so; ``reason`` and
    ``detail`` say why it is not live (empty when it is). ``losses`` counts lives that ended, by
    reason; ``decode_errors`` packets that gave no picture; ``attempts`` every dial;
    ``timestamp_jumps`` the times the stream's own clock stood still, went back or leapt.
    ``frozen``: pictures come, but have not changed for long. ``newest_frame_at``
    is when the newest picture came and ``epoch`` its life's number (None before the first);
    ``retry_at`` is when the next dial is due while backing off or refused, else None.
    """

    state: State
    since_at: float
    reason: LossReason | Literal[""] = ""
    detail: str = ""
    losses: Mapping[LossReason, int] | None = None
    decode_errors: int = 0
    attempts: int = 0
    frozen: bool = False
    newest_frame_at: float | None = None
    epoch: int | None = None
    timestamp_jumps: int = 0
    retry_at: float | None = None


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One camera now. Rates are per second; durations are seconds; None means "no data yet".

    ``stages`` holds the time its frames spent by station, as a count and a sum; ``newest_age_s`` is
    of what was published last of a look, or of a frame seen to be still; ``max_age_s`` is how old a
    result may be, None where nothing is dropped for its age, and ``late`` counts results that were
    older when they were written. ``in_state_s`` is how long its source does what it does. ``still``
    counts frames that were not looked at because nothing moved, ``wakes`` how often something began
    to. ``privacy`` is how faces are covered in its pictures.
    """

    name: str
    source: SourceState
    url: str
    ledger: Ledger
    lane: ChannelStats
    faces_total: int
    faces_now: int
    capture_fps: float
    detect_fps: float
    latency: DurationStats
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    newest_age_s: float | None
    publish_fps: float = 0.0
    stages: Mapping[str, DurationStats] = field(default_factory=dict)
    max_age_s: float | None = None
    still: int = 0
    wakes: int = 0
    privacy: str = "none"
    late: int = 0
    in_state_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """What a bridge's other end does.

    ``connects`` counts connections made; ``delivered`` messages that the other end confirmed,
    ``lost`` those given up, by reason, and ``retries`` times something was sent again. ``waiting``
    messages are held now. ``trouble`` says why it is not connected, in one sentence.
    """

    connected: bool
    connects: int = 0
    delivered: int = 0
    retries: int = 0
    waiting: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """One sink now: its channel's counters, whether it still runs, and how many it wrote.

    ``link`` is of a bridge, None for others.
    """

    name: str
    channel: ChannelStats
    written: int
    running: bool
    link: LinkStatus | None = None


@dataclass(frozen=True, slots=True)
class GpuUse:
    """A GPU now, used by all programs: ``number`` is that of CUDA; ``busy`` is 0..1."""

    number: int
    used_bytes: int
    total_bytes: int
    busy: float


RestreamState: TypeAlias = Literal[
    "idle", "connecting", "live", "stalled", "backing_off", "stopped"
]
"""What a stream to an RTSP server is doing: a closed set, used as a metric label."""

RESTREAM_STATES: Final[tuple[RestreamState, ...]] = get_args(RestreamState)


@dataclass(frozen=True, slots=True)
class RestreamStatus:
    """The stream of one camera to an RTSP server now; ``url`` without its secrets.

    ``reason`` and ``detail`` say why it is not live. ``sent`` counts pictures; ``skipped`` those
    that came sooner than the rate asked for; ``dropped``, by reason, those that waited when a newer
    came, or came while the server was away; ``losses`` sessions that ended, by reason.
    """

    camera: str
    url: str
    state: RestreamState
    reason: LossReason | Literal[""] = ""
    detail: str = ""
    sent: int = 0
    skipped: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    losses: Mapping[LossReason, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do, and what is given up because it is too much.

    ``level`` is 0 while nothing is given up and grows with every step; ``input_scale`` is the
    factor of the input size; ``paused`` names the cameras that are not looked at; ``steps``
    counts steps taken ("down") and taken back ("up"). ``capacity``: frames a second that all
    workers can look at together, None before the first; ``busy_s``: seconds they were busy so
    far, added up; ``service_s``: seconds held by input size (pixels) and size of batch.
    """

    level: int = 0
    input_scale: float = 1.0
    paused: frozenset[str] = frozenset()
    steps: Mapping[str, int] = field(default_factory=dict)
    capacity: float | None = None
    busy_s: float = 0.0
    service_s: Mapping[tuple[int, int], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ViewerStatus:
    """One who watches now.

    ``number`` counts viewers since the start; ``kind`` is how it watches; ``for_s`` is since when,
    seconds. ``sent`` counts pictures; ``dropped`` those it did not get although they were wanted:
    ``slow`` (it did not take them in time), ``busy`` (streamer did not make them in time) and
    ``paced`` (more than it asked for a second).
    """

    number: int
    kind: Literal["page", "mjpeg"]
    for_s: float
    sent: int
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Watching:
    """Who watches now, and what all who ever watched were sent and not sent, pictures.

    ``cut_off`` counts viewers that were sent away because they did not read. ``asked`` counts
    pictures that were sent to be looked at, by HTTP status of the answer, ``asked_now`` those on
    their way, and ``asked_s`` how long those took that were; None where no pictures are taken.
    ``listening``: who hears server-sent events now.
    """

    viewers: Sequence[ViewerStatus] = ()
    sent: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    cut_off: int = 0
    asked: Mapping[int, int] = field(default_factory=dict)
    asked_now: int = 0
    asked_s: DurationStats | None = None
    listening: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """The whole program now. ``stages`` holds time spent by station: wait, infer, publish.

    ``device_warning`` is one sentence where the device is not the one that seems to be meant, else
    empty. ``inference_faults`` counts by kind what went wrong in runs of the model and was borne:
    ``hang`` (ended after too long), ``batch_split``, ``input_shrunk`` and ``out_of_memory``
    (pictures given up). ``inference_stuck_s``: seconds that a run goes on although it was told to
    end, else 0. ``batches`` holds the frames of each run of the model, in the place of seconds.
    ``watching`` and ``gpu`` are None without an HTTP door and a GPU in use.
    ``refused``: connections refused or ended by socket (``events``, ``replay``) and reason.
    ``connected``: connections now, by the same sockets.
    """

    version: str
    boot_id: str
    model: str
    provider: str
    requested_device: str
    uptime_s: float
    cameras: Sequence[CameraStatus]
    sinks: Sequence[SinkStatus]
    stages: Mapping[str, DurationStats]
    device_warning: str = ""
    inference_faults: Mapping[str, int] = field(default_factory=dict)
    inference_stuck_s: float = 0.0
    load: Load = Load()
    batches: DurationStats = NO_DURATIONS
    watching: Watching | None = None
    gpu: GpuUse | None = None
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    connected: Mapping[str, int] = field(default_factory=dict)
    restreams: Sequence[RestreamStatus] = ()
