"""streamer's whole pipeline, events published. ``streamer_pipeline.py CLIP MODEL CAMERAS``.

Each camera plays the clip, as a recording of which no frame is lost. One more sink notes the boxes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from measured import Row, Stopwatch

from streamer import __version__
from streamer.app import App
from streamer.config import parse_config
from streamer.inference.registry import PATH_VARIABLE
from streamer.log import configure
from streamer.types import Outcome


class Notes:
    """A sink that keeps the faces of one camera, in the order of its frames."""

    def __init__(self, camera: str) -> None:
        self._camera = camera
        self.faces: list[list[Row]] = []

    def write(self, outcome: Outcome) -> None:
        """Note the faces. Raises ``ValueError`` when the frame could not be looked at."""
        if outcome.status == "failed":
            raise ValueError(f"a frame could not be looked at: {outcome.reason}")
        if outcome.frame.camera == self._camera:
            found = outcome.tracks.faces
            self.faces.append(
                [
                    (x1, y1, x2, y2, score)
                    for (x1, y1, x2, y2), score in zip(
                        found.boxes.tolist(), found.scores.tolist(), strict=True
                    )
                ]
            )

    def close(self) -> None:
        """Nothing is held."""


def main() -> None:
    clip, model, cameras = sys.argv[1], sys.argv[2], int(sys.argv[3])
    configure()
    os.environ[PATH_VARIABLE] = model
    config = parse_config(
        {
            "cameras": {f"cam{n}": {"source": clip} for n in range(cameras)},
            "device": "cpu",
            "http": None,
            "publish": {"zeromq": {"bind": "tcp://127.0.0.1:*"}},
        },
        {},
    )
    notes = Notes("cam0")
    app = App(config, base_folder=Path.cwd(), environ=os.environ, extra_sinks={"notes": notes})
    watch = Stopwatch()
    app.run()
    ledgers = [camera.ledger for camera in app.status().cameras]
    assert all(ledger.closes and not ledger.in_flight for ledger in ledgers)
    detected = sum(ledger.settled["detected"] for ledger in ledgers)
    assert detected == sum(ledger.captured for ledger in ledgers), "a file lost a frame"
    about = f"streamer {__version__}, {cameras} camera{'s' if cameras > 1 else ''}"
    watch.say(notes.faces, frames=detected, about=about)


if __name__ == "__main__":
    main()
