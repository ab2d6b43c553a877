"""Other settings and new users and items, in the report of a run: what an evaluation tells beyond its own lists."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nbarec.chart_planes import Axes, Line, Point, lines
from nbarec.figures import Figure
from nbarec.markup import Markup, joined
from nbarec.metric_words import words_of
from nbarec.report_evaluation import ColdFigures, FiguresOf
from nbarec.report_page import charted, figure_text, halves, paragraph, rounded, stage, table
from nbarec.reports import AS_CONFIGURED
from nbarec.run_folder import Run

UNMEASURED = Figure(math.nan, (math.nan, math.nan), 0, 0)


def variants_section(run: Run) -> Markup:
    """The whole slates of other settings; empty where none was measured."""
    found = run.evaluation
    if found is None or not found.variants:
        return Markup()
    reports: dict[str, FiguresOf] = {AS_CONFIGURED: found.slate, **found.variants}
    rows = [
        [name, *(figure_text(report.get(label, UNMEASURED)) for label in found.slate)]
        for name, report in reports.items()
    ]
    told = table("The whole slate, ± half of the 95% interval", ["variant", *found.slate], rows)
    return joined([paragraph("The same pipeline with other settings, measured beside it."), told])


def cold_section(run: Run) -> Markup:
    """Quality by how many events are known of what is new; empty where it was not measured."""
    found = run.evaluation
    if found is None:
        return Markup()
    there = {what: rows for what, rows in found.cold_starts.items() if rows}
    charts = [_cold_chart(run, what, rows) for what, rows in there.items()]
    tables = [_cold_table(run, what, rows) for what, rows in there.items()]
    return joined([halves(*charts), *tables] if there else [])


def _label(rows: Sequence[ColdFigures]) -> str:
    """The metric that all of these were measured by."""
    return next(iter(next(iter(rows[0].lists.values()))))


def _cold_chart(run: Run, what: str, rows: Sequence[ColdFigures]) -> Markup:
    label = _label(rows)
    drawn = [Line(name, run.roles.get(name, "lost"), _points(name, label, rows)) for name in rows[0].lists]
    title = f"New {what}: {label} by events known"
    told = "; ".join(point.told for one in drawn for point in one.points)
    axes = Axes(f"events known of new {what}", label)
    return charted(title, words_of(label), lines(title, told, axes, drawn, _steps(rows)))


def _cold_table(run: Run, what: str, rows: Sequence[ColdFigures]) -> Markup:
    label = _label(rows)
    cells = [
        [
            stage(name, run.roles.get(name, "lost")),
            *(figure_text(row.lists[name].get(label, UNMEASURED)) for row in rows),
        ]
        for name in rows[0].lists
    ]
    return table(f"{label} where so many events are known of new {what}", ["list", *_steps(rows)], cells)


def _steps(rows: Sequence[ColdFigures]) -> list[str]:
    return [f"{row.events:,}" for row in rows]


def _points(name: str, label: str, rows: Sequence[ColdFigures]) -> list[Point]:
    return [
        Point(name, at, mean, f"{name}, {row.events:,} events known: {rounded(mean)}")
        for at, row in enumerate(rows)
        if not math.isnan(mean := row.lists[name].get(label, UNMEASURED).mean)
    ]
