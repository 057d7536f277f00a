"""Terms are checked, and the plainest order serves in turn."""

import pytest

from streamer.flow.order import InTurn, Label, Terms


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_is_above_zero(weight):
    with pytest.raises(ValueError, match="a weight is above 0"):
        Terms(weight=weight)


@pytest.mark.parametrize("max_age_s", [0.0, -1.0])
def test_a_limit_of_age_is_above_zero(max_age_s):
    with pytest.raises(ValueError, match="max_age_s is above 0"):
        Terms(max_age_s=max_age_s)


def test_usual_terms_are_one_share_and_any_age():
    assert Terms() == Terms(weight=1.0, max_age_s=None)
    assert Label(1.0).kind is None


@pytest.mark.parametrize(("most", "served"), [(1, "a"), (2, "ab"), (9, "abc")])
def test_in_turn_takes_the_first(most, served):
    choice = InTurn().choose(dict.fromkeys("abc").keys(), most, 0.0, 3)
    assert list(choice.serve) == list(served)
    assert not choice.drop
