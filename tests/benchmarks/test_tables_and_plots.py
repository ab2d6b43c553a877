"""Tables are Markdown, numbers have the digits that count, and plots are SVG that shows what it should."""

from __future__ import annotations

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from bench.plots import Bar, bars, lines, short
from bench.tables import digits, markdown, megabytes, verdict

SVG = "{http://www.w3.org/2000/svg}"


def test_a_table() -> None:
    table = markdown(["kernel", "s"], [["`als`", "1.50"], ["a long name", "12"]])
    assert table.splitlines() == [
        "| kernel      |    s |",
        "| ----------- | ---: |",
        "| `als`       | 1.50 |",
        "| a long name |   12 |",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.012345, "0.0123"),
        (1.0, "1.00"),
        (9.999, "10.0"),
        (123.4, "123"),
        (98765.0, "98,800"),
        (0.0, "0"),
        (-0.5, "-0.500"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_three_digits_that_count(value: float, shown: str) -> None:
    assert digits(value) == shown


def test_what_nobody_measured_or_asked_stands_empty() -> None:
    assert (megabytes(math.nan), megabytes(1234.5)) == ("-", "1,234")
    assert [verdict(holds) for holds in (True, False, None)] == ["yes", "**no**", ""]


def drawn(picture: str, kind: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(picture).iter(f"{SVG}{kind}"))


def test_bars_are_as_long_as_their_ratios_and_say_what_was_missed() -> None:
    rows = [Bar("csr", 0.5, 0.6, "1 s, scipy 2 s"), Bar("a < b & c", 1.0, 0.8), Bar("free", 0.25, None)]
    picture = bars("Ratios", "of three", rows)
    found = [rect for rect in drawn(picture, "rect") if rect.get("class") != "ground"]
    widths = [float(rect.get("width", "")) for rect in found]
    assert widths[0] == pytest.approx(widths[1] / 2, abs=0.2)
    assert widths[2] == pytest.approx(widths[1] / 4, abs=0.2)
    assert [rect.get("class") for rect in found] == ["met", "missed", "met"]
    assert [line.get("class") for line in drawn(picture, "line")].count("ask") == 2
    assert [line.get("class") for line in drawn(picture, "line")].count("one") == 1
    texts = [text.text for text in drawn(picture, "text")]
    assert {"a < b & c", "0.50", "1 s, scipy 2 s", "missed: "} <= set(texts)
    assert "prefers-color-scheme: dark" in picture


def test_a_very_long_bar_is_cut() -> None:
    wide = [float(rect.get("width", "")) for rect in drawn(bars("", "", [Bar("x", 50.0, 1.0)]), "rect")[1:]]
    assert wide[0] < 760


def test_lines_of_the_same_growth_are_parallel_and_names_do_not_cover_each_other() -> None:
    places = [1e6, 1e7, 1e8]
    series = {name: [(x, scale * x / 1e6) for x in places] for name, scale in (("a", 1.0), ("b", 1.01), ("c", 20.0))}
    picture = lines("Growth", "events", "seconds", series)
    paths = [line for line in drawn(picture, "polyline") if line.get("class") == "line"]
    ends = [[tuple(map(float, point.split(","))) for point in line.get("points", "").split()] for line in paths]
    rises = [points[-1][1] - points[0][1] for points in ends]
    assert rises == pytest.approx([rises[0]] * 3, abs=0.2)
    assert rises[0] < 0
    named = {text.text: float(text.get("y", "")) for text in drawn(picture, "text") if text.text in series}
    assert all(below - above >= 13 for above, below in pairwise(sorted(named.values())))
    assert {"1M", "10M", "100M"} <= {text.text for text in drawn(picture, "text")}


def test_lines_of_one_value_are_drawn_too() -> None:
    assert drawn(lines("", "", "", {"flat": [(10.0, 1.0), (20.0, 1.0)]}), "circle")


def test_short_numbers() -> None:
    assert [short(value) for value in (0.01, 30, 1000, 3e6, 1e9)] == ["0.01", "30", "1k", "3M", "1B"]
