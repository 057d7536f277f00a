"""FanOut: every item to every sink, and a sink that is gone costs the others nothing."""

import gc
import weakref

import pytest

from streamer.flow.channel import Channel, Closed
from streamer.flow.fan_out import FanOut
from tests.flow.threads import Item


def channels(*names, capacity=8):
    return [Channel(name, capacity=capacity, overflow="drop_oldest") for name in names]


def test_every_sink_gets_every_item_as_prepared_for_it():
    plain, doubled = channels("plain", "doubled")
    fan = FanOut()
    fan.add(plain)
    fan.add(doubled, prepare=lambda n: 2 * n)
    for n in range(3):
        fan.put(n)
    fan.close()
    assert list(plain) == [0, 1, 2]
    assert list(doubled) == [0, 2, 4]
    assert [stats.name for stats in fan.stats()] == ["plain", "doubled"]


def test_a_sink_that_is_not_vital_folds_alone_and_its_drops_are_counted():
    gone, other = channels("gone", "other")
    fan = FanOut()
    fan.add(gone, vital=False)
    fan.add(other)
    fan.put(0)
    gone.abort()
    fan.put(1)
    fan.put(2)
    assert gone.stats().dropped == {"aborted": 1, "closed": 2}
    assert other.stats().depth == 3


@pytest.mark.parametrize("which", [0, 1, 2])
def test_every_channel_is_offered_the_same_items_when_a_vital_one_is_gone(which):
    outlets = channels("a", "b", "c")
    fan = FanOut()
    for channel in outlets:
        fan.add(channel)
    fan.put(0)
    outlets[which].abort()
    with pytest.raises(Closed, match=outlets[which].name):
        fan.put(1)
    assert [stats.offered for stats in fan.stats()] == [2, 2, 2]


def test_no_outcome_is_kept_alive_by_the_error_of_a_gone_sink():
    (gone,) = channels("gone")
    gone.abort()
    fan = FanOut()
    fan.add(gone)
    gc.disable()  # by reference counting alone
    try:
        item = Item()
        seen = weakref.ref(item)
        try:
            fan.put(item)
        except Closed:
            pass
        del item
        assert seen() is None
    finally:
        gc.enable()
