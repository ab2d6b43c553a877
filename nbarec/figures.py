"""Figures: what one metric says of one list, for all users and for each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbarec.arrays import Floats64
from nbarec.statistics import Interval


@dataclass(frozen=True)
class Figure:
    """One metric of one list: its value for all users, a 95% interval, how many `users` it is defined for and how
    many evaluated users it is `undefined` for. NaN stands for undefined, as an interval is of a single user."""

    mean: float
    ci95: Interval
    users: int
    undefined: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        interval = [number(bound) for bound in self.ci95]
        return {"mean": number(self.mean), "ci95": interval, "users": self.users, "undefined": self.undefined}

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "-"
        low, high = self.ci95
        return f"{self.mean:.4f}" if math.isnan(low) else f"{self.mean:.4f} ±{(high - low) / 2:.3f}"


@dataclass(frozen=True)
class Report:
    """One list, measured: `figures` by `name@k`, the `values` of each user, float64 [users], NaN undefined, and how
    many `seconds` it took to make it (of a stage's own list: the whole slates that it was part of)."""

    figures: Mapping[str, Figure]
    values: Mapping[str, Floats64]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain values: the figures by `name@k`."""
        return {label: figure.to_json() for label, figure in self.figures.items()}

    def row(self) -> list[str]:
        """The figures as a table shows them."""
        return [str(figure) for figure in self.figures.values()]


def number(value: float) -> float | None:
    """A number as JSON has it: None for NaN."""
    return None if math.isnan(value) else value
