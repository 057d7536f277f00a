"""Events as lines for people."""

from __future__ import annotations

from streamer.client.notices import Gap, Notice, Restarted, Resumed, Stale, Stopped
from streamer.client.wire import Event
from streamer.events import CameraEvent
from streamer.track_events import TrackEvent


def line_of(event: Event | Notice) -> str:
    """One line that says what ``event`` says, for a terminal."""
    if isinstance(event, Gap):
        run = f"{event.first_seq} to {event.last_seq}"
        return f"{event.camera:<16} {event.count} messages of {event.topic} lost: {run}"
    if isinstance(event, Restarted):
        return f"streamer began anew, run {event.new_boot_id}"
    if isinstance(event, Stopped):
        return f"streamer has ended, run {event.boot_id}"
    if isinstance(event, Stale | Resumed):
        said = "is silent" if isinstance(event, Stale) else "is heard again"
        return f"streamer {said} after {event.silent_s:.1f} s"
    if isinstance(event, CameraEvent):
        return f"{event.camera:<16} {event.state} {event.reason}".rstrip()
    where = f"{event.camera:<16} frame {event.frame:<8}"
    if isinstance(event, TrackEvent):
        said = f"face {event.id} {event.kind}"
        if event.kind == "left":
            said += f" after {event.seen_s:.1f} s ({event.reason})"
        return f"{where} {said}, quality {event.quality.score:.2f}"
    faces = "failed" if event.faces is None else f"{len(event.faces)} faces"
    return f"{where} {faces:<10} {event.age_ms:6.1f} ms old"
