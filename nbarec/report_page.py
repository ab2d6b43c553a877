"""What the page of a run is made of: the frame, sections, tables, and charts with their captions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

from nbarec.figures import Figure
from nbarec.markup import Markup, element, joined

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load for the page: nothing."""

NOT_DEFINED = "–"


def page(title: str, sections: Sequence[tuple[str, str, Markup]], head: Markup) -> str:
    """The whole page: a title, what stands above everything, and sections as (anchor, title, content)."""
    links = [element("li", element("a", name, href=f"#{anchor}")) for anchor, name, _ in sections]
    bodies = [
        element("section", element("h2", name), content, id=anchor, aria_label=name)
        for anchor, name, content in sections
    ]
    style = Markup(resources.files("nbarec").joinpath("report.css").read_text("utf-8"))
    headers = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", title),
        element("style", style),
    ]
    contents = element("nav", element("ul", *links), aria_label="Contents")
    body = element("body", element("header", element("h1", title), head, contents), element("main", *bodies))
    return f"<!doctype html>\n{element('html', element('head', *headers), body, lang='en')}\n"


def paragraph(*parts: str, class_: str | None = None) -> Markup:
    """A paragraph."""
    return element("p", *parts, class_=class_)


def note(*parts: str) -> Markup:
    """What is not there, and what to do about it."""
    return element("p", *parts, class_="note")


def code(words: str) -> Markup:
    """What is typed or named as it stands in a config."""
    return element("code", words)


def stage(name: str, role: str) -> Markup:
    """A stage's id, marked with the colour of its role."""
    return element("code", name, class_=f"stage {role}")


def charted(title: str, caption: str, chart: Markup) -> Markup:
    """A chart under its title and a caption."""
    return element("figure", element("figcaption", element("strong", title), caption), chart, class_="chart-box")


def grid(*parts: Markup) -> Markup:
    """Parts side by side, as many as fit."""
    return element("div", *parts, class_="grid")


def halves(*parts: Markup) -> Markup:
    """Two parts side by side where there is room."""
    return element("div", *parts, class_="halves")


def folded(summary: str, *parts: str) -> Markup:
    """Parts that are shown where somebody asks for them."""
    return element("details", element("summary", summary), *parts)


def items(lines: Iterable[str]) -> Markup:
    """A list."""
    return element("ul", *(element("li", one) for one in lines))


def tile(value: str, what: str) -> Markup:
    """One number that matters, and what it is."""
    return element("div", element("b", value), element("span", what, class_="what"), class_="tile")


def tiles(*found: Markup) -> Markup:
    """Tiles side by side."""
    return element("div", *found, class_="tiles")


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    roles: Sequence[str] = (),
    class_: str | None = None,
) -> Markup:
    """A table with a caption; the first cell of each row is its header, and `roles` are the rows' classes."""
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in header)))
    listed = list(rows)
    lines = [_line(row, role) for row, role in zip(listed, roles or [""] * len(listed), strict=True)]
    whole = element("table", element("caption", caption), head, element("tbody", *lines), class_=class_)
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _line(row: Sequence[str], role: str) -> Markup:
    first, *others = row
    cells = [element("th", first, scope="row"), *(element("td", one) for one in others)]
    return element("tr", *cells, class_=role or None)


def pairs(caption: str, facts: Mapping[str, str]) -> Markup:
    """A table of names and what they are."""
    return table(caption, ["", ""], facts.items(), class_="words")


def exact(value: float, shown: str) -> Markup:
    """A number as it is shown, with all its digits for programs."""
    return element("data", shown, value=repr(value))


def rounded(value: float) -> str:
    """A figure as people read it: three digits that count, thousands apart.

    >>> [rounded(one) for one in (0.208791, 1.81802, 29858.0, 0.00042, float("nan"))]
    ['0.209', '1.82', '29,858', '0.00042', '–']
    """
    if math.isnan(value):
        return NOT_DEFINED
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.001 or value == 0 else f"{value:.2g}"


def figure_text(figure: Figure) -> Markup:
    """A figure and half of its interval: 0.209 ±0.014."""
    if math.isnan(figure.mean):
        return joined([NOT_DEFINED])
    low, high = figure.ci95
    shown = exact(figure.mean, rounded(figure.mean))
    if math.isnan(low):
        return shown
    # The digits of the mean: more of an interval would tell nothing.
    digits = len(rounded(figure.mean).partition(".")[2])
    return joined([shown, element("span", f" ±{(high - low) / 2:.{digits}f}", class_="muted")])


def interval_text(low: float, high: float) -> str:
    """An interval in words, empty where it is unknown."""
    return "" if math.isnan(low) or math.isnan(high) else f"95% interval {rounded(low)} to {rounded(high)}"


def percent(share: float) -> str:
    """A share of all: 12.3%, 0.04%; zero and all without a part of a percent.

    >>> [percent(one) for one in (0.5, 0.1234, 0.0004, 0.0, 1.0, 1.875)]
    ['50.0%', '12.3%', '0.04%', '0%', '100%', '188%']
    """
    if math.isnan(share):
        return NOT_DEFINED
    hundredths = 100 * share
    if abs(hundredths) >= 100 or not hundredths:
        return f"{hundredths:,.0f}%"
    return f"{hundredths:.1f}%" if abs(hundredths) >= 0.1 else f"{hundredths:.1g}%"
