"""For programs that listen to streamer: needs pyzmq and msgspec, and loads nothing heavier.

::

    from streamer.client import subscribe

    with subscribe("tcp://127.0.0.1:5555") as events:
        for event in events:
            print(event.camera, event.faces)
"""

from streamer.client.subscribe import CannotSubscribe, NothingHeard, Subscription, subscribe
from streamer.events import CameraEvent, Face, FacesEvent, Keypoints

__all__ = [
    "subscribe",
    "Subscription",
    "CameraEvent",
    "FacesEvent",
    "Face",
    "Keypoints",
    "CannotSubscribe",
    "NothingHeard",
]
