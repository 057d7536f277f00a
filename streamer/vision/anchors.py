"""The prior boxes that RetinaFace refines: two squares on every cell of three grids."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from streamer.types import Floats

STRIDES: Final = (8, 16, 32)
"""Input pixels for one cell of each grid."""

SIDES: Final = ((16, 32), (64, 128), (256, 512))
"""Sides of the two squares on each cell of each grid, input pixels.

From the RetinaFace training configuration for MobileNet 0.25 (``min_sizes``).
"""


@lru_cache(maxsize=64)
def priors(height: int, width: int) -> Floats:
    """The priors of an input of ``height`` x ``width`` pixels.

    Returns (P, 4) float32, read-only: centre x, centre y, width, height, as fractions of the
    input's width and height. The order is that of the network's outputs: grid by grid from the
    finest, row by row, cell by cell, the smaller square first. A 640x384 input has 10 080.
    Raises ``ValueError`` unless both sides are at least 1.
    """
    if height < 1 or width < 1:
        raise ValueError(f"an input must be at least 1x1 pixels, not {width}x{height}")
    grids = []
    for stride, sides in zip(STRIDES, SIDES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        grid = np.empty((rows, columns, len(sides), 4), np.float64)
        grid[..., 0] = ((np.arange(columns) + 0.5) * stride / width)[None, :, None]
        grid[..., 1] = ((np.arange(rows) + 0.5) * stride / height)[:, None, None]
        grid[..., 2] = np.array(sides) / width
        grid[..., 3] = np.array(sides) / height
        grids.append(grid.reshape(-1, 4))
    table = np.concatenate(grids).astype(np.float32)
    table.flags.writeable = False
    return table
