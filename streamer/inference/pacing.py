"""Which frames of a camera are looked at: every N-th, at most so many a second. Pure."""

from __future__ import annotations


class Pacer:
    """Chooses frames by count and by rate; driven by the instants it is given.

    ``every`` takes one frame in N, the first included. ``max_fps`` (frames per second, None for
    no limit) then lets a frame pass when it is due on an even grid: a camera at 25 fps with
    ``max_fps`` 10 gives 10 frames a second, not 8.3, because the grid goes on from where the
    frame was due and not from where it came.
    """

    def __init__(self, *, every: int = 1, max_fps: float | None = None) -> None:
        """Raises ``ValueError`` when ``every`` is below 1 or ``max_fps`` is not positive."""
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every}")
        if max_fps is not None and not max_fps > 0:
            raise ValueError(f"max_fps must be above 0, not {max_fps}")
        self._every = every
        self._interval_s = 1.0 / max_fps if max_fps is not None else 0.0
        self._count = 0
        self._due_at: float | None = None

    def wants(self, at: float) -> bool:
        """Whether to look at the frame of instant ``at`` (seconds of any one clock).

        A clock that jumps backwards by more than one interval starts the grid anew.
        """
        chosen = self._count % self._every == 0
        self._count += 1
        if not chosen or not self._interval_s:
            return chosen
        if self._due_at is None or at < self._due_at - 2 * self._interval_s:
            self._due_at = at
        # A millisecond of grace, since cameras jitter around their own grid.
        if at < self._due_at - 1e-3:
            return False
        # Go on along the grid; a frame later than a whole interval starts a new one: no burst.
        late = at - self._due_at >= self._interval_s
        self._due_at = (at if late else self._due_at) + self._interval_s
        return True
