"""How much one address may ask for."""

from __future__ import annotations

import streamer.web.rates
from streamer.web.rates import Rates


def test_a_bucket_empties_fills_and_is_of_one_address():
    now = [100.0]
    rates = Rates(2.0, 3.0, lambda: now[0])
    assert [rates.take("a") for _ in range(4)] == [True, True, True, False]
    assert rates.take("b")
    now[0] += 0.5
    assert [rates.take("a") for _ in range(2)] == [True, False]
    now[0] += 1000.0
    assert [rates.take("a") for _ in range(4)] == [True, True, True, False]


def test_no_more_addresses_are_kept_than_may_be(monkeypatch):
    monkeypatch.setattr(streamer.web.rates, "MOST_ADDRESSES", 2)
    rates = Rates(1.0, 1.0, lambda: 0.0)
    for address in "abc":
        assert rates.take(address)
    assert len(rates._left) == 2
    assert not rates.take("c")
    assert rates.take("a")  # forgotten, so it begins anew
