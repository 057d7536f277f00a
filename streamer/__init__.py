"""streamer: faces in live video, every frame accounted for."""

__version__ = "0.1.0"
