"""Small plots as SVG, written by hand: bars of ratios, and lines of growth on two logarithmic axes.

They read in light and dark alike: colours follow `prefers-color-scheme`, and nothing is told by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench.tables import digits

WIDTH = 760
TEXT = 13
"""Pixels: the picture's width, and the size of its letters."""

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .faint { fill: #656d76; }
  .title { font-weight: 600; font-size: 15px; }
  .end { text-anchor: end; }
  .middle { text-anchor: middle; }
  .grid { stroke: #d0d7de; }
  .one { stroke: #656d76; stroke-dasharray: 4 3; }
  .ask { stroke: #1f2328; stroke-width: 2; }
  .met { fill: #2f6fb3; }
  .missed { fill: #c2410c; }
  .line { fill: none; stroke-width: 2; }
  .ground { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .faint { fill: #9198a1; }
    .grid { stroke: #3d444d; }
    .one { stroke: #9198a1; }
    .ask { stroke: #e6edf3; }
    .met { fill: #4d94dd; }
    .missed { fill: #f0883e; }
    .ground { fill: #0d1117; }
  }
"""

HUES = ("#2f81c7", "#d0672a", "#3a9a54", "#a05fc4", "#c24a6e", "#8a7a2a", "#3f9a9a", "#7d7d86", "#b0559b")
"""Middle tones, which show on white as on black."""


@dataclass(frozen=True)
class Bar:
    """A ratio, what it is of, what it had to be (None: nothing was asked) and a note at its end."""

    label: str
    ratio: float
    ask: float | None
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether it is as asked."""
        return self.ask is None or self.ratio <= self.ask


def bars(title: str, subtitle: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars from 0, a dashed line at 1, and a tick at what was asked of each."""
    left, right, top, step = 80, 290, 64, 30
    most = max([1.25, *(1.02 * row.ratio for row in rows), *(1.02 * row.ask for row in rows if row.ask)])
    most = min(most, 3.0)  # a longer bar is cut: its number stands beside it
    width, height = WIDTH - left - right, top + step * len(rows) + 34

    def x(ratio: float) -> float:
        return left + width * min(ratio, most) / most

    parts = [_text(12, 26, title, "title"), _text(12, 46, subtitle, "faint")]
    bottom = top + step * len(rows)
    for tick in _ticks(most):
        parts.append(_line((x(tick), top - 4), (x(tick), bottom + 4), "one" if tick == 1 else "grid"))
        parts.append(_text(x(tick), bottom + 22, f"{tick:g}", "faint middle"))
    for at, row in enumerate(rows):
        y = top + step * at + 4
        parts.append(_text(left - 8, y + 15, row.label, "end"))
        kind = "met" if row.met else "missed"
        parts.append(f'<rect x="{left}" y="{y}" width="{x(row.ratio) - left:.1f}" height="20" rx="2" class="{kind}"/>')
        if row.ask is not None:
            parts.append(_line((x(row.ask), y - 4), (x(row.ask), y + 24), "ask"))
        parts.append(_text(WIDTH - right + 16, y + 15, digits(row.ratio, 2)))
        parts.append(_text(WIDTH - right + 60, y + 15, row.note if row.met else f"missed: {row.note}", "faint"))
    return _svg(height, title, parts)


def _ticks(most: float) -> list[float]:
    step = 0.25 if most <= 2 else 0.5
    return [step * at for at in range(int(most / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis from the first of its `ticks` at `low` pixels to the last at `high`."""

    ticks: tuple[float, ...]
    low: float
    high: float

    @classmethod
    def of_decades(cls, values: Iterable[float], low: float, high: float) -> Axis:
        """With powers of ten as ticks: the fewest that hold the values, which must be above 0."""
        exponents = [math.log10(value) for value in values]
        first, last = math.floor(min(exponents)), math.ceil(max(exponents))
        return cls(tuple(10.0**power for power in range(first, max(last, first + 1) + 1)), low, high)

    def at(self, value: float) -> float:
        """Where a value stands."""
        first, last = math.log10(self.ticks[0]), math.log10(self.ticks[-1])
        return self.low + (math.log10(value) - first) / (last - first) * (self.high - self.low)


def lines(title: str, across: str, upwards: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Lines through points (x, y), all above 0 and at two places x or more, on logarithmic axes; named at the end."""
    left, right, top, bottom, height = 64, 170, 48, 60, 460
    points = [point for line in series.values() for point in line]
    x = Axis(tuple(sorted({point[0] for point in points})), left, WIDTH - right)
    y = Axis.of_decades((point[1] for point in points), height - bottom, top)
    parts = [_text(12, 26, title, "title")]
    for tick in x.ticks:
        parts.append(_line((x.at(tick), top), (x.at(tick), height - bottom), "grid"))
        parts.append(_text(x.at(tick), height - bottom + 20, short(tick), "faint middle"))
    for tick in y.ticks:
        parts.append(_line((left, y.at(tick)), (WIDTH - right, y.at(tick)), "grid"))
        parts.append(_text(left - 8, y.at(tick) + 4, short(tick), "faint end"))
    parts.append(_text((left + WIDTH - right) / 2, height - 16, across, "faint middle"))
    middle = (top + height - bottom) / 2
    parts.append(f'<g transform="rotate(-90 16 {middle})">{_text(16, middle, upwards, "faint middle")}</g>')
    ends = _apart({name: y.at(line[-1][1]) for name, line in series.items()})
    for at, (name, line) in enumerate(series.items()):
        parts += _drawn(name, [(x.at(a), y.at(b)) for a, b in line], ends[name], HUES[at % len(HUES)])
    return _svg(height, title, parts)


def _drawn(name: str, points: Sequence[tuple[float, float]], end: float, hue: str) -> list[str]:
    """One line: its points, and its name at the height `end`, to which a thin line leads."""
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    dots = [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{hue}"/>' for a, b in points]
    a, b = points[-1]
    lead = f'<polyline points="{a:.1f},{b:.1f} {a + 16:.1f},{end:.1f}" fill="none" stroke="{hue}" opacity="0.6"/>'
    line = f'<polyline points="{path}" class="line" stroke="{hue}"/>'
    return [line, *dots, lead, _text(a + 20, end + 4, name)]


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """The same heights, moved where names would cover each other: from the top, each at least a line below the last,
    and then all up by half of what the lowest was moved."""
    ordered = sorted(heights, key=lambda name: heights[name])
    placed: dict[str, float] = {}
    last = -math.inf
    for name in ordered:
        last = max(heights[name], last + TEXT + 3)
        placed[name] = last
    moved = (last - heights[ordered[-1]]) / 2 if ordered else 0.0
    return {name: height - moved for name, height in placed.items()}


def short(value: float) -> str:
    """`0.01`, `10`, `1M`, `1B`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(words)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
    ground = '<rect width="100%" height="100%" class="ground"/>'
    return f'{head} aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{ground}\n{body}\n</svg>\n'
