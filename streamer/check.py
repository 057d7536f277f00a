"""`streamer check`: whether a configuration works on this machine, camera by camera."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from streamer.camera_line import source_of
from streamer.config import Camera, Config
from streamer.engine import open_engine
from streamer.errors import Exposed, SourceLost, StreamerError
from streamer.exposure import refuse_exposure

AT_ONCE = 16
"""Cameras dialled at the same time."""


def check_all(config: Config, *, base_folder: Path, environ: Mapping[str, str]) -> bool:
    """Print a line for the model and for each camera; True when all is good."""
    console = Console(highlight=False, soft_wrap=True)
    good = True
    try:
        refuse_exposure(config)
    except Exposed as exposed:
        console.print(f"bad   {exposed}", markup=False)
        good = False
    try:
        engine = open_engine(
            config, base_folder=base_folder, environ=environ, cameras=len(config.cameras)
        )
        console.print(f"good  model {engine.model} on {engine.session.provider}")
    except StreamerError as error:
        console.print(f"bad   model: {error}", markup=False)
        good = False

    def first_picture(item: tuple[str, Camera]) -> tuple[str, str, bool]:
        name, camera = item
        return (name, *_first_picture(name, camera, base_folder))

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check") as pool:
        for name, words, works in pool.map(first_picture, sorted(config.cameras.items())):
            console.print(f"{'good' if works else 'bad '}  camera {name}: {words}", markup=False)
            good = good and works
    return good


def _first_picture(name: str, camera: Camera, base_folder: Path) -> tuple[str, bool]:
    """Dial one camera and wait for its first picture; what came of it, in words."""
    source = source_of(name, camera, base_folder)
    stop = threading.Event()
    frames = iter(source.frames(stop))
    try:
        picture = next(frames).picture
    except StopIteration:
        return f"{camera.url} ended without a picture; is it a video?", False
    except SourceLost as lost:
        return str(lost), False
    finally:
        stop.set()
    next(frames, None)  # lets the source see the stop and close what it opened
    return f"{camera.url} gives pictures of {picture.width}x{picture.height}", True
