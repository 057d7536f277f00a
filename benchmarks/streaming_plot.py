"""A picture of streaming accuracy as SVG, written by hand: lines by simulation, rings by real runs.

The places on an axis are evenly apart, whatever their numbers: they are choices, not amounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from streamer.models.plot import COLOURS, sheet

_LEFT, _TOP, _PANEL, _HIGH, _GAP, _NAMES = 60, 96, 260, 260, 160, 120  # pixels
_NAME_PX = 14  # least distance of two names


@dataclass(frozen=True)
class Line:
    """One way of doing it: ``points`` is the score by place on the axis; ``ran`` by real runs."""

    name: str
    points: Mapping[float, float]
    dashed: bool = False
    ran: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """Lines over one axis. ``words`` is what the axis is."""

    title: str
    words: str
    lines: Sequence[Line]


def plot_svg(panels: Sequence[Panel], *, title: str, note: str) -> str:
    """An SVG document with the panels side by side, all of one scale from top to bottom.

    Raises ``ValueError`` when there is nothing to draw.
    """
    scores = [
        score
        for panel in panels
        for line in panel.lines
        for score in (*line.points.values(), *line.ran.values())
    ]
    if not scores:
        raise ValueError("there is nothing to draw; run at least one setting")
    low = int(min(scores) * 20) / 20  # the next twentieth below
    width = _LEFT + len(panels) * (_PANEL + _GAP) - _GAP + _NAMES
    height = _TOP + _HIGH + 76
    parts = [
        *sheet(width, height, title),
        f'<text x="20" y="50" fill="#666">{escape(note)}</text>',
    ]
    for n, panel in enumerate(panels):
        parts += _panel(panel, _LEFT + n * (_PANEL + _GAP), low)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: float, low: float) -> list[str]:
    places = sorted({x for line in panel.lines for x in (*line.points, *line.ran)})
    step = _PANEL / max(1, len(places) - 1)
    bottom = _TOP + _HIGH

    def across(x: float) -> float:
        return left + places.index(x) * step

    def down(score: float) -> float:
        return bottom - _HIGH * (score - low) / max(1e-9, 1 - low)

    parts = [
        f'<text x="{left}" y="{_TOP - 14}" font-weight="bold">{escape(panel.title)}</text>',
        f'<text x="{left + _PANEL / 2:.1f}" y="{bottom + 42}" text-anchor="middle">'
        f"{escape(panel.words)}</text>",
    ]
    for tick in range(round(low * 20), 21):
        at = f"{down(tick / 20):.1f}"
        parts.append(f'<line x1="{left}" y1="{at}" x2="{left + _PANEL}" y2="{at}" stroke="#ddd"/>')
        if tick % 2 == 0 or 1 - low < 0.3:
            parts.append(
                f'<text x="{left - 8}" y="{float(at) + 4:.1f}" text-anchor="end" fill="#666">'
                f"{tick / 20:.2f}</text>"
            )
    parts += [
        f'<text x="{across(x):.1f}" y="{bottom + 20}" text-anchor="middle" fill="#666">{x:g}</text>'
        for x in places
    ]
    names: list[tuple[float, str, str]] = []
    for n, line in enumerate(panel.lines):
        colour = COLOURS[n % len(COLOURS)]
        points = sorted(line.points.items())
        drawn = " ".join(f"{across(x):.1f},{down(score):.1f}" for x, score in points)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        for shape, known in (("2.5", points), ("6", sorted(line.ran.items()))):
            fill = colour if shape == "2.5" else "none"
            said = "simulated" if shape == "2.5" else "run"
            parts += [
                f'<circle cx="{across(x):.1f}" cy="{down(score):.1f}" r="{shape}" fill="{fill}" '
                f'stroke="{colour}"><title>{escape(line.name)}, {x:g}: {score:.3f} ({said})'
                "</title></circle>"
                for x, score in known
            ]
        names.append((down(points[-1][1]), line.name, colour))
    name_y = float("-inf")
    for y, name, colour in sorted(names):
        name_y = max(y, name_y + _NAME_PX)
        parts.append(
            f'<text x="{left + _PANEL + 10}" y="{name_y + 4:.1f}" font-size="12" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    return parts
