"""Charts: well-formed pictures whose marks stand where their numbers are, and tell what they are."""

from __future__ import annotations

import math
import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.chart_planes import TALL, Axes, Line, Point, columns, curve, lines, scatter, spread
from nbarec.charts import LABELS, VALUES, WIDTH, Mark, Scale, bars, compact, dots, scale_of, shortened, ticks, waterfall
from nbarec.markup import Markup, element, escaped

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "</title><script>alert('x')</script> & \x00 \ud800"
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


def parsed(chart: Markup) -> ElementTree.Element:
    root = ElementTree.fromstring(str(chart))
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == ["title", "desc"]
    return root


def marks_of(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [group for group in root.iter("g") if "mark" in (group.get("class") or "").split()]


def number(found: ElementTree.Element | None, name: str) -> float:
    assert found is not None
    return float(found.get(name) or "nan")


def mark(label: str, value: float, low: float = math.nan, high: float = math.nan) -> Mark:
    return Mark(label, value, f"{value:g}", f"{label} is {value:g}", "slate", low, high)


def test_a_row_is_drawn_where_its_number_is_and_tells_it() -> None:
    root = parsed(dots("ndcg", "two", [mark("a", 0.5, 0.25, 0.75), mark("b", 1.0)]))
    first, second = marks_of(root)
    left, right = LABELS, WIDTH - VALUES
    assert number(first.find("circle"), "cx") == pytest.approx((left + right) / 2, abs=0.01)
    assert number(second.find("circle"), "cx") == pytest.approx(right)
    interval = first.find("line")
    quarter = (right - left) / 4
    assert number(interval, "x1") == pytest.approx(left + quarter, abs=0.01)
    assert number(interval, "x2") == pytest.approx(right - quarter, abs=0.01)
    assert second.find("line") is None
    assert [one.findtext("title") for one in (first, second)] == ["a is 0.5", "b is 1"]


def test_bars_start_at_zero_on_either_side() -> None:
    up, down = marks_of(parsed(bars("n", "two", [mark("up", 3.0), mark("down", -1.0)])))
    zero = LABELS + (WIDTH - VALUES - LABELS) / 4
    assert number(up.find("rect"), "x") == pytest.approx(zero, abs=0.01)
    assert number(down.find("rect"), "x") == pytest.approx(LABELS)
    assert number(down.find("rect"), "width") == pytest.approx(zero - LABELS, abs=0.01)


def test_each_step_of_a_waterfall_begins_where_the_one_before_it_ended() -> None:
    steps = [mark("lost", 30), mark("cut", 50)]
    root = parsed(waterfall("where", "four", mark("all", 100), steps, mark("left", 20)))
    drawn = [group.findall("rect")[1] for group in marks_of(root)]
    spans = [(number(bar, "x"), number(bar, "x") + number(bar, "width")) for bar in drawn]
    whole = [(low / WIDTH * 100, high / WIDTH * 100) for low, high in spans]
    expected = [(0, 100), (70, 100), (20, 70), (0, 20)]
    assert whole == [pytest.approx(span, abs=0.01) for span in expected]


def test_what_is_undefined_has_a_row_and_no_mark() -> None:
    for draw in (dots, bars):
        (row,) = marks_of(parsed(draw("n", "one", [mark("a", math.nan)])))
        assert row.find("circle") is None
        assert row.find("rect") is None


@pytest.mark.parametrize("draw", [dots, bars])
def test_texts_are_escaped_and_the_picture_stays_well_formed(draw: type) -> None:
    root = parsed(draw(NASTY, NASTY, [mark(NASTY, 1.0)]))
    assert not list(root.iter("script"))
    assert "alert" in (root.findtext("title") or "")


def test_planes_are_well_formed_and_escaped() -> None:
    axes = Axes(NASTY, NASTY)
    points = [Point(NASTY, 0.1, 0.2, NASTY), Point("b", 0.9, 0.8, "told")]
    for chart in (
        columns(NASTY, NASTY, axes, [1.0, 3.0], [NASTY, "b"], [NASTY, "b"]),
        curve(NASTY, NASTY, axes, points),
        scatter(NASTY, NASTY, axes, points),
        scatter("empty", "nothing", axes, []),
    ):
        assert not list(parsed(chart).iter("script"))


def test_columns_are_as_high_as_their_numbers() -> None:
    root = parsed(columns("n", "three", Axes("x", "y"), [2.0, 4.0, 0.0], ["a", "b", "c"], ["two", "four", "none"]))
    heights = [number(group.find("rect"), "height") for group in marks_of(root)]
    assert heights[0] == pytest.approx(heights[1] / 2, abs=0.01)
    assert heights[2] == 0
    assert [group.findtext("title") for group in marks_of(root)] == ["two", "four", "none"]


def test_lines_go_through_their_points_and_end_at_their_labels() -> None:
    points = [Point("a", 0, 1.0, "first"), Point("a", 1, 2.0, "second")]
    drawn = [Line(NASTY, "slate", points), Line("none", "rank", [])]
    root = parsed(lines("n", "two", Axes("x", "y"), drawn, ["0", "10"]))
    (only,) = marks_of(root)
    path = only.find("polyline")
    assert path is not None
    corners = [tuple(map(float, corner.split(","))) for corner in (path.get("points") or "").split()]
    dots_at = [(number(dot, "cx"), number(dot, "cy")) for dot in only.findall("circle")]
    assert dots_at == [pytest.approx(corner, abs=0.06) for corner in corners]
    assert corners[0][0] < corners[1][0]
    assert corners[0][1] > corners[1][1]
    assert "alert" in (only.findtext("text") or "")
    assert [dot.findtext("title") for dot in only.findall("circle")] == ["first", "second"]


@settings(max_examples=60)
@given(st.lists(NUMBERS, max_size=12), st.floats(0.5, 30))
def test_spread_keeps_the_order_and_the_gap(heights: list[float], gap: float) -> None:
    found = spread(sorted(heights), gap)
    assert all(second - first >= gap - 1e-6 for first, second in pairwise(found))
    apart = all(two - one >= gap for one, two in pairwise(sorted(heights)))
    if apart:
        assert found == pytest.approx(sorted(heights))


def test_labels_of_points_that_lie_close_do_not_hide_each_other() -> None:
    points = [Point(f"stage_{at}", 3 + at / 100, 0.35 + at / 200, f"{at}") for at in range(8)]
    points.append(Point("far", 9.0, 0.0, "far"))
    boxes = []
    for group in marks_of(parsed(scatter("n", "nine", Axes("x", "y"), points))):
        words = group.find("text")
        assert words is not None
        width = 6.6 * len(words.text or "")
        x, y = number(words, "x"), number(words, "y")
        left = x if words.get("text-anchor") == "start" else x - width
        boxes.append((left, y, left + width))
        assert left >= 0
        assert left + width <= WIDTH + 6.6
        assert 0 <= y <= TALL
    clashes = [
        (one, other)
        for one, other in combinations(boxes, 2)
        if abs(one[1] - other[1]) < 11 and one[0] < other[2] and other[0] < one[2]
    ]
    assert clashes == []


@settings(max_examples=80)
@given(NUMBERS, st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_within(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert len(found) <= 7
    slack = 1e-6 * max(abs(low), width)
    assert all(low - slack <= tick <= low + width + slack for tick in found)


def test_a_scale_has_room_for_zero_and_for_nothing_at_all() -> None:
    assert scale_of([2.0, math.nan], 0, 10) == Scale(0.0, 2.0, 0, 10)
    assert scale_of([], 0, 10) == Scale(0.0, 1.0, 0, 10)
    assert scale_of([0.0], 0, 10)(0.0) == 0


def test_texts_are_cut_to_the_room_they_have() -> None:
    assert shortened("short", 100) == "short"
    assert shortened("a rather long identifier", 50) == "a rath…"
    assert compact(20000) == "20k"


def test_markup_escapes_all_but_markup() -> None:
    assert escaped("<a href='x'>") == "&lt;a href=&#x27;x&#x27;&gt;"
    assert element("b", Markup("<i>x</i>"), "<i>") == "<b><i>x</i>&lt;i&gt;</b>"
    assert element("p", title='"<', hidden=True, id=None) == '<p title="&quot;&lt;" hidden></p>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert re.fullmatch("a\ufffdb", escaped("a\x00b"))
