"""The ledger shows a frame that got lost."""

from streamer.flow.ledger import Ledger


def test_a_ledger_with_a_lost_frame_does_not_close():
    ledger = Ledger(5, {"detected": 1}, 1, {("infer", "queue_full"): 1}, waiting=1, held=0)
    assert ledger.in_flight == 1
    assert ledger.imbalance == 1
    assert not ledger.closes
