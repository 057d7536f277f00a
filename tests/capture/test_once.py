"""A file's life: connecting, live, ended or refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from streamer.capture.once import Once
from streamer.errors import SourceLost
from streamer.testing import ListSource
from streamer.types import Frame
from streamer.vision.picture import ArrayPicture

PICTURES = [ArrayPicture(np.zeros((8, 8, 3), np.uint8))] * 3


def test_states_of_a_file_that_is_read_to_its_end() -> None:
    once = Once(ListSource(PICTURES))
    assert once.state().state == "connecting"
    assert once.live is False
    frames = once.frames(threading.Event())
    next(frames)
    assert once.state().state == "live"
    assert len(list(frames)) == 2
    assert once.state().state == "ended"


def test_states_of_a_file_that_cannot_be_read() -> None:
    class Broken:
        live = False

        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            raise SourceLost("no_video", "there is no video in it")
            yield

    once = Once(Broken())
    with pytest.raises(SourceLost):
        list(once.frames(threading.Event()))
    state = once.state()
    assert (state.state, state.reason, state.detail) == (
        "refused", "no_video", "there is no video in it",
    )  # fmt: skip
    assert state.losses == {"no_video": 1}
