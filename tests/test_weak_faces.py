"""Weak faces in the running program: they go on with faces that are known and begin none."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import httpx
import numpy as np

from streamer.app import App
from streamer.engine import WEAK
from streamer.inference.detector import RetinaFace
from streamer.inference.session import open_session
from streamer.testing import CollectingSink
from streamer.types import Image, Result
from streamer.vision.picture import ArrayPicture
from tests.test_cameras import ROOT, Running, config

CLIP = "streamer/assets/demo.mp4"
CONFIDENCE = 0.9


def test_a_known_face_is_followed_where_it_is_seen_weakly_and_no_other_is_told(
    model_path: Path,
) -> None:
    del model_path
    sink = CollectingSink()
    clip = {"source": CLIP, "input_size": 320, "fill": False}
    settings = config({"clip": clip}, model={"confidence": CONFIDENCE})
    App(settings, base_folder=ROOT, environ={}, extra_sinks={"all": sink}).run()
    known: set[int] = set()
    weak = 0
    for outcome in sink.outcomes:
        assert isinstance(outcome, Result)
        scores, ids = outcome.tracks.faces.scores, outcome.tracks.ids
        assert (np.diff(scores) <= 0).all()
        assert (scores > CONFIDENCE * WEAK).all()
        is_weak = scores < CONFIDENCE
        assert set(ids[is_weak].tolist()) <= known
        known |= set(ids.tolist())
        weak += int(is_weak.sum())
    assert known
    assert weak > 10


def some_pictures() -> list[Image]:
    """One in ten of the clip."""
    with av.open(str(ROOT / CLIP)) as container:
        frames = [frame for n, frame in enumerate(container.decode(video=0)) if n % 10 == 0]
    return [np.ascontiguousarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in frames]


def test_a_picture_that_is_asked_about_has_none_though_its_detector_finds_them_for_cameras(
    model_path: Path,
) -> None:
    pictures, sure = some_pictures(), 0.95
    session = open_session(model_path.read_bytes(), device="cpu", threads=1, spin=False)
    detector = RetinaFace(session, confidence=sure * WEAK, input_size=320)
    found = [detector.detect([ArrayPicture(picture)])[0].scores for picture in pictures]
    assert sum(int((scores < sure - 0.03).sum()) for scores in found) >= 5
    camera = {"source": "synthetic:?fps=5&size=320x192"}  # of the same input size: one detector
    http, model = {"bind": "127.0.0.1:0"}, {"confidence": sure, "input_size": 320}
    with Running({"a": camera}, http=http, model=model) as running:
        running.wait_for("a", more=1)
        assert running.app.http is not None
        url = f"http://{running.app.http.address}/detect"
        told: list[float] = []
        for picture in pictures:
            body = cv2.imencode(".jpg", picture)[1].tobytes()
            answer = httpx.post(url, content=body, timeout=30)
            assert answer.status_code == 200, answer.text
            told += [face["confidence"] for face in answer.json()["faces"]]
    assert told
    assert min(told) >= sure
