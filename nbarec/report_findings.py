"""What stages tell of what they learnt, in the report of a run: reliability as a chart, the rest as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nbarec.chart_planes import Axes, Point, curve
from nbarec.charts import Mark, bars
from nbarec.markup import Markup, element, joined
from nbarec.report_page import charted, exact, grid, pairs, rounded, stage, table
from nbarec.run_folder import Run

PREDICTED, OBSERVED = "predicted", "observed"
FEWEST_BARS, MOST_BARS = 4, 12
"""Of mappings of fewer numbers a table says as much; of more the largest are shown."""


def findings_section(run: Run) -> Markup:
    """What every stage that tells something learnt; empty where none does."""
    found = run.evaluation.findings if run.evaluation is not None else {}
    return joined(_of_stage(name, told, run.roles.get(name, "rank")) for name, told in found.items())


def _of_stage(name: str, told: Mapping[str, Any], role: str) -> Markup:
    charts, tables = [], []
    facts: dict[str, str] = {}
    for path, value in _flat(told):
        if _is_reliability(value):
            charts.append(_reliability(path, value, role))
        elif _is_bars(value):
            charts.append(_bars(path, value, role))
        elif _is_rows(value):
            tables.append(_rows(path, value))
        else:
            facts[path] = _plain(value)
    listed = [pairs(f"What {name} learnt", facts)] if facts else []
    return joined([element("h3", stage(name, role)), grid(*charts), *listed, *tables])


def _flat(told: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, and mappings of numbers, by where they stand."""
    for name, value in told.items():
        path = f"{within}, {name}" if within else str(name)
        if isinstance(value, Mapping) and value and not _is_bars(value):
            yield from _flat(value, path)
        else:
            yield path, value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) and one for one in value)


def _is_reliability(value: Any) -> bool:
    """Whether these are bins of what was predicted and what was observed, as shares."""
    wanted = (PREDICTED, OBSERVED)
    if not _is_rows(value) or not all(set(wanted) <= set(one) for one in value):
        return False
    return all(_is_number(one[name]) and 0 <= one[name] <= 1 for one in value for name in wanted)


def _is_bars(value: object) -> bool:
    return isinstance(value, Mapping) and len(value) >= FEWEST_BARS and all(map(_is_number, value.values()))


def _reliability(path: str, bins: Sequence[Mapping[str, Any]], role: str) -> Markup:
    """The share observed by the mean predicted of each bin; on the diagonal, predictions can be taken at their word."""
    points = [Point("", float(one[PREDICTED]), float(one[OBSERVED]), _bin_words(one), role) for one in bins]
    told = "; ".join(point.told for point in points)
    most = max((one for point in points for one in (point.x, point.y)), default=0.0) or 1.0
    drawn = curve(path, told, Axes("predicted", "observed"), points, role=role, most=min(1.05 * most, 1.0))
    return charted(path, "On the dashed line, what is predicted is what happens.", drawn)


def _bin_words(one: Mapping[str, Any]) -> str:
    entries = f", {one['entries']:,} entries" if _is_number(one.get("entries")) else ""
    return f"predicted {rounded(one[PREDICTED])}, observed {rounded(one[OBSERVED])}{entries}"


def _bars(path: str, amounts: Mapping[str, Any], role: str) -> Markup:
    largest = sorted(amounts, key=lambda name: -abs(amounts[name]))[:MOST_BARS]
    marks = [
        Mark(str(name), float(amounts[name]), rounded(amounts[name]), f"{name}: {rounded(amounts[name])}", role)
        for name in largest
    ]
    caption = f"The largest {len(marks)} of {len(amounts)}." if len(amounts) > len(marks) else ""
    return charted(path, caption, bars(path, "; ".join(mark.told for mark in marks), marks))


def _rows(path: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
    header = list(dict.fromkeys(str(name) for row in rows for name in row))
    return table(path, header, ([_plain(row.get(name)) for name in header] for row in rows))


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return exact(value, rounded(value))
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in value)
    return f"{value:,}" if _is_number(value) else str(value)
