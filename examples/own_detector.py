"""A detector of one's own: it finds the brightest spot and calls it a face."""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from streamer.capture.schemes import make_source
from streamer.line import run_line
from streamer.testing import CollectingSink
from streamer.types import Faces, Picture, SourceUrl

SIDE = 32  # pixels of the frame


class Brightest:
    def detect(self, pictures: Sequence[Picture]) -> list[Faces]:
        return [self.look(picture) for picture in pictures]

    def look(self, picture: Picture) -> Faces:
        grey = picture.bgr(picture.width, picture.height).max(axis=2)  # rows, columns; uint8
        _, brightest, _, (x, y) = cv2.minMaxLoc(cv2.blur(grey, (9, 9)))
        half = SIDE / 2
        box = [[max(x - half, 0), max(y - half, 0), x + half, y + half]]
        points = [[[x, y]] * 5]  # eyes, nose and mouth: all in the middle
        return Faces(
            boxes=np.array(box, np.float32),
            scores=np.array([brightest / 255], np.float32),
            landmarks=np.array(points, np.float32),
        )


if __name__ == "__main__":
    sink = CollectingSink()
    source = make_source(SourceUrl(sys.argv[1]), camera="clip", base_folder=Path.cwd())
    print(run_line(source, Brightest(), sink, seconds=10))
    print(sink.outcomes[-1].tracks.faces.boxes)
