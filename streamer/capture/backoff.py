"""How long to wait before a camera is dialled again. Pure: arithmetic and a random number.

Three promises decide the figures, and the tests prove each for the defaults:

* A camera that is back gives pictures within 35 s: the next dial comes at most 30 s after the
  last dial, or after the last picture.
* A camera that refuses every dial is dialled at most 8 times in the first minute: the first four
  waits may be nothing, but each of the next four is at least half of the longest, 4 x 15 s.
* Cameras lost in the same second come back spread: after three rounds at most 20 of 100 dial in
  any second. That is why the ceiling grows threefold: where it doubled, 40 of 100 did, and 72
  with jitter narrow enough for the second promise (means of 300 simulated drops).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streamer.errors import LossReason

GROWTH: Final = 3.0
"""How many times longer the ceiling of each wait is than that of the one before."""

LONGEST_FLOOR: Final = 0.5
"""The least part of the longest wait that is waited once the waits have grown to it."""

REFUSALS: Final[frozenset[LossReason]] = frozenset({"auth", "unsupported_codec", "too_large"})
"""Losses that only a person can mend; the camera's state is then ``refused``."""

LOCKING: Final[frozenset[LossReason]] = frozenset({"auth"})
"""Refusals after which dialling soon does harm, because cameras lock accounts."""

REFUSED_GROWTH: Final = 2.0
REFUSED_LONGEST: Final = 10
"""After a refusal the wait doubles up to so many times its first value."""

_MOST_STEPS: Final = 30  # keeps the power finite after years of failures


class Backoff:
    """The waits of one camera.

    After most losses, full jitter: uniform between 0 and a ceiling that grows threefold from
    ``first_s`` to ``most_s``; between half of it and all of it once it is there. After one of
    :data:`LOCKING` at least ``auth_s``, doubling to ten times that, with up to a tenth more:
    cameras lock an account for half an hour after a few wrong passwords, and some say that the
    password is wrong when they only have too many clients, so it is never given up.
    """

    def __init__(
        self, *, first_s: float, most_s: float, auth_s: float, random: Callable[[], float]
    ) -> None:
        """All in seconds, above 0; ``random`` gives a number from 0 to 1."""
        self._first_s = first_s
        self._most_s = most_s
        self._auth_s = auth_s
        self._random = random
        self._losses = 0
        self.refusals = 0  # of LOCKING, since all was well

    def next_s(self, reason: LossReason, quiet_s: float = 0.0) -> float:
        """Seconds to wait after a loss for ``reason``, counted as one more.

        ``quiet_s`` is how long ago the last picture came, or the dial where none did. The wait
        shrinks by its part of ``most_s``, so that silence and wait together are never more than
        ``most_s`` and never less than what was drawn. It is not so after a refusal.
        """
        if reason in LOCKING:
            steps = min(self.refusals, _MOST_STEPS)
            self.refusals += 1
            grown = min(REFUSED_GROWTH**steps, REFUSED_LONGEST)
            return self._auth_s * grown * (1 + 0.1 * self._random())
        ceiling_s = min(self._most_s, self._first_s * GROWTH ** min(self._losses, _MOST_STEPS))
        self._losses += 1
        floor = LONGEST_FLOOR if ceiling_s >= self._most_s else 0.0
        drawn_s = ceiling_s * (floor + (1 - floor) * self._random())
        return drawn_s * (1 - min(max(quiet_s, 0.0) / self._most_s, 1.0))

    def reset(self) -> None:
        """Begin again from the shortest waits."""
        self._losses = 0
        self.refusals = 0
