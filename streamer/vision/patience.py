"""How long a face is waited for that is not found: by how far apart looks are. Pure."""

from __future__ import annotations

from typing import Final

LOST_S: Final = 2.0
"""A face that was not found for longer has left, seconds, where looks are not far apart."""

LOOKS_FOLLOWED: Final = 2.5
"""A face is followed for the time of so many looks at least: one that misses it ends nothing."""

_FRAME_S: Final = 0.2  # between frames, until it was measured
_SOME: Final = 8  # frames over which it is measured


class Patience:
    """How long the faces of one camera are waited for, seconds, from one look to the next.

    ``every`` and ``apart_s`` are what looks are apart at least: so many frames, as they come, and
    so many seconds. The tracker and what is told of faces go by the same one, and it changes only
    with a look: a face that was told to have left never comes back with its id.
    """

    def __init__(self, *, every: int = 1, apart_s: float = 0.0) -> None:
        """No frame came yet; some five a second are expected."""
        self._every = every
        self._apart_s = apart_s
        self._came_at: float | None = None
        self._frame_s: float | None = None
        self.holds_s = 0.0
        """How long what a look found is held where nothing moves."""
        self.lost_s = 0.0
        """How long a face goes on that is not found."""
        self.looked()

    def came(self, at: float) -> None:
        """Hear that a frame of the instant ``at`` (seconds) came, to be looked at or not."""
        if self._came_at is not None and (passed_s := at - self._came_at) > 0:
            before_s = self._frame_s
            self._frame_s = (
                passed_s if before_s is None else before_s + (passed_s - before_s) / _SOME
            )
        self._came_at = at

    def looked(self) -> None:
        """Hear that a frame was looked at: what was learned since holds from now on."""
        frame_s = _FRAME_S if self._frame_s is None else self._frame_s
        self.holds_s = LOOKS_FOLLOWED * max(self._every * frame_s, self._apart_s)
        self.lost_s = max(LOST_S, self.holds_s)
