"""A source of one's own: the newest picture of a folder that something else writes to."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from streamer.line import run_line
from streamer.testing import CollectingSink, FakeDetector
from streamer.types import Frame
from streamer.vision.picture import ArrayPicture


class Folder:
    live = True  # late frames are dropped; a file would be waited for

    def __init__(self, folder: Path, camera: str) -> None:
        self.folder, self.camera = folder, camera

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        seen: set[Path] = set()
        while not stop.wait(0.1):  # every wait is bounded, so that a stop is seen
            for path in sorted(set(self.folder.glob("*.jpg")) - seen):
                seen.add(path)
                pixels = cv2.imread(str(path))
                if pixels is not None:
                    picture = ArrayPicture(np.ascontiguousarray(pixels))
                    now = time.monotonic(), time.time()
                    yield Frame(self.camera, 0, len(seen) - 1, *now, None, picture)


if __name__ == "__main__":
    sink = CollectingSink()
    print(run_line(Folder(Path(sys.argv[1]), "folder"), FakeDetector(), sink, seconds=5))
    print(len(sink.outcomes), "pictures were looked at")
