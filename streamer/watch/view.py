"""A live view of what a publisher says, as a subscriber hears it: a table for the terminal."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rich import box
from rich.table import Table
from rich.text import Text

from streamer.client.notices import Gap, Notice, Restarted, Resumed, Stale, Stopped
from streamer.client.wire import Event
from streamer.events import CameraEvent, FacesEvent
from streamer.heartbeat_events import HeartbeatEvent

RATE_S = 5.0
"""Rates are of so many last seconds."""

OLD_S = 3.0
"""A result older than this is shown as old, seconds."""

MAX_CAMERAS = 1000
"""Cameras that are shown; those that come later are not."""

_STYLES = {"live": "green", "ended": "dim", "stopped": "dim", "connecting": "yellow", "?": "dim"}


@dataclass(slots=True)
class Row:
    """One camera as it was heard. Instants are seconds of the watcher's clock."""

    state: str = "?"
    why: str = ""
    heard_at: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    captured_at: float | None = None
    faces: int | None = None
    status: str = ""
    lost: int = 0

    def fps(self, now: float) -> float:
        """Results a second, lately."""
        while self.heard_at and self.heard_at[0] <= now - RATE_S:
            self.heard_at.popleft()
        return len(self.heard_at) / RATE_S


class Watched:
    """What a subscription said so far; give it everything that comes."""

    def __init__(self, endpoint: str) -> None:
        """Nothing was heard from ``endpoint`` yet."""
        self._endpoint = endpoint
        self.rows: dict[str, Row] = {}
        self.publisher = "nothing was heard yet"
        self.healthy = False
        self.restarts = 0

    def take(self, heard: Event | Notice | HeartbeatEvent, now: float) -> None:
        """Take an event, a heartbeat or a notice, heard at the instant ``now``."""
        match heard:
            case HeartbeatEvent():
                if not heard.ended:
                    self._say(f"run {heard.boot_id[:8]}", healthy=True)
                for name, state in heard.states.items():
                    if (row := self._row(name)) is not None and row.state != state:
                        row.state, row.why = state, ""
            case FacesEvent():
                if (row := self._row(heard.camera)) is not None:
                    row.heard_at.append(now)
                    row.captured_at = now - heard.age_ms / 1000
                    row.faces = None if heard.faces is None else len(heard.faces)
                    row.status = heard.status
            case CameraEvent():
                if (row := self._row(heard.camera)) is not None:
                    row.state, row.why = heard.state, heard.reason
            case Gap():
                if (row := self._row(heard.camera)) is not None:
                    row.lost += heard.count
            case Restarted():
                self.restarts += 1
                self._say(f"run {heard.new_boot_id[:8]}", healthy=True)
            case Resumed():
                self._say(f"run {heard.boot_id[:8]}", healthy=True)
            case Stale():
                self._say("silent: nothing is heard, not even a heartbeat", healthy=False)
            case Stopped():
                self._say("stopped, as it should", healthy=False)

    def _say(self, publisher: str, *, healthy: bool) -> None:
        self.publisher, self.healthy = publisher, healthy

    def _row(self, camera: str) -> Row | None:
        if camera not in self.rows and len(self.rows) >= MAX_CAMERAS:
            return None
        return self.rows.setdefault(camera, Row())


def table(watched: Watched, now: float) -> Table:
    """The cameras at the instant ``now``."""
    restarts = f" · {watched.restarts} restarts" if watched.restarts else ""
    title = Text(f"{watched._endpoint} · {watched.publisher}{restarts}")
    title.stylize("" if watched.healthy else "bold red")
    shown = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    shown.add_column("camera", no_wrap=True)
    shown.add_column("state", no_wrap=True)
    for name in ("results/s", "age ms", "faces", "lost"):
        shown.add_column(name, justify="right", no_wrap=True)
    for name, row in sorted(watched.rows.items()):
        state = row.state.replace("_", " ") + (f": {row.why.replace('_', ' ')}" if row.why else "")
        age_s = None if row.captured_at is None else now - row.captured_at
        shown.add_row(
            name,
            Text(state, style=_STYLES.get(row.state, "red")),
            f"{row.fps(now):.1f}",
            _age(age_s),
            _faces(row),
            Text(str(row.lost), style="red" if row.lost else ""),
        )
    return shown


def _age(age_s: float | None) -> Text:
    if age_s is None:
        return Text("-")
    return Text(f"{age_s * 1000:.0f}", style="red" if age_s > OLD_S else "")


def _faces(row: Row) -> Text:
    if row.status == "failed":
        return Text("failed", style="red")
    return Text("-" if row.faces is None else str(row.faces))
