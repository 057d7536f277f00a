"""Which outcomes are published."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.publish.selection import Selection, When
from streamer.types import Faces, Failure, Frame, NoPicture, Outcome, Result, Stamps, Tracks


def outcome(seen: set[int] | None, camera: str = "door", epoch: int = 0) -> Outcome:
    frame = Frame(camera, epoch, 0, 0.0, 0.0, None, NoPicture(64, 48))
    if seen is None:
        return Failure(frame, Stamps(0, 0, 0), "no numbers")
    n = len(seen)
    faces = Faces(np.ones((n, 4), "f4"), np.ones(n, "f4"), np.ones((n, 5, 2), "f4"))
    return Result(frame, Tracks(np.array(sorted(seen), np.int64), faces), Stamps(0, 0, 0))


STORY = [set(), set(), {1}, {1}, {1, 2}, {2}, None, None, {2}, set(), set(), None, set()]


@pytest.mark.parametrize(
    ("when", "told"),
    [
        ("all", "+++++++++++++"),
        ("faces", "+.+++++.++.++"),
        ("changes", "+.+.+++.++.++"),
    ],
)
def test_a_story_is_told_as_wanted(when: When, told: str) -> None:
    selection = Selection(when)
    assert "".join(".+"[selection.wants(outcome(seen))] for seen in STORY) == told


@given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.sets(st.integers(0, 3)))))
def test_who_hears_changes_always_knows_who_is_there(
    story: list[tuple[str, set[int] | None]],
) -> None:
    selection, known = Selection("changes"), {}
    for camera, seen in story:
        if selection.wants(outcome(seen, camera)):
            known[camera] = seen
        assert known[camera] == seen


@pytest.mark.parametrize("when", ["faces", "changes"])
def test_the_first_of_each_life_is_told(when: When) -> None:
    selection = Selection(when)
    assert selection.wants(outcome(set()))
    assert not selection.wants(outcome(set()))
    assert selection.wants(outcome(set(), epoch=1))
    assert not selection.wants(outcome(set(), epoch=1))
    selection.keep({"door"})
    assert not selection.wants(outcome(set(), epoch=1))
    selection.keep({"yard"})
    assert selection.wants(outcome(set(), epoch=1))
    selection.forget("door")
    assert selection.wants(outcome(set(), epoch=1))
