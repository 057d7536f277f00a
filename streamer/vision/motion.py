"""Whether something moves in a picture: the cheap question before the dear one.

What is looked at is a picture's brightness, averaged over squares of pixels ("cells"), 80 or so
across. A cell of the decoder's own plane costs no colour conversion, and averages away most of a
sensor's noise and of what an encoder does to texture.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from streamer.types import Floats, Picture
from streamer.vision.picture import ArrayPicture, rows_of_luma

Cells: TypeAlias = NDArray[np.uint8]

COLUMNS: Final = 80
"""Cells along the longer side, about: 16 pixels each at 720p, so a far face of 60 is 4 x 4."""

FAST_CELL: Final = 8
"""Cells of this size and more are multiples of it: halving is 3 to 10 times as fast as averaging
over a size that does not divide (0.08 ms and 2.2 ms at 720p, measured)."""

LEAST_CHANGE: Final = 2.5
"""Steps of brightness (of 255) that are never a change: rounding and an encoder's idle drift."""

OVER_NOISE: Final = 1.5
"""A change is so many times the largest noise seen in that cell: what it adds to 1 is the margin
for a key picture that pulses more than the last one did."""

NOISE_S: Final = 60.0
"""Time constant in which a cell's noise is forgotten, seconds: key pictures come every 1 to 10."""

ADAPT_S: Final = 1.0
"""Time constant in which the background takes in what is there, seconds. What changes a cell by
less than :data:`LEAST_CHANGE` in that time is drift: detection at the floor rate follows it."""

SETTLE_S: Final = 0.05
"""The same for cells that changed and then stand: who stands still is background at once."""

LOOK_S: Final = 0.25
"""How long a single change is looked at, seconds: until it repeats, it may be a lamp."""

BUSY_S: Final = 20.0
"""Time constant of how much of the time a cell changes, seconds."""

LEARN_S: Final = 5.0
"""Time constant in which a busy cell's change is learned as noise, seconds."""

BUSY: Final = 0.3
"""A cell that changes more of the time than this, with no face at it, is leaves or a screen: its
change is learned as noise. Passers-by do not reach it."""

MOST_NOISE: Final = 24.0
"""Noise learned so stops here (steps of brightness), so that a large change shows anywhere."""

LIGHT: Final = 0.5
"""When more of the cells than this change at once, it is the light, or all there is to see: the
picture is learned anew, so that a switch wakes once."""

FORGIVEN: Final = 0.25
"""Share of a change of light that may be left after compensation: lamps do not light evenly."""

GAP_S: Final = 2.0
"""After so long without a picture (seconds) the background is not to be trusted: learn anew."""

_CONTRAST: Final = 16.0  # steps between dark and bright cells, below which no gain can be told
_NO_SHIFT: Final = 0.5  # steps of light that need no compensation: rounding
_ANCHORS_S: Final = 1.0  # how often it is seen anew which cells are dark and which bright


def grid(longer: int) -> tuple[int, int]:
    """(side of a cell, one row in so many that is read), pixels, by a picture's longer side.

    A cell averages 32 to 96 pixels whatever the size: more would cost time and quiet no more
    noise that matters.
    """
    cell = max(1, longer // COLUMNS)
    if cell < FAST_CELL:
        return cell, 1
    cell -= cell % FAST_CELL
    return cell, {8: 1, 16: 4}.get(cell, cell // 2)


def average(rows: NDArray[np.uint8], cell: int, step: int) -> Cells:
    """``rows``, every ``step``-th of a picture, averaged over cells of ``cell`` x ``cell`` pixels.

    Shape (rows * step // cell, columns // cell) uint8; what is over at the right and below is
    left out. ``step`` divides ``cell``. Raises ``ValueError`` where there is no whole cell.
    """
    down, across = cell // step, cell
    height, width = rows.shape[0] // down, rows.shape[1] // across
    if not height or not width:
        raise ValueError(f"{rows.shape} has no cell of {down} x {across}")
    shrunk = rows[: height * down, : width * across]
    while down % 2 == 0 and across % 2 == 0:  # 2 x 2 is the one size OpenCV has SIMD for
        down, across = down // 2, across // 2
        shrunk = _shrink(shrunk, height * down, width * across)
    return _shrink(shrunk, height, width) if down > 1 or across > 1 else shrunk


def _shrink(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def small_luma(picture: Picture) -> Cells | None:
    """The brightness of ``picture`` in cells (see :func:`grid`), upright; None where it has none.

    An array's brightness is its green. For the thread that decoded the picture, before it is
    handed on: it takes no lock.
    """
    cell, step = grid(max(picture.width, picture.height))
    if min(picture.width, picture.height) < cell:
        return None
    if isinstance(picture, ArrayPicture):
        green = cv2.extractChannel(picture.pixels[::step], 1)
        return average(np.asarray(green, np.uint8)[: picture.height // cell * cell], cell, step)
    found = rows_of_luma(picture, step)
    if found is None:
        return None
    rows, turns = found
    cells = average(rows, cell, step)
    return np.rot90(cells, turns) if turns else cells


def shares(boxes: Floats, picture: Picture) -> Floats:
    """``boxes`` (N, 4) in pixels of ``picture`` as shares of its width and height."""
    sides = np.array((picture.width, picture.height) * 2, np.float32)
    return np.asarray(boxes / sides, np.float32)


class Background:
    """What a scene looks like when nothing moves, and how much each cell of it is noise.

    Pure: it is given cells, and the seconds since the last ones.
    """

    def __init__(self, cells: Cells, sensitivity: float) -> None:
        """Take ``cells`` (rows, columns) as the scene; ``sensitivity`` divides thresholds."""
        self._over = OVER_NOISE / sensitivity
        self._least = LEAST_CHANGE / sensitivity
        self.stepping: NDArray[np.bool_] = np.zeros(cells.shape, np.bool_)
        """Those of the last changed cells that changed since the picture before."""
        self._noise = np.zeros(cells.shape, np.float32)
        self._busy = np.zeros(cells.shape, np.float32)
        self._leaves = np.zeros(cells.shape, np.float32)
        self._are_leaves = False
        self.learn(cells.astype(np.float32))

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns) of the cells."""
        return self._mean.shape

    def learn(self, seen: Floats) -> None:
        """Take ``seen`` as the scene from now on; what is known of noise stays."""
        self._mean = seen
        self._last = seen
        self._find_anchors()

    def changed(self, cells: Cells, passed_s: float, faces: Floats | None) -> NDArray[np.bool_]:
        """Which ``cells`` are not what was there, shape (rows, columns); they are taken in.

        ``faces`` (N, 4) are boxes in cells: at them no change is learned as noise.
        """
        seen = cells.astype(np.float32)
        light = self._light(seen)
        if light is not None:
            self._mean = self._mean + light
            self._last = self._last + light
        away = seen - self._mean
        distance = np.abs(away)
        limit = np.maximum(self._noise * self._over, self._least)
        if light is not None:
            limit += FORGIVEN * np.abs(light)
        active: NDArray[np.bool_] = distance > limit
        changed = active & (distance > self._leaves) if self._are_leaves else active
        step = np.abs(seen - self._last)
        self.stepping = changed & (step > 0.5 * limit)
        count = int(np.count_nonzero(changed))
        self._know_noise(np.minimum(step, limit), distance, active, passed_s, faces)
        if count > LIGHT * changed.size:
            self.learn(seen)
            return changed
        rate = np.float32(-math.expm1(-passed_s / ADAPT_S))
        if count:
            settled = np.float32(-math.expm1(-passed_s / SETTLE_S))
            away *= np.where(changed & ~self.stepping, settled, rate)
        else:
            away *= rate
        self._mean = self._mean + away
        self._last = seen
        self._anchors_s -= passed_s
        if self._anchors_s <= 0:
            self._find_anchors()
        return changed

    def _know_noise(
        self, step: Floats, distance: Floats, active: NDArray[np.bool_], passed_s: float,
        faces: Floats | None,
    ) -> None:  # fmt: skip
        """Follow the largest step between two pictures where nothing is, and leaves where it is.

        Steps and not distances, so that what comes slowly and surely is never taken for noise.
        """
        noise = self._noise
        noise *= np.float32(math.exp(-passed_s / NOISE_S))
        np.maximum(noise, step, out=noise, where=~active)
        rate = np.float32(-math.expm1(-passed_s / BUSY_S))
        self._busy += (active - self._busy) * rate
        for x1, y1, x2, y2 in () if faces is None else faces:
            columns = slice(max(0, math.floor(x1)), max(0, math.ceil(x2)))
            self._busy[max(0, math.floor(y1)) : max(0, math.ceil(y2)), columns] = 0
        busy = self._busy > BUSY
        self._are_leaves = bool(busy.any())
        if self._are_leaves:  # gone at once from where it rests, or where a face is
            told = np.minimum(distance * np.float32(self._over), MOST_NOISE) - self._leaves
            rate = np.float32(-math.expm1(-passed_s / LEARN_S))
            self._leaves += np.where(active, told * np.where(told > 0, rate, rate / 8), 0)
            self._leaves *= busy

    def _find_anchors(self) -> None:
        """Choose dark and bright cells by which a change of light is told: a third each."""
        flat = self._mean.ravel()
        some = np.arange(0, flat.size, max(1, flat.size // 900))
        order = some[np.argsort(flat[some])]
        third = max(1, len(order) // 3)
        self._dark, self._bright = order[:third], order[-third:]
        self._anchors_s = _ANCHORS_S

    def _light(self, seen: Floats) -> Floats | None:
        """How much brighter the light alone made each cell, (rows, columns) steps; None: not.

        A line through the median change of the dark and of the bright cells, as in a resistant
        line (Tukey, Exploratory Data Analysis, 1977): gain and offset of the light, whatever up
        to half of either group do. Negative where it became darker.
        """
        was, now = self._mean.ravel(), seen.ravel()
        dark, bright = was[self._dark], was[self._bright]
        low, high = _median(now[self._dark] - dark), _median(now[self._bright] - bright)
        if abs(low) < _NO_SHIFT and abs(high) < _NO_SHIFT:
            return None
        at, to = _median(dark), _median(bright)
        if to - at < _CONTRAST:
            return np.full(self._mean.shape, (low + high) / 2, np.float32)
        slope = min(max((high - low) / (to - at), -0.75), 3.0)
        light = (self._mean - np.float32(at)) * np.float32(slope) + np.float32(low)
        return np.asarray(np.clip(light, -self._mean, 255 - self._mean), np.float32)


def _median(values: Floats) -> float:
    middle = values.size // 2
    return float(np.partition(values, middle)[middle])


class MotionGate:
    """Says of each picture of one camera whether it is worth an inference. Pure.

    It wants every picture from the instant something moves until ``hold_s`` seconds after (after
    a single change, such as a lamp's, :data:`LOOK_S`), as long at the start, and after a change
    of size, a gap of :data:`GAP_S` or a clock that ran back; in between at least ``floor_fps``
    pictures a second (every one, where fewer come). Something moves where a block of 2 x 2 cells
    changes, about a 40th of the picture's longer side: noise does not do that, and nothing
    smaller is a face that is found.
    """

    def __init__(
        self, *, floor_fps: float = 1.0, hold_s: float = 1.0, sensitivity: float = 1.0
    ) -> None:
        """Thresholds are divided by ``sensitivity``: at 2 half the change wakes.

        Raises ``ValueError`` when ``floor_fps`` or ``sensitivity`` is not above 0, or ``hold_s``
        is negative.
        """
        if not (floor_fps > 0 and sensitivity > 0 and hold_s >= 0):
            raise ValueError(
                "floor_fps and sensitivity must be above 0 and hold_s not negative, "
                f"not {floor_fps}, {sensitivity} and {hold_s}"
            )
        self._interval_s = 1 / floor_fps
        self._hold_s = hold_s
        self._sensitivity = sensitivity
        self._background: Background | None = None
        self._seen_at = self._came_at = 0.0
        self._wanted_at = self._until_at = self._stepped_at = 0.0
        self.wakes = 0
        """How often the scene began to move, the start not counted."""

    @property
    def moving(self) -> bool:
        """Whether at the last picture something moved, or had within ``hold_s``."""
        return self._background is not None and self._seen_at < self._until_at

    @property
    def still(self) -> bool:
        """Whether at the last picture that was compared nothing moved, nor had for a while."""
        return self._background is not None and self._seen_at >= self._until_at

    def passed(self, at: float) -> None:
        """Hear that a picture of instant ``at`` came that nobody wants: it is no gap."""
        self._came_at = at

    def wants(self, cells: Cells | None, at: float, faces: Floats | None = None) -> bool:
        """Whether to look at the picture of instant ``at`` (seconds of any one clock).

        ``cells`` (rows, columns) uint8 are of :func:`small_luma`; a picture without is wanted.
        ``faces`` (N, 4) float32 are the boxes x1, y1, x2, y2 found last, as shares 0..1 of the
        picture's width and height: what moves there is never taken for noise.
        """
        if cells is None:
            self._background, self._came_at = None, at
            return True
        passed_s, gap_s = at - self._seen_at, at - self._came_at
        self._came_at = at
        background = self._background
        is_gap = not (min(passed_s, gap_s) >= 0 and gap_s <= GAP_S)
        if background is None or background.shape != cells.shape or is_gap:
            self._background = Background(cells, self._sensitivity)
            self._seen_at = self._wanted_at = self._stepped_at = at
            self._until_at = at + self._hold_s
            return True
        if faces is not None:
            rows, columns = cells.shape
            faces = faces * np.array([columns, rows, columns, rows], np.float32)
        if _is_block(background.changed(cells, passed_s, faces)):
            self.wakes += not self.moving
            hold_s = min(LOOK_S, self._hold_s)
            if _is_block(background.stepping):
                if at - self._stepped_at <= max(LOOK_S, 2 * passed_s):
                    hold_s = self._hold_s
                self._stepped_at = at
            self._until_at = max(self._until_at, at + hold_s, math.nextafter(at, math.inf))
        self._seen_at = at
        # The next one would be late: the rate is never below the floor, however frames fall.
        due = at - self._wanted_at + passed_s > self._interval_s + 1e-3
        if not (due or self.moving):
            return False
        self._wanted_at = at
        return True


def _is_block(changed: NDArray[np.bool_]) -> bool:
    """Whether anywhere 2 x 2 cells are True; in a picture of one row or column, 2 in line."""
    pairs = changed[:, :-1] & changed[:, 1:] if changed.shape[1] > 1 else changed
    return bool((pairs[:-1] & pairs[1:]).any() if len(pairs) > 1 else pairs.any())
