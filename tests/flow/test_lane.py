"""A lane shows the label of its oldest item. What else it does is tested through its fan."""

import threading

import pytest

from streamer.flow.channel import Closed
from streamer.flow.fan import FanIn
from streamer.flow.order import FREE, Label, Terms


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


def fan_of_sorts():
    """Even numbers count; odd ones are free."""
    return FanIn("f", label=lambda item: Label(float(item), FREE if item % 2 else "kind"))


def test_what_is_free_never_costs_an_item_that_counts_and_keeps_its_place():
    fan = fan_of_sorts()
    lane = fan.add_lane("a", capacity=1, overflow="drop_oldest")
    for item in (1, 2, 3, 5, 7, 9, 4):
        lane.put(item)
    ledger = lane.ledger()
    assert ledger.dropped == {("infer", "fill_full"): 1, ("infer", "queue_full"): 1}  # 1 and 2
    assert (ledger.captured, ledger.waiting) == (7, 5)
    stats = lane.stats()  # one of the five waits in the room for one; four beside it
    assert (stats.depth, stats.beside, stats.capacity, stats.peak) == (5, 4, 1, 1)
    served = []
    for batch in fan.batches(1):
        with batch:
            served += batch.items
            batch.settle(0, "tracked")
        if len(served) == 5:
            break
    assert served == [3, 5, 7, 9, 4]
    assert lane.ledger().closes


def test_in_a_lane_that_waits_free_items_need_room_as_all_do():
    lane = fan_of_sorts().add_lane("a", capacity=2, overflow="block")
    lane.put(1)
    lane.put(3)

    def write() -> None:
        with pytest.raises(Closed):
            lane.put(5)

    writer = threading.Thread(target=write)
    writer.start()
    writer.join(0.2)
    assert writer.is_alive()
    lane.close()
    writer.join(10)
    assert lane.ledger().waiting == 2
