"""Who is served next: the question that a fan asks, and the plainest answer to it.

An order is pure: it is told the instant, keeps no thread and no lock, and is asked by one thread
at a time, since a fan asks under its own lock.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar


@dataclass(frozen=True, slots=True)
class Terms:
    """What a lane may expect. Raises ``ValueError`` when a number is not above 0.

    ``weight`` is its share beside others: 2 gets twice the service of 1 while both have items.
    ``max_age_s``: no outcome of it is to be older than so many seconds, counted from the birth of
    the item; None when that does not matter. ``alone``: its items are never served together with
    those of others, so that nobody need wait for them.
    """

    weight: float = 1.0
    max_age_s: float | None = None
    alone: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not self.weight > 0:
            raise ValueError(f"a weight is above 0, not {self.weight}")
        if self.max_age_s is not None and not self.max_age_s > 0:
            raise ValueError(f"max_age_s is above 0, not {self.max_age_s}")


FREE: Final = "free"
"""The kind of items that cost next to nothing: they go along, in their place among the others.

A lane that lets items go keeps at most :data:`MOST_FREE` of them beside those that count."""

MOST_FREE: Final = 4


class Label(NamedTuple):
    """What an order may know of an item: when it was born, and what else runs like it.

    ``born_at`` is in seconds of the fan's clock. Items of one ``kind`` take the same time to
    serve and can be served together; those of the kind :data:`FREE` take none to speak of.
    """

    born_at: float
    kind: Hashable = None


class Waiting(Protocol):
    """A lane with something in it, as an order sees it."""

    notes: Any
    """Whatever the order wants to remember of this lane; None at first."""

    @property
    def terms(self) -> Terms:
        """What the lane may expect."""

    @property
    def label(self) -> Label:
        """Of its oldest item, the one to be served or dropped next."""


W = TypeVar("W", bound=Waiting)


@dataclass(frozen=True, slots=True)
class Choice(Generic[W]):
    """What is to be done now, with the oldest item of each lane named.

    Each lane is named once at most. When nothing is served or dropped, ``until`` is the instant
    at which to ask again; a lane that becomes ready before is a reason to ask again too.
    """

    serve: Sequence[W] = ()
    drop: Sequence[tuple[W, str]] = ()
    until: float | None = None


class Order(Protocol):
    """Decides who is served next."""

    def choose(self, ready: Collection[W], most: int, now: float, lanes: int) -> Choice[W]:
        """Choose among ``ready``, which is never empty and in the order they became so.

        At most ``most`` are to be served, together, by a worker that is free at ``now``. There
        are ``lanes`` of them that could share a batch, ready or not. A choice of nothing at all
        names an instant.
        """

    def ended(self, served: Sequence[W], seconds: float, now: float) -> None:
        """Hear that a worker is free again which served these together, in so many seconds."""


class InTurn:
    """In the order they became ready, as many as there are, and nobody is dropped."""

    def choose(self, ready: Collection[W], most: int, now: float, lanes: int) -> Choice[W]:  # noqa: ARG002
        """Take the first ``most``."""
        return Choice(list(islice(ready, most)))

    def ended(self, served: Sequence[W], seconds: float, now: float) -> None:
        """Nothing is learned from it."""
