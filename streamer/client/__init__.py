"""For programs that listen to streamer: needs pyzmq and msgspec, and loads nothing heavier.

::

    from streamer.client import FacesEvent, Gap, subscribe

    with subscribe("tcp://127.0.0.1:5555", replay="tcp://127.0.0.1:5556") as events:
        for event in events:
            match event:
                case FacesEvent():
                    print(event.camera, event.seq, event.faces)
                case Gap():
                    print(event.camera, event.count, "events are lost")
"""

from streamer.client.asynchronous import AsyncSubscription, subscribe_async
from streamer.client.connection import CannotSubscribe
from streamer.client.handshake import NotAdmitted
from streamer.client.latest import Latest, latest
from streamer.client.notices import Gap, Notice, Restarted, Resumed, Stale, Stopped
from streamer.client.reading import NothingHeard
from streamer.client.subscribe import Subscription, subscribe
from streamer.client.wire import Event
from streamer.events import CameraEvent, Face, FacesEvent, Keypoints
from streamer.track_events import Quality, TrackEvent

__all__ = [
    "subscribe",
    "subscribe_async",
    "latest",
    "Subscription",
    "AsyncSubscription",
    "Latest",
    "Event",
    "CameraEvent",
    "FacesEvent",
    "TrackEvent",
    "Quality",
    "Face",
    "Keypoints",
    "Notice",
    "Gap",
    "Restarted",
    "Stale",
    "Resumed",
    "Stopped",
    "CannotSubscribe",
    "NotAdmitted",
    "NothingHeard",
]
