"""The public names: each is there, and a notebook can find faces with a few of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import streamer


def test_every_public_name_loads_and_is_listed() -> None:
    for name in streamer.__all__:
        assert getattr(streamer, name) is not None
    assert set(dir(streamer)) == set(streamer.__all__)
    with pytest.raises(AttributeError, match="nosuch"):
        _ = streamer.nosuch


def test_faces_in_a_few_lines(model_path: object, astronaut: NDArray[np.uint8]) -> None:
    model = streamer.load_model("retinaface_mnet025", environ={})
    session = streamer.open_session(model.content, device="cpu", threads=1, spin=False)
    detector = streamer.RetinaFace(session, input_size=640, confidence=0.6)
    faces = detector.detect([streamer.ArrayPicture(astronaut.copy())])[0]
    assert len(faces) == 1
