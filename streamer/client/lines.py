"""Events as lines for people."""

from __future__ import annotations

from streamer.client.wire import Event
from streamer.events import CameraEvent
from streamer.track_events import TrackEvent


def line_of(event: Event) -> str:
    """One line that says what ``event`` says, for a terminal."""
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
