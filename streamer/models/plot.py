"""A picture of measurements as SVG, written by hand: a row for each model, a dot for each size.

Milliseconds and memory span hundreds to one, so both axes are logarithmic; dots and not bars,
since the length of a bar means nothing on such an axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final
from xml.sax.saxutils import escape

from streamer.inference.measure import Measurement

COLOURS: Final = ("#1b6ca8", "#d9822b", "#2e7d4f", "#8e44ad", "#b03a2e", "#555555")
"""One for each input size, the smallest first; further sizes begin anew."""

_ROW, _TOP, _LEFT, _PANEL, _GAP, _LABEL = 46, 92, 190, 380, 70, 34  # pixels
_MIB: Final = 1 << 20


def sheet(width: float, height: float, title: str) -> list[str]:
    """The beginning of an SVG document of so many pixels: a white ground and the title."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" fill="#222">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="20" y="28" font-size="16" font-weight="bold">{escape(title)}</text>',
    ]


def plot_svg(found: Sequence[Measurement], *, title: str) -> str:
    """An SVG document with two panels: milliseconds of one picture, and MiB of memory.

    ``found`` has at least one measurement, and its models keep their order from top to bottom.
    Memory is the GPU's where it is known, else the process's. Raises ``ValueError`` for none.
    """
    if not found:
        raise ValueError("there is nothing to draw; measure at least one model")
    models = list(dict.fromkeys(one.model for one in found))
    sizes = sorted({(one.input_size, one.width, one.height) for one in found})
    colours = {size: COLOURS[n % len(COLOURS)] for n, (size, _, _) in enumerate(sizes)}
    width = _LEFT + 2 * _PANEL + _GAP + 40
    height = _TOP + _ROW * len(models) + 50
    on_gpu = all(one.gpu_memory is not None for one in found)
    parts = [
        *sheet(width, height, title),
        *_legend(sizes, colours),
    ]
    for row, model in enumerate(models):
        y = _row_y(row)
        parts.append(f'<text x="{_LEFT - 16}" y="{y + 4}" text-anchor="end">{escape(model)}</text>')
    panels: tuple[tuple[str, Callable[[Measurement], float]], ...] = (
        ("milliseconds for one picture", lambda one: one.ms_median),
        (f"MiB of {'GPU ' if on_gpu else ''}memory", lambda one: _memory(one, on_gpu)),
    )
    for n, (words, value) in enumerate(panels):
        left = _LEFT + n * (_PANEL + _GAP)
        parts += _panel(found, models, colours, left=left, words=words, value=value)
    return "\n".join([*parts, "</svg>", ""])


def _memory(one: Measurement, on_gpu: bool) -> float:
    return ((one.gpu_memory or 0) if on_gpu else one.memory) / _MIB


def _row_y(row: int) -> float:
    return _TOP + _ROW * (row + 0.5)


def _legend(sizes: Sequence[tuple[int, int, int]], colours: dict[int, str]) -> list[str]:
    parts = []
    for n, (size, width, height) in enumerate(sizes):
        x = 26 + 110 * n
        parts.append(f'<circle cx="{x}" cy="50" r="5" fill="{colours[size]}"/>')
        parts.append(f'<text x="{x + 11}" y="54">{width}x{height}</text>')
    return parts


def _panel(
    found: Sequence[Measurement],
    models: Sequence[str],
    colours: dict[int, str],
    *,
    left: float,
    words: str,
    value: Callable[[Measurement], float],
) -> list[str]:
    """One panel: its grid, its ticks and its dots, each dot with its number."""
    values = [max(0.01, value(one)) for one in found]
    low, high = _ends(values)
    bottom = _row_y(len(models) - 1) + _ROW * 0.5
    parts = [f'<text x="{left}" y="{_TOP - 10}" font-weight="bold">{escape(words)}</text>']

    def place(amount: float) -> float:
        return left + _PANEL * (math.log10(amount) - low) / (high - low)

    for tick in _ticks(low, high):
        at = f"{place(tick):.1f}"
        parts.append(f'<line x1="{at}" y1="{_TOP}" x2="{at}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{at}" y="{bottom + 18}" text-anchor="middle" fill="#666">{tick:g}</text>'
        )
    for row, model in enumerate(models):
        dots = [
            (place(amount), amount, one)
            for one, amount in zip(found, values, strict=True)
            if one.model == model
        ]
        parts += _dots(sorted(dots, key=lambda dot: dot[0]), _row_y(row), colours, words)
    return parts


def _dots(
    dots: Sequence[tuple[float, float, Measurement]],
    y: float,
    colours: dict[int, str],
    words: str,
) -> list[str]:
    """One row from left to right: dots with their numbers above, below where they would touch."""
    parts = []
    free_from = {-10.0: -math.inf, 20.0: -math.inf}  # of each line of numbers
    for x, amount, one in dots:
        label = f"{amount:.3g}" if amount < 1000 else f"{amount:.0f}"
        about = f"{one.model} {one.width}x{one.height}: {label} {words}"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colours[one.input_size]}">'
            f"<title>{escape(about)}</title></circle>"
        )
        line = next((line for line, least in free_from.items() if x >= least), None)
        if line is not None:  # the third in one place is in the table, and under the pointer
            free_from[line] = x + _LABEL
            parts.append(
                f'<text x="{x:.1f}" y="{y + line:.1f}" text-anchor="middle" font-size="11">'
                f"{label}</text>"
            )
    return parts


def _ends(values: Sequence[float]) -> tuple[float, float]:
    """Both ends of a logarithmic axis as powers of ten, with room for the dots."""
    low, high = math.log10(min(values)), math.log10(max(values))
    room = max(0.15, 0.08 * (high - low))
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between the ends, these being powers of ten too."""
    found = []
    for power in range(math.floor(low), math.ceil(high) + 1):
        found += [step * 10.0**power for step in (1, 2, 5)]
    return [tick for tick in found if 10**low <= tick <= 10**high]
