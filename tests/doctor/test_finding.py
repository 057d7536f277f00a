"""The worst verdict counts, and the end of a sentence is its remedy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.doctor.finding import VERDICTS, Finding, from_sentence, worst


@given(st.lists(st.sampled_from(VERDICTS)))
def test_the_worst_counts(verdicts: list[str]) -> None:
    found = worst(Finding("x", verdict, "y") for verdict in verdicts)  # type: ignore[arg-type]
    expected = [verdict for verdict in ("bad", "warning", "good") if verdict in verdicts]
    assert found == (expected or ["good"])[0]


@pytest.mark.parametrize(
    ("sentence", "detail", "remedy"),
    [
        ("it is gone; fetch it", "it is gone", "fetch it"),
        ("a; b; mend c", "a; b", "mend c"),
        ("nothing to do", "nothing to do", ""),
        ("", "", ""),
    ],
)
def test_the_last_part_is_the_remedy(sentence: str, detail: str, remedy: str) -> None:
    assert from_sentence("x", "bad", sentence) == Finding("x", "bad", detail, remedy)
