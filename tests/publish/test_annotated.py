"""Pictures and videos with the faces drawn in."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamer.errors import StreamerError
from streamer.publish.annotated import AnnotatedSink
from streamer.types import Faces, Failure, Frame, Result, Stamps, Tracks
from streamer.vision.picture import ArrayPicture

STAMPS = Stamps(0.0, 0.0, 0.0)


def frame(name: str, index: int = 0, pts: float | None = None, size: int = 100) -> Frame:
    picture = ArrayPicture(np.full((size, size, 3), 90, np.uint8))
    return Frame(name, 0, index, 0.0, 0.0, pts, picture)


def result(of: Frame) -> Result:
    faces = Faces(
        np.array([[20, 20, 70, 80]], np.float32),
        np.array([0.9], np.float32),
        np.full((1, 5, 2), 40, np.float32),
    )
    return Result(of, Tracks(np.array([1], np.int64), faces), STAMPS)


def test_a_picture_is_drawn_on_and_a_failure_is_not(tmp_path: Path) -> None:
    for outcome, drawn in ((result(frame("x.png")), True),
                           (Failure(frame("x.png"), STAMPS, "no"), False)):  # fmt: skip
        sink = AnnotatedSink(tmp_path / "x.png", folder=False)
        sink.write(outcome)
        sink.close()
        assert np.any(cv2.imread(str(tmp_path / "x.png")) != 90) == drawn


def test_a_video_keeps_the_times_of_its_frames(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.54]
    sink = AnnotatedSink(tmp_path / "v.mp4", folder=False)
    for index, pts in enumerate(times):
        sink.write(result(frame("v", index, pts, size=101)))  # odd sides gain a pixel
    sink.close()
    with av.open(str(tmp_path / "v.mp4")) as video:
        found = [decoded.time for decoded in video.decode(video=0)]
        assert (video.streams.video[0].width, video.streams.video[0].height) == (102, 102)
    assert found == pytest.approx(times, abs=1e-3)


def test_several_inputs_get_a_file_each_in_a_folder(tmp_path: Path) -> None:
    sink = AnnotatedSink(tmp_path / "out", folder=True)
    for name in ("a.png", "b.avi", "c.jpg"):
        sink.write(result(frame(name)))
    sink.close()
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"a.png", "b.mp4", "c.jpg"}


def test_what_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    for target in (tmp_path / "none" / "x.png", tmp_path / "x.nosuch"):
        with pytest.raises(StreamerError, match="cannot be written"):
            AnnotatedSink(target, folder=False).write(result(frame("x")))
