"""Charts as SVG text, a row a mark: dots with intervals, bars, and steps that lead from one number to another.

Every chart is 360 units wide, a phone's width, so that its texts can be read there as they are. Colours come from the
page: a mark has the CSS class of its role, such as `slate`. Every mark tells in its <title> what it stands for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from nbarec.markup import Markup, element, joined

WIDTH = 360.0
ROW = 24.0
LETTER = 6.6
"""About how wide a letter is, in units, where texts are 12 units high."""

LABELS, VALUES = 112.0, 56.0
"""What the labels at the left and the values at the right of a row take."""

ALMOST_WHOLE = 1e-9


@dataclass(frozen=True)
class Mark:
    """One mark: its `label`, its `value` and how that is `shown`, what it is `told` to be where somebody points at it,
    the CSS class of its `role`, and where it has an interval its bounds (else NaN)."""

    label: str
    value: float
    shown: str
    told: str
    role: str = "slate"
    low: float = math.nan
    high: float = math.nan

    @property
    def has_interval(self) -> bool:
        """Whether both bounds are known."""
        return not (math.isnan(self.low) or math.isnan(self.high))


@dataclass(frozen=True)
class Scale:
    """Numbers from `low` to `high` laid over units from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Where a number lies; beyond the ends, at the end."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.stop - self.start)


def scale_of(values: Iterable[float], start: float, stop: float) -> Scale:
    """A scale from zero over all defined values; one of 0 to 1 where there is none but zeros."""
    defined = [value for value in values if math.isfinite(value)]
    low, high = min([0.0, *defined]), max([0.0, *defined])
    return Scale(low, high if high > low else low + 1, start, stop)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """About so many round numbers from `low` to `high`, evenly apart: 1, 2 or 5 times a power of ten.

    >>> ticks(0, 0.34)
    [0.0, 0.1, 0.2, 0.3]
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough * (1 - ALMOST_WHOLE))
    first = math.ceil(low / step - ALMOST_WHOLE)
    last = math.floor(high / step + ALMOST_WHOLE)
    return [round(at * step, 12) for at in range(first, last + 1)]


def chart(name: str, told: str, height: float, *parts: str) -> Markup:
    """The frame of every chart: an image with a name and a description for those who do not see it."""
    words = element("title", name), element("desc", told)
    return element(
        "svg", *words, *parts, viewBox=f"0 0 {WIDTH:g} {height:g}", role="img", class_="chart", aria_label=name
    )


def text(words: str, x: float, y: float, class_: str = "", anchor: str | None = None) -> Markup:
    """A text whose base line is at y."""
    return element("text", words, x=x, y=y, class_=class_ or None, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def shortened(words: str, width: float) -> str:
    """What of a text fits into so many units."""
    most = max(int(width / LETTER), 2)
    return words if len(words) <= most else f"{words[: most - 1]}…"


def compact(value: float) -> str:
    """A number on an axis: 0.05, 250, 12k, 3M.

    >>> [compact(value) for value in (0.05, 250, 12000, 3e6)]
    ['0.05', '250', '12k', '3M']
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def dots(name: str, told: str, marks: Sequence[Mark]) -> Markup:
    """A row a mark: a dot at its value, and a line from end to end of its interval."""
    return _rows(name, told, marks, _dot)


def bars(name: str, told: str, marks: Sequence[Mark]) -> Markup:
    """A row a mark: a bar from zero to its value, and a thin line from end to end of its interval."""
    return _rows(name, told, marks, _bar)


Draw = Callable[[Mark, float, Scale], Markup]


def _rows(name: str, told: str, marks: Sequence[Mark], draw: Draw) -> Markup:
    scale = scale_of([n for one in marks for n in (one.value, one.low, one.high)], LABELS, WIDTH - VALUES)
    bottom = ROW * len(marks)
    at = ticks(scale.low, scale.high)
    grid = [line(scale(tick), 0, scale(tick), bottom, "axis" if tick == 0 else "gridline") for tick in at]
    named = [text(compact(tick), scale(tick), bottom + 14, "tick", "middle") for tick in at]
    rows = [_row(mark, ROW * (place + 0.5), draw(mark, ROW * (place + 0.5), scale)) for place, mark in enumerate(marks)]
    return chart(name, told, bottom + 20, *grid, *named, *rows)


def _row(mark: Mark, y: float, drawn: Markup) -> Markup:
    label = text(shortened(mark.label, LABELS - 8), LABELS - 8, y + 4, "label", "end")
    value = text(mark.shown, WIDTH, y + 4, "value", "end")
    return element("g", element("title", mark.told), label, drawn, value, class_=f"mark {mark.role}")


def _dot(mark: Mark, y: float, scale: Scale) -> Markup:
    if math.isnan(mark.value):
        return Markup()
    reach = line(scale(mark.low), y, scale(mark.high), y, "interval") if mark.has_interval else Markup()
    return joined([reach, element("circle", cx=scale(mark.value), cy=y, r=5, class_="dot")])


def _bar(mark: Mark, y: float, scale: Scale) -> Markup:
    if math.isnan(mark.value):
        return Markup()
    start, stop = sorted((scale(0.0), scale(mark.value)))
    drawn = element("rect", x=start, y=y - 7, width=max(stop - start, 1), height=14, rx=2, class_="bar")
    ends = scale(mark.low), y, scale(mark.high), y
    reach = [line(*ends, "halo"), line(*ends, "whisker")] if mark.has_interval else []
    return joined([drawn, *reach])


STEP = 40.0


def waterfall(name: str, told: str, start: Mark, steps: Sequence[Mark], end: Mark) -> Markup:
    """From `start` every step takes its value away, and what is left is `end`: a bar a row, each beginning where the
    one before it ended, its label and value above it."""
    scale = scale_of([start.value], 0, WIDTH)
    left = accumulate((step.value for step in steps), lambda left, lost: left - lost, initial=start.value)
    spans = [(0.0, start.value), *((rest - step.value, rest) for step, rest in zip(steps, left, strict=False))]
    marks = [start, *steps, end]
    rows = [
        _step(mark, STEP * place, scale(low), scale(high))
        for place, (mark, (low, high)) in enumerate(zip(marks, [*spans, (0.0, end.value)], strict=True))
    ]
    return chart(name, told, STEP * len(marks), *rows)


def _step(mark: Mark, y: float, start: float, stop: float) -> Markup:
    room = WIDTH - LETTER * (len(mark.shown) + 2)
    label = text(shortened(mark.label, room), 0, y + 13, "label")
    value = text(mark.shown, WIDTH, y + 13, "value", "end")
    track = element("rect", x=0, y=y + 19, width=WIDTH, height=13, rx=2, class_="track")
    width = max(stop - start, 1.5)
    bar = element("rect", x=min(start, WIDTH - width), y=y + 19, width=width, height=13, rx=2, class_="bar")
    return element("g", element("title", mark.told), label, value, track, bar, class_=f"mark {mark.role}")
