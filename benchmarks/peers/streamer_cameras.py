"""streamer with recorded cameras, as it runs. ``streamer_cameras.py CLIP FPS CAMERAS MODEL``.

The configuration is the default one for live cameras; only what reads the cameras is put in here.
A camera keeps its schedule whatever the program does: what is decoded late has become old
meanwhile, and is not excused by a camera that waited.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from recorded import Schedule, end_with_parent, say_begun, say_end

from streamer import __version__
from streamer.app import App
from streamer.capture.memory import limit_arenas
from streamer.capture.pyav import PyAvSource
from streamer.config import Camera, parse_config
from streamer.inference.registry import PATH_VARIABLE
from streamer.log import configure
from streamer.protocols import Source
from streamer.types import Frame, SourceUrl


class RecordedCamera:
    """The clip as a live camera, for ever: its next frame comes when it is due.

    Nothing is decoded ahead. ``captured_at`` is when a picture was decoded, as of a network
    camera, so that streamer knows no more than it would of one.
    """

    live = True

    def __init__(self, clip: str, schedule: Schedule, number: int) -> None:
        """Camera ``number`` of ``schedule``."""
        self.camera = f"cam{number}"
        self._schedule = schedule
        self._number = number
        self._clip = PyAvSource(SourceUrl(f"file:{clip}"), camera=self.camera, live=False)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Frames from index 0 until ``stop``. Raises SourceLost when the clip cannot be read."""
        pictures: Iterator[Frame] = iter(())
        for index in count():
            if stop.wait(self._schedule.wait_s(self._number, index)):
                return
            picture = next(pictures, None)
            if picture is None:
                pictures = self._clip.frames(stop)
                picture = next(pictures, None)
                if picture is None:
                    return
            pts = self._schedule.due(self._number, index)  # goes on over the seam
            yield replace(
                picture, index=index, pts=pts, captured_at=time.monotonic(), wall_at=time.time()
            )
            del picture  # do not hold one while waiting for the next


def found(app: App) -> dict[str, Any]:
    """What the program itself says at the end."""
    status = app.status()
    settled: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for camera in status.cameras:
        settled.update(camera.ledger.settled)
        for (stage, reason), number in camera.ledger.dropped.items():
            dropped[f"{stage}/{reason}"] += number
    return {
        "captured": sum(camera.ledger.captured for camera in status.cameras),
        "settled": dict(settled),
        "dropped": dict(dropped),
        "input_scale": status.load.input_scale,
        "paused": len(status.load.paused),
        "steps_down": status.load.steps.get("down", 0),
        "lost": sum(sum((c.source.losses or {}).values()) for c in status.cameras),
    }


def main() -> None:
    clip, fps, cameras, model = sys.argv[1:]
    configure()
    limit_arenas()
    os.environ[PATH_VARIABLE] = model
    schedule = Schedule(int(cameras), float(fps))
    config = parse_config(
        {
            "cameras": {f"cam{n}": {"source": "demo:"} for n in range(int(cameras))},
            "device": "cpu",
            "http": None,
            "publish": {"zeromq": {"bind": "tcp://127.0.0.1:*"}},
        },
        {},
    )

    def source_of(name: str, _camera: Camera, *_more: object) -> Source:
        return RecordedCamera(clip, schedule, int(name.removeprefix("cam")))

    with mock.patch("streamer.cameras.source_of", source_of):
        app = App(config, base_folder=Path.cwd(), environ=os.environ)
    assert app.zeromq is not None
    schedule.begin()
    about = f"streamer {__version__}"
    say_begun(schedule, endpoint=app.zeromq.endpoint, about=about)
    end_with_parent(app.stop)
    app.run()
    say_end(found(app))


if __name__ == "__main__":
    main()
