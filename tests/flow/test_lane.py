"""A lane shows the label of its oldest item. What else it does is tested through its fan."""

import pytest

from streamer.flow.fan import FanIn
from streamer.flow.order import Label, Terms


def fan_of_instants():
    return FanIn("f", label=lambda item: Label(item, "kind"))


def test_the_label_is_of_the_oldest_item_whatever_moves():
    fan = fan_of_instants()
    lane = fan.add_lane("a", capacity=2, overflow="drop_oldest")
    lane.put(1.0)
    lane.put(2.0)
    assert lane.label == (1.0, "kind")
    lane.put(3.0)  # 1 is let go
    assert lane.label == (2.0, "kind")
    with next(fan.batches(1)) as batch:
        assert lane.label == (3.0, "kind")
        batch.settle(0, "detected")
    lane.put(4.0)
    assert lane.label == (3.0, "kind")


def test_a_lane_of_one_place_shows_its_newest():
    lane = fan_of_instants().add_lane("a", capacity=1, overflow="drop_oldest")
    for instant in (1.0, 2.0, 3.0):
        lane.put(instant)
        assert lane.label.born_at == instant


@pytest.mark.parametrize("terms", [Terms(), Terms(weight=2.0, max_age_s=0.5)])
def test_a_lane_has_the_terms_it_was_given(terms):
    lane = FanIn("f").add_lane("a", capacity=1, overflow="block", terms=terms)
    assert lane.terms == terms
    assert lane.notes is None
