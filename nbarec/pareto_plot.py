"""A scatter plot of two figures with its front as a line: SVG by itself, that follows light and dark.

Nothing is told by colour alone: what is on the front is filled, joined and named; the rest are rings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 540
LEFT, RIGHT, TOP, BOTTOM = 82, 40, 78, 70
"""Pixels: the picture, and its margins around the plot."""

LETTER, LINE = 7.2, 16.0
"""Pixels: the width of a letter, on average and upwards, and the height of a line of text."""

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .faint { fill: #59636e; }
  .label { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round; }
  .title { font-weight: 600; font-size: 16px; }
  .end { text-anchor: end; }
  .middle { text-anchor: middle; }
  .grid { stroke: #d8dee4; }
  .spread { stroke: #2f6fb3; opacity: 0.35; }
  .front { fill: none; stroke: #2f6fb3; stroke-width: 2; }
  .on { fill: #2f6fb3; stroke: #ffffff; stroke-width: 1.5; }
  .off { fill: none; stroke: #818b98; stroke-width: 1.5; }
  .lead { stroke: #818b98; }
  .ground { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .faint { fill: #9198a1; }
    .label { stroke: #0d1117; }
    .grid { stroke: #2b3138; }
    .spread { stroke: #58a6ff; }
    .front { stroke: #58a6ff; }
    .on { fill: #58a6ff; stroke: #0d1117; }
    .off { stroke: #8b949e; }
    .lead { stroke: #8b949e; }
    .ground { fill: #0d1117; }
  }
"""

Interval = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""


@dataclass(frozen=True)
class Dot:
    """A point at finite `x` and `y` with their intervals (NaN: unknown); `name` is its whole name and `label` what
    stands beside it, if anything does."""

    x: float
    y: float
    x_interval: Interval
    y_interval: Interval
    name: str
    label: str
    on_front: bool


@dataclass(frozen=True)
class Axis:
    """A linear axis with round `ticks`, the first at `low` pixels and the last at `high`."""

    ticks: tuple[float, ...]
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], low: float, high: float, most: int = 7) -> Axis:
        """The fewest round ticks, at most about `most`, that hold all values."""
        first, last = min(values), max(values)
        if last - first <= 1e-9 * max(abs(first), abs(last), 1e-9):
            spread = max(abs(first) * 0.1, 1e-6)  # one value alone stands in the middle
            first, last = first - spread, last + spread
        step = round_step((last - first) / most)
        start, end = math.floor(first / step + 1e-9), math.ceil(last / step - 1e-9)
        return cls(tuple(step * at for at in range(start, end + 1)), low, high)

    def at(self, value: float) -> float:
        """Where a value stands, in pixels."""
        first, last = self.ticks[0], self.ticks[-1]
        return self.low + (value - first) / (last - first) * (self.high - self.low)

    def texts(self) -> list[str]:
        """The ticks as they are written, all with as many places as the step between two has."""
        places = max(0, -math.floor(math.log10(self.ticks[1] - self.ticks[0]) + 1e-9))
        return [f"{tick:.{places}f}" for tick in (0.0 if abs(tick) < 1e-12 else tick for tick in self.ticks)]


def round_step(least: float) -> float:
    """The least of ..., 0.1, 0.2, 0.5, 1, 2, 5, ... that is no smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9))


def scatter(title: str, subtitle: str, across: str, upwards: str, dots: Sequence[Dot]) -> str:
    """The plot as the text of an SVG file; the points of the front are joined from left to right.

    The axes hold all points and the intervals of those on the front.
    """
    parts = [_text(16, 28, title, "title"), _text(16, 50, subtitle, "faint")]
    if dots:
        x = Axis.of([value for dot in dots for value in _reach(dot, dot.x, dot.x_interval)], LEFT, WIDTH - RIGHT)
        y = Axis.of([value for dot in dots for value in _reach(dot, dot.y, dot.y_interval)], HEIGHT - BOTTOM, TOP)
        parts += [*_grid(x, y), *_spreads(dots, x, y), *_front(dots, x, y), *_dots(dots, x, y), *_labels(dots, x, y)]
    else:
        parts.append(_text(WIDTH / 2, HEIGHT / 2, "no setting has both figures", "faint middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 20, across, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<g transform="rotate(-90 22 {middle:.1f})">{_text(22, middle, upwards, "middle")}</g>')
    return _svg(title, parts)


def _reach(dot: Dot, value: float, interval: Interval) -> list[float]:
    return [value, *(bound for bound in interval if dot.on_front and not math.isnan(bound))]


def _grid(x: Axis, y: Axis) -> Iterator[str]:
    for tick, text in zip(x.ticks, x.texts(), strict=True):
        yield _line((x.at(tick), y.low), (x.at(tick), y.high), "grid")
        yield _text(x.at(tick), y.low + 20, text, "faint middle")
    for tick, text in zip(y.ticks, y.texts(), strict=True):
        yield _line((x.low, y.at(tick)), (x.high, y.at(tick)), "grid")
        yield _text(x.low - 8, y.at(tick) + 4, text, "faint end")


def _spreads(dots: Sequence[Dot], x: Axis, y: Axis) -> Iterator[str]:
    """The intervals of the points on the front, as thin crosses."""
    for dot in dots:
        if dot.on_front and not math.isnan(sum(dot.x_interval)):
            yield _line((x.at(dot.x_interval[0]), y.at(dot.y)), (x.at(dot.x_interval[1]), y.at(dot.y)), "spread")
        if dot.on_front and not math.isnan(sum(dot.y_interval)):
            yield _line((x.at(dot.x), y.at(dot.y_interval[0])), (x.at(dot.x), y.at(dot.y_interval[1])), "spread")


def _front(dots: Sequence[Dot], x: Axis, y: Axis) -> Iterator[str]:
    front = sorted({(dot.x, dot.y) for dot in dots if dot.on_front})
    if len(front) > 1:
        yield f'<polyline points="{" ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in front)}" class="front"/>'


def _dots(dots: Sequence[Dot], x: Axis, y: Axis) -> Iterator[str]:
    for dot in sorted(dots, key=lambda one: one.on_front):  # those on the front last: nothing covers them
        kind, size = ("on", 6) if dot.on_front else ("off", 4.5)
        place = f'cx="{x.at(dot.x):.1f}" cy="{y.at(dot.y):.1f}" r="{size}"'
        yield f'<circle {place} class="{kind}"><title>{escape(dot.name)}</title></circle>'


def _labels(dots: Sequence[Dot], x: Axis, y: Axis) -> Iterator[str]:
    """The labels, each where it covers neither a point nor another label, with a thin line to its point if far off."""
    taken: list[Box] = [(x.at(dot.x) - 7, y.at(dot.y) - 7, x.at(dot.x) + 7, y.at(dot.y) + 7) for dot in dots]
    for dot in sorted((one for one in dots if one.label), key=lambda one: (one.x, one.y)):
        place = (x.at(dot.x), y.at(dot.y))
        box, far = _free_box(place, LETTER * len(dot.label), taken)
        taken.append(box)
        if far:
            yield _line(place, (min(max(place[0], box[0]), box[2]), (box[1] + box[3]) / 2), "lead")
        yield _text(box[0], box[3] - 4, dot.label, "label" if dot.on_front else "label faint")


def _free_box(place: tuple[float, float], width: float, taken: Sequence[Box]) -> tuple[Box, bool]:
    """Where a label of this width goes, and whether it is far from its point: the first free place around it, in
    growing circles; the last one tried where none is free."""
    a, b = place
    box: Box = (a + 10, b - 10 - LINE, a + 10 + width, b - 10)
    for away in range(10, 140, 13):  # a step a circle
        sides = (a + away, a - away - width, a - width / 2)
        heights = (b - away - LINE, b - LINE / 2, b + away)
        # To the right first, above before below; never on the point itself.
        for left, top in ((left, top) for left in sides for top in heights):
            box = (left, top, left + width, top + LINE)
            inside = box[0] > LEFT and box[2] < WIDTH - 4 and box[1] > TOP - 20 and box[3] < HEIGHT - BOTTOM
            if inside and not any(_meet(box, other) for other in taken):
                return box, away > 10
    return box, True


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(words)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _svg(title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    ground = '<rect width="100%" height="100%" class="ground"/>'
    body = "\n".join(parts)
    return f'{head} aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{ground}\n{body}\n</svg>\n'
