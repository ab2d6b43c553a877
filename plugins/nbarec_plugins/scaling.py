"""Numbers on one scale: those of each row, or of each list, by least and largest or by mean and deviation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, Ints32, Ints64, frozen
from nbarec.data import FLOAT32_LIMIT


@dataclass(frozen=True)
class Runs:
    """Numbers in groups that follow each other, such as the scores of each row of a pool.

    `value` float64 [N], finite; `run` int64 [N]: the how-manieth group that is not empty, of R. Per such group its
    number `group` int64, `low` and `high` float64, and whether it is `flat` bool, with all values the same: each [R].
    """

    value: Floats64
    run: Ints64
    group: Ints64
    low: Floats64
    high: Floats64
    flat: Bools

    @classmethod
    def of(cls, group: Ints32 | Ints64, value: Floats64) -> Runs:
        """From the group of each value: int [N], ascending, from 0."""
        begins = np.diff(group, prepend=-1) > 0
        starts, run = np.flatnonzero(begins), np.cumsum(begins) - 1
        low, high = np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
        return cls(value, run, group[starts].astype(np.int64), low, high, low == high)

    def means(self, values: Floats64) -> Floats64:
        """The mean of `values` float64 [N] in each group, added up in their order: float64 [R]."""
        groups = len(self.group)
        return np.bincount(self.run, weights=values, minlength=groups) / np.bincount(self.run, minlength=groups)

    def min_max(self, flat: float) -> Floats64:
        """(value - low) / (high - low) in each group, `flat` in a flat one: float64 [N]."""
        span = np.where(self.flat, 1.0, self.high - self.low)[self.run]
        return np.where(self.flat[self.run], flat, (self.value - self.low[self.run]) / span)

    @cached_property
    def moments(self) -> tuple[Floats64, Floats64]:
        """Mean and deviation of each group, the population's, float64 [R] each; the deviation is 1 where it is none.

        Both are added up in the order of the values: who wants the same bits in any order sorts them first.
        """
        mean = self.means(self.value)
        deviation = np.sqrt(self.means((self.value - mean[self.run]) ** 2))
        # Equal values are compared, not subtracted: their mean may differ from them by a rounding error. And a spread
        # below 1e-154 has a square that is 0.
        return mean, np.where(self.flat | (deviation == 0), 1.0, deviation)

    def standardised(self, flat: float) -> Floats64:
        """(value - mean) / deviation in each group, `flat` in a flat one: float64 [N]."""
        mean, deviation = self.moments
        return np.where(self.flat[self.run], flat, (self.value - mean[self.run]) / deviation[self.run])


def min_max_in_rows(row: Ints32 | Ints64, value: Floats32 | Floats64, *, flat: float) -> Floats64:
    """(value - min) / (max - min) in each row, `flat` in a row with all values the same: float64 [N].

    `row` int [N], ascending; `value` [N], finite.
    """
    return Runs.of(row, value.astype(np.float64)).min_max(flat)


def as_scores(values: Floats64) -> Floats32:
    """What a ranker returns: float32 [N], read-only; beyond float32's range a number is the range's end."""
    return frozen(np.clip(values, -FLOAT32_LIMIT, FLOAT32_LIMIT).astype(np.float32))


def two_terms(first: str, value: Floats64, second: str, total: Floats64) -> Mapping[str, Floats64]:
    """`as_scores(total)` as two terms: `value` float64 [N], and what is left of it, [N]."""
    return {first: frozen(value), second: frozen(np.clip(total, -FLOAT32_LIMIT, FLOAT32_LIMIT) - value)}
