"""The same faces as an independent implementation: see scripts/record_reference.py."""

import hashlib
import json
from functools import cache

import numpy as np
import pytest

from streamer.inference.session import Session, open_session
from streamer.types import Faces
from streamer.vision.letterbox import Letterbox
from streamer.vision.picture import ArrayPicture
from streamer.vision.retinaface import from_output, to_input
from tests.inference.pictures import ROOT, model_bytes, reference_pictures

RECORD = json.loads((ROOT / "tests" / "data" / "uniface-4.2.1.json").read_text())


@cache
def pictures() -> dict[str, np.ndarray]:
    return dict(reference_pictures(ROOT / "streamer" / "assets" / "demo.mp4"))


@cache
def session() -> Session:
    return open_session(model_bytes(), device="cpu", threads=1, spin=False)


def find(pixels: np.ndarray, confidence: float, nms: float) -> Faces:
    """Our own whole way, at the picture's own size: no scaling on either side."""
    height, width = pixels.shape[:2]
    box = Letterbox(width, height, width, height, width, height)
    batch = to_input([ArrayPicture(pixels.copy())], [box])
    return from_output(
        *session().run(batch), [box], confidence=confidence, nms=nms, max_faces=1000
    )[0]


def test_the_record_is_of_these_weights() -> None:
    assert hashlib.sha256(model_bytes()).hexdigest() == RECORD["model_sha256"]


@pytest.mark.parametrize("name", RECORD["pictures"])
def test_boxes_landmarks_and_scores_are_those_of_the_reference(name: str) -> None:
    entry = RECORD["pictures"][name]
    pixels = pictures()[name.split(" over ")[0]]
    assert hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest() == entry["sha256"], (
        "this picture changed since it was recorded; run scripts/record_reference.py again"
    )
    found = find(pixels, entry["confidence"], entry["nms"])
    height, width = entry["shape"][:2]
    # The reference lets boxes reach beyond the picture; ours end at its edge.
    boxes = np.array(entry["boxes"], np.float32).reshape(-1, 2, 2).clip(0, [width, height])
    points = np.array(entry["landmarks"], np.float32).reshape(-1, 5, 2)

    assert len(found) == len(entry["scores"])
    np.testing.assert_allclose(found.scores, entry["scores"], atol=1e-4)
    # Faces with all but equal scores may change places, so pair each with its nearest.
    if len(found):
        gaps = np.abs(found.boxes[:, None] - boxes.reshape(-1, 4)[None]).max(axis=2)
        pairs = gaps.argmin(axis=1)
        assert sorted(pairs) == list(range(len(found)))
        assert gaps.min(axis=1).max() < 0.5
        assert np.abs(found.landmarks - points[pairs]).max() < 0.5
        np.testing.assert_allclose(found.scores, np.array(entry["scores"])[pairs], atol=1e-4)
