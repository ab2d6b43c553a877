"""What a comparison of evaluations found, and how it is written: a table for people, plain values for JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nbarec.figures import number
from nbarec.paired import PairedTest

NO_TEST = "no test: not a mean"

SIGNED = "+z.4f"
"""How a difference is shown; what rounds to zero is +0.0000."""

Undefined = tuple[int, int, int]
"""Users whose value is undefined in the first run alone, in the second alone, and in both."""


@dataclass(frozen=True)
class Compared:
    """One metric in two runs: both means over the users for whom both define it, and the `test` of the difference,
    second less first, with its p-values corrected by `holm` (bootstrap, permutation).

    `test` is None for a figure of all users together, such as coverage: `first` and `second` are then the runs' own.
    """

    label: str
    first: float
    second: float
    difference: float
    undefined: Undefined
    test: PairedTest | None = None
    holm: tuple[float, float] = (math.nan, math.nan)

    def cells(self) -> list[str]:
        """Metric, both values, difference, interval and p-values, as texts."""
        values = [_text(self.first), _text(self.second), _text(self.difference, SIGNED)]
        if self.test is None:
            return [self.label, *values, NO_TEST, "", ""]
        low, high = self.test.ci95
        interval = "-" if math.isnan(low) else f"[{low:{SIGNED}}, {high:{SIGNED}}]"
        permutation = f"{_p_text(self.test.permutation)} ({_p_text(self.holm[1])})"
        return [self.label, *values, interval, _p_text(self.test.bootstrap), permutation]

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN becomes None."""
        values = {"first": self.first, "second": self.second, "difference": self.difference}
        plain: dict[str, Any] = {name: number(value) for name, value in values.items()}
        if self.test is None:
            return {**plain, "test": None}
        bootstrap, permutation = self.holm
        p_values = {"bootstrap": self.test.bootstrap, "bootstrap_holm": bootstrap}
        p_values |= {"permutation": self.test.permutation, "permutation_holm": permutation}
        test = {
            "users": self.test.users,
            "undefined_in": dict(zip(("first", "second", "both"), self.undefined, strict=True)),
            "ci95": [number(bound) for bound in self.test.ci95],
            "p": {name: number(value) for name, value in p_values.items()},
        }
        return {**plain, "test": test}


@dataclass(frozen=True)
class Comparison:
    """Two runs, by their `names`: how many `users` are in both and how many `alone` in either, the metrics that both
    have, and `notes` on what to mind; `what` is compared: users, or requests, and those are then counted."""

    names: tuple[str, str]
    users: int
    alone: tuple[int, int]
    metrics: tuple[Compared, ...]
    notes: tuple[str, ...]
    what: str = "users"

    def rows(self) -> list[list[str]]:
        """A header and a line a metric."""
        first, second = self.names
        header = ["metric", first, second, f"{second} - {first}", "95% interval", "p bootstrap", "p permutation (Holm)"]
        return [header, *(metric.cells() for metric in self.metrics)]

    def title(self) -> str:
        """Who is compared on how many users."""
        first, second = self.names
        alone = [f"{count:,} only in {name}" for name, count in zip(self.names, self.alone, strict=True) if count]
        return "; ".join([f"{second} against {first}: {self.users:,} {self.what} in both", *alone])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        first, second = self.names
        users = {"in_both": self.users, "only_in_first": self.alone[0], "only_in_second": self.alone[1]}
        metrics = {metric.label: metric.to_json() for metric in self.metrics}
        return {"first": first, "second": second, self.what: users, "metrics": metrics, "notes": list(self.notes)}


def _text(value: float, form: str = ".4f") -> str:
    return "-" if math.isnan(value) else format(value, form)


def _p_text(value: float) -> str:
    """Four places, or what is left of a smaller one: 0.0312, 2.0e-05."""
    return _text(value, ".4f" if value >= 5e-5 else ".1e")
