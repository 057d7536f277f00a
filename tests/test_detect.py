"""`streamer detect` from inside: files in a row, names, failures."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

from streamer.detect import FileList


def test_frames_of_each_file_count_from_zero_and_a_bad_file_is_noted(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "b.png").write_text("nothing")
    files = FileList([tmp_path / name for name in ("a.png", "b.png", "c.png")])
    frames = list(files.frames(threading.Event()))
    assert [(frame.camera, frame.index) for frame in frames] == [("a.png", 0), ("c.png", 0)]
    assert files.done == 3
    assert len(files.failed) == 1
    assert "b.png" in files.failed[0]


def test_stop_ends_between_files(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 60, 3), np.uint8))
    stop = threading.Event()
    stop.set()
    assert len(list(FileList([tmp_path / "a.png"] * 3).frames(stop))) <= 1
