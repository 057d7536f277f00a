"""streamer: faces in live video, every frame accounted for.

The names below load what they need when they are first used; ``import streamer`` loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamer.client import subscribe as subscribe
    from streamer.errors import StreamerError as StreamerError
    from streamer.events import CameraEvent as CameraEvent
    from streamer.events import FacesEvent as FacesEvent
    from streamer.inference.detector import RetinaFace as RetinaFace
    from streamer.inference.registry import load_model as load_model
    from streamer.inference.session import open_session as open_session
    from streamer.types import Faces as Faces
    from streamer.types import Frame as Frame
    from streamer.vision.picture import ArrayPicture as ArrayPicture

__version__ = "0.1.0"

_HOME = {
    "ArrayPicture": "streamer.vision.picture",
    "CameraEvent": "streamer.events",
    "Faces": "streamer.types",
    "FacesEvent": "streamer.events",
    "Frame": "streamer.types",
    "RetinaFace": "streamer.inference.detector",
    "StreamerError": "streamer.errors",
    "load_model": "streamer.inference.registry",
    "open_session": "streamer.inference.session",
    "subscribe": "streamer.client",
}
__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> object:
    """Load a public name from its module when it is first asked for."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return __all__
