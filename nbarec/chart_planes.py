"""Charts on a plane, as SVG text: columns side by side, curves, and labelled points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from nbarec.charts import LETTER, WIDTH, Scale, chart, compact, line, scale_of, text, ticks
from nbarec.markup import Markup, element

LEFT, TOP, HEIGHT, BELOW = 40.0, 26.0, 230.0, 42.0
BOTTOM = HEIGHT - BELOW
TALL = 300.0
"""How high a plane of labelled points is, which need room."""

LINE = 14.0
"""From one label to the next below it."""


@dataclass(frozen=True)
class Point:
    """A labelled point: where it is, what it is `told` to be, and the CSS class of its `role`."""

    label: str
    x: float
    y: float
    told: str
    role: str = "slate"


@dataclass(frozen=True)
class Axes:
    """What the two directions of a plane mean, in a few words."""

    x: str
    y: str


def columns(
    name: str, told: str, axes: Axes, heights: Sequence[float], labels: Sequence[str], titles: Sequence[str]
) -> Markup:
    """A column a number, with what each is told to be; of the labels below them as many are written as fit."""
    up = scale_of(heights, BOTTOM, TOP)
    width = (WIDTH - LEFT) / max(len(heights), 1)
    every = -(-max((len(label) for label in labels), default=1) * LETTER * 1.25 // width)
    drawn = [
        _column(LEFT + width * at, width, up(height), title)
        for at, (height, title) in enumerate(zip(heights, titles, strict=True))
    ]
    middles = {at: LEFT + width * (at + 0.5) for at in range(0, len(labels), int(max(every, 1)))}
    below = [_below(labels[at], middle) for at, middle in middles.items() if _fits(middle, labels[at])]
    return chart(name, told, HEIGHT, *_sideways(up), *drawn, *below, *_titles(axes))


def _column(x: float, width: float, top: float, title: str) -> Markup:
    gap = min(2.0, width / 4)
    bar = element(
        "rect",
        x=x + gap / 2,
        y=top,
        width=width - gap,
        height=max(BOTTOM - top, 0),
        rx=min(2, width / 4),
        class_="bar",
    )
    return element("g", element("title", title), bar, class_="mark data")


def _below(label: str, middle: float) -> Markup:
    """A label under its column, or from the axis on where it would reach beyond that."""
    if middle - LETTER * len(label) / 2 < LEFT:
        return text(label, LEFT, BOTTOM + 14, "tick", "start")
    return text(label, middle, BOTTOM + 14, "tick", "middle")


def _fits(middle: float, label: str) -> bool:
    return middle + LETTER * len(label) / 2 <= WIDTH + 2


def curve(
    name: str, told: str, axes: Axes, points: Sequence[Point], *, role: str = "data", most: float = 1.0
) -> Markup:
    """Points from 0 to `most` in both directions, joined by a line, against the diagonal; those that are told to be
    something have a dot."""
    across, up = Scale(0, most, LEFT, WIDTH - 6), Scale(0, most, BOTTOM, TOP)
    path = " ".join(f"{across(one.x):.1f},{up(one.y):.1f}" for one in points)
    joining = element("polyline", points=path, class_="curve")
    dotted = [one for one in points if one.told]
    marks = [
        element("circle", element("title", one.told), cx=across(one.x), cy=up(one.y), r=4, class_="dot")
        for one in dotted
    ]
    labels = [
        text(one.label, across(one.x) + (10 if one.x < most / 2 else -10), up(one.y) + 4, "label", _side(one, most))
        for one in dotted
        if one.label
    ]
    diagonal = line(across(0), up(0), across(most), up(most), "diagonal")
    group = element("g", joining, *marks, class_=f"mark {role}")
    both = (*_sideways(up), *_upright(across))
    return chart(name, told, HEIGHT, *both, diagonal, group, *labels, *_titles(axes))


def _side(point: Point, most: float) -> str:
    return "start" if point.x < most / 2 else "end"


@dataclass(frozen=True)
class Line:
    """Points joined from left to right, under one label at its end; `x` of a point is which of the steps it is at."""

    label: str
    role: str
    points: Sequence[Point]


def lines(name: str, told: str, axes: Axes, drawn: Sequence[Line], steps: Sequence[str]) -> Markup:
    """A line each, over steps from left to right that are the same way apart; its label stands at its end."""
    room = LETTER * max((len(one.label) for one in drawn), default=0) + 16
    across = Scale(0, max(len(steps) - 1, 1), LEFT + 10, WIDTH - min(room, WIDTH / 3))
    up = scale_of([point.y for one in drawn for point in one.points], TALL - BELOW, TOP + 6)
    shown = sorted((one for one in drawn if one.points), key=lambda one: up(one.points[-1].y))
    ends = [up(one.points[-1].y) for one in shown]
    heights = spread(ends, LINE, TOP - 6, TALL - BELOW)
    marks = [_line_mark(one, across, up, height) for one, height in zip(shown, heights, strict=True)]
    below = [text(step, across(at), TALL - BELOW + 16, "tick", "middle") for at, step in enumerate(steps)]
    return chart(name, told, TALL, *_sideways(up), *below, *marks, *_titles(axes, TALL))


def _line_mark(one: Line, across: Scale, up: Scale, height: float) -> Markup:
    path = " ".join(f"{across(point.x):.1f},{up(point.y):.1f}" for point in one.points)
    dots = [
        element("circle", element("title", point.told), cx=across(point.x), cy=up(point.y), r=4, class_="dot")
        for point in one.points
    ]
    last = one.points[-1]
    x = across(last.x)
    leader = line(x, up(last.y), x + 9, height, "leader")
    label = text(one.label, x + 12, height + 4, "label", "start")
    joining = element("polyline", points=path, class_="curve thin")
    return element("g", element("title", one.label), joining, leader, *dots, label, class_=f"mark {one.role}")


def scatter(name: str, told: str, axes: Axes, points: Sequence[Point]) -> Markup:
    """Points with their labels beside them, moved up or down where they would hide each other."""
    across = _span([one.x for one in points])
    up = scale_of([one.y for one in points], TALL - BELOW, TOP + 6)
    places = [(across(one.x), up(one.y)) for one in points]
    drawn = []
    for point, (x, y), label in zip(points, places, _labels(points, places), strict=True):  # a step a point
        edge = label.x + (-3 if label.anchor == "start" else 3)
        leader = line(x, y, edge, label.y, "leader") if abs(label.y - y) > 5 else Markup()
        dot = element("circle", cx=x, cy=y, r=5, class_="dot")
        words = text(point.label, label.x, label.y + 4, "label", label.anchor)
        drawn.append((leader, element("g", element("title", point.told), dot, words, class_=f"mark {point.role}")))
    leaders, marks = zip(*drawn, strict=True) if drawn else ((), ())
    grid = (*_sideways(up), *_upright(across, TALL - BELOW))
    return chart(name, told, TALL, *grid, *leaders, *marks, *_titles(axes, TALL))


@dataclass(frozen=True)
class _Label:
    """Where a label stands: at its `anchor`, start or end, with its middle at y."""

    x: float
    y: float
    anchor: str


def _span(values: Sequence[float]) -> Scale:
    """A scale over these values alone, with a little room at both ends."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return Scale(low - room, high + room, LEFT, WIDTH)


def _labels(points: Sequence[Point], places: Sequence[tuple[float, float]]) -> list[_Label]:
    """A label a point: at the side where fewer others are near, and there below and above each other in the order of
    the points, so that no two hide each other and no two leaders cross."""
    order = sorted(range(len(points)), key=lambda at: places[at][1])
    sides: dict[str, list[int]] = {"start": [], "end": []}
    for at in order:  # a step a label, from the top: where it goes depends on those before it
        crowd = {anchor: _crowd(at, anchor, listed, points, places) for anchor, listed in sides.items()}
        sides[min(crowd, key=lambda anchor: crowd[anchor])].append(at)
    found: dict[int, _Label] = {}
    for anchor, listed in sides.items():
        away = 14.0 if anchor == "start" else -14.0
        heights = spread([places[at][1] for at in listed], LINE, TOP - 6, TALL - BELOW)
        found |= {at: _Label(places[at][0] + away, y, anchor) for at, y in zip(listed, heights, strict=True)}
    return [found[at] for at in range(len(points))]


def _crowd(
    at: int, anchor: str, listed: Sequence[int], points: Sequence[Point], places: Sequence[tuple[float, float]]
) -> int:
    """How many labels of one side, and how many points, are where the label of this point would be."""
    x, y = places[at]
    width = LETTER * len(points[at].label) + 14
    left, right = (x, x + width) if anchor == "start" else (x - width, x)
    outside = 100 * (left < LEFT - 20 or right > WIDTH + 4)
    labels = sum(abs(places[other][1] - y) < 2 * LINE for other in listed)
    dots = sum(left < px < right and abs(py - y) < LINE for px, py in places if (px, py) != (x, y))
    return outside + 2 * labels + dots


def spread(heights: Sequence[float], gap: float, least: float = -math.inf, most: float = math.inf) -> list[float]:
    """Rising numbers moved as little as it takes for each two to be a gap apart, about as far up as down, and to lie
    from `least` to `most` where there is room for all.

    >>> spread([10.0, 11.0, 50.0], 10)
    [5.5, 15.5, 50.0]
    >>> spread([10.0, 11.0, 50.0], 10, least=10.0)
    [10.0, 20.0, 50.0]
    """
    down, up = _pushed(heights, gap), _lifted(heights, gap)
    middle = [(low + high) / 2 for low, high in zip(down, up, strict=True)]
    return _pushed(_lifted(middle, gap, most), gap, least)


def _pushed(heights: Sequence[float], gap: float, least: float = -math.inf) -> list[float]:
    """Each is at least a gap above the one before it, and the first at least `least`."""
    return list(accumulate(heights, lambda before, one: max(one, before + gap), initial=least - gap))[1:]


def _lifted(heights: Sequence[float], gap: float, most: float = math.inf) -> list[float]:
    """Each is at least a gap below the one after it, and the last at most `most`."""
    return [-one for one in reversed(_pushed([-one for one in reversed(heights)], gap, -most))]


def _sideways(up: Scale) -> Iterable[Markup]:
    """The lines of the vertical axis, and its numbers."""
    for tick in ticks(up.low, up.high, 5):
        yield line(LEFT, up(tick), WIDTH, up(tick), "axis" if tick == 0 else "gridline")
        yield text(compact(tick), LEFT - 6, up(tick) + 4, "tick", "end")


def _upright(across: Scale, bottom: float = BOTTOM) -> Iterable[Markup]:
    """The numbers of the horizontal axis."""
    for tick in ticks(across.low, across.high, 6):
        yield line(across(tick), bottom, across(tick), bottom + 4, "gridline")
        yield text(compact(tick), across(tick), bottom + 16, "tick", "middle")


def _titles(axes: Axes, height: float = HEIGHT) -> list[Markup]:
    """What the directions mean: above the vertical axis, and below the horizontal one."""
    across = text(f"{axes.x} →", WIDTH, height - 6, "axis-title", "end")
    return [text(f"↑ {axes.y}", 0, 11, "axis-title"), across]
