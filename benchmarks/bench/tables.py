"""Markdown tables that also read well in a terminal, and numbers in them."""

from __future__ import annotations

import math
from collections.abc import Sequence


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with columns of even width; all but the first are set to the right."""
    widths = [max(3, *(len(row[at]) for row in (header, *rows))) for at in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(_padded(line, widths))} |" for line in lines)


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]


def digits(value: float, count: int = 3) -> str:
    """So many digits that count, without an exponent; `-` where there is no finite number."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    exponent = int(f"{value:.{count - 1}e}".partition("e")[2])  # of the rounded number: 9.999 is 10.0
    places = count - 1 - exponent
    return f"{round(value, places):,.{max(places, 0)}f}"


def megabytes(value: float) -> str:
    """Whole megabytes; `-` where nothing was read."""
    return "-" if math.isnan(value) else f"{value:,.0f}"


def verdict(holds: bool | None) -> str:
    """Whether an ask holds; empty where none was made."""
    return {True: "yes", False: "**no**", None: ""}[holds]
