"""What `streamer doctor` finds: one line each, good, warning or bad, with the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Verdict: TypeAlias = Literal["good", "warning", "bad"]

VERDICTS: Final[tuple[Verdict, ...]] = ("good", "warning", "bad")
"""From well to ill."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    ``name`` says what ("codec h264"), ``detail`` what was seen, without a secret; ``remedy`` what
    to do about it, empty when ``verdict`` is good.
    """

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def worst(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict there is; good when there is none."""
    return max((finding.verdict for finding in findings), key=VERDICTS.index, default="good")


def from_sentence(name: str, verdict: Verdict, sentence: str) -> Finding:
    """A finding from the sentence of an error, whose part after the last ``;`` is the remedy."""
    detail, _, remedy = sentence.rpartition("; ")
    return Finding(name, verdict, detail, remedy) if detail else Finding(name, verdict, sentence)
