"""From what a person wrote to the source that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from streamer.capture.arrivals import LATE_S
from streamer.capture.ffmpeg import VERIFIED, Tls
from streamer.capture.reach import Reach
from streamer.capture.urls import (
    NETWORK_PORTS,
    check_url,
    demo_options,
    file_path,
    scheme_of,
    synthetic_options,
    webcam_device,
)
from streamer.errors import ConfigError
from streamer.protocols import Source
from streamer.resources import resource
from streamer.types import SourceUrl

__all__ = ["Tls", "check_url", "make_source"]

PICTURE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
"""Files read as one still picture; all others are read as video."""


def make_source(
    url: SourceUrl,
    *,
    camera: str,
    transport: Literal["tcp", "udp"] = "tcp",
    decoder: str = "auto",
    base_folder: Path,
    tls: Tls = VERIFIED,
    reach: Reach | None = None,
    stall_s: float = 5.0,
    first_frame_s: float = 10.0,
    late_s: float = LATE_S,
) -> Source:
    """The source for ``url``, not yet opened; one life of it, so wrap it where it is live.

    Relative file paths are relative to ``base_folder``, the folder of the configuration file;
    a network camera without a picture for ``stall_s`` seconds, or without its first for
    ``first_frame_s``, is lost; what waits for ``late_s`` to be decoded may be left out;
    ``tls`` says whose certificates an rtsps or https camera may show, ``reach`` which addresses a
    network camera may have (None: any);
    ``decoder`` is "auto", "software", "cuda" or "cuda:N", for network cameras.
    Raises :class:`streamer.errors.ConfigError` on a URL that :func:`check_url` objects to.
    """
    text = url.reveal()
    problem = check_url(text)
    if problem is not None:
        raise ConfigError([f"cameras.{camera}.source: {problem}"])
    # The heavy libraries are loaded only where a source needs them.
    scheme = scheme_of(text)
    if scheme in NETWORK_PORTS:
        from streamer.capture.pyav import PyAvSource

        return PyAvSource(
            url,
            camera=camera,
            live=True,
            transport=transport,
            tls=tls,
            reach=reach,
            decoder=decoder,
            read_timeout_s=stall_s,
            first_frame_s=first_frame_s,
            late_s=late_s,
        )
    if scheme == "webcam":
        from streamer.capture.opencv import WebcamSource

        return WebcamSource(webcam_device(text), camera=camera)
    if scheme == "synthetic":
        from streamer.capture.synthetic import SyntheticSource

        return SyntheticSource(camera=camera, options=synthetic_options(text))
    if scheme == "demo":
        from streamer.capture.synthetic import DemoSource

        try:
            clip = resource("demo.mp4")
        except FileNotFoundError as error:
            raise ConfigError([f"cameras.{camera}.source: {error}"]) from None
        return DemoSource(camera=camera, clip=clip, options=demo_options(text))
    return _file_source(file_path(text, base_folder), camera)


def _file_source(path: Path, camera: str) -> Source:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        from streamer.capture.opencv import PictureFileSource

        return PictureFileSource(path, camera=camera)
    from streamer.capture.pyav import PyAvSource

    return PyAvSource(SourceUrl(f"file:{path}"), camera=camera, live=False)
