"""Weak faces in the running program: they go on with faces that are known and begin none."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamer.app import App
from streamer.engine import WEAK
from streamer.testing import CollectingSink
from streamer.types import Result
from tests.test_cameras import ROOT, config

CONFIDENCE = 0.9


def test_a_known_face_is_followed_where_it_is_seen_weakly_and_no_other_is_told(
    model_path: Path,
) -> None:
    del model_path
    sink = CollectingSink()
    clip = {"source": "streamer/assets/demo.mp4", "input_size": 320, "fill": False}
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
