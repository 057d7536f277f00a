"""The smallest whole machine: what its parts do is what is told, and its ledger closes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from streamer.errors import DetectionFailed, SourceLost, StageFailure
from streamer.line import run_line
from streamer.testing import CollectingSink, FakeDetector, ListSource
from streamer.types import Faces, Failure, Frame, Picture
from streamer.vision.picture import ArrayPicture

PICTURES = [ArrayPicture(np.full((48, 64, 3), n, np.uint8)) for n in range(20)]


def test_nothing_of_a_file_is_lost() -> None:
    sink = CollectingSink()
    ledger = run_line(ListSource(PICTURES), FakeDetector(), sink)
    assert [outcome.frame.index for outcome in sink.outcomes] == list(range(20))
    assert sink.closed
    assert ledger.closes
    assert ledger.settled == {"detected": 20}


def test_a_picture_that_cannot_be_looked_at_is_told_as_that() -> None:
    def look(picture: Picture) -> Faces:
        if picture.bgr(64, 48)[0, 0, 0] == 7:
            raise DetectionFailed("not this one")
        return Faces.none()

    sink = CollectingSink()
    ledger = run_line(ListSource(PICTURES), FakeDetector(look), sink)
    failed = [outcome.frame.index for outcome in sink.outcomes if isinstance(outcome, Failure)]
    assert failed == [7]
    assert ledger.dropped == {("infer", "failed"): 1}
    assert ledger.closes


def test_a_camera_ends_when_the_time_is_up() -> None:
    sink = CollectingSink()
    source = ListSource(PICTURES * 1000, live=True, fps=200)
    ledger = run_line(source, FakeDetector(), sink, seconds=0.5)
    assert 0 < ledger.captured < 10_000
    assert ledger.closes
    assert sink.closed


def test_a_part_that_fails_ends_it_with_its_name_and_closes_the_sink() -> None:
    class Lost(ListSource):
        def frames(self, stop: object) -> Iterator[Frame]:
            raise SourceLost("reset", "gone")
            yield

    sink = CollectingSink()
    with pytest.raises(StageFailure) as caught:
        run_line(Lost([]), FakeDetector(), sink)
    assert "capture" in repr(caught.value.exceptions[0].__notes__)
    assert sink.closed
