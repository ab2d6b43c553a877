"""The fields of a factorisation machine: which levels are active in the entries of a frame, and with what values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from nbarec.arrays import Bytes, Floats32, Floats64, Ints32, Ints64, frozen, row_pointers
from nbarec_plugins.factorisation_machines import Active
from nbarec_plugins.feature_bins import HIGHEST, Bins, quantile_bins

Numbers = Literal["bins", "values", "both"]

FARTHEST = 5.0
"""Deviations from the mean beyond which a standardised value counts as this one."""

MOST_COUNTED = 64
"""Cuts of a column up to which those below a value are counted."""

TOGETHER = 512
"""Entries whose cuts are counted together: they stay in the cache."""


@dataclass(frozen=True)
class Fields:
    """A field for each category, whose levels are its codes; one for each number's `bins`, of which the first is that
    of unknown values; and one for each number's standardised value, whose two levels are `unknown` (value 1) and
    `known` (the value). `numbers` says which of the last two there are.

    `starts` int64 [F + 1]: field f has the levels from starts[f] to starts[f + 1]. `names` are those of the features
    that fields are of. `mean` and `scale` float64 [P] standardise numbers.
    """

    names: tuple[str, ...]
    starts: Ints64
    numbers: Numbers
    bins: Bins
    mean: Floats64
    scale: Floats64

    @classmethod
    def of(
        cls,
        categories: Sequence[str],
        sizes: Sequence[int],
        columns: Sequence[str],
        values: Floats32,
        numbers: Numbers,
        bins: int,
        rng: np.random.Generator,
    ) -> Fields:
        """Of `categories` with so many codes each, and number `columns` with `values` float32 [N, P], NaN where one is
        unknown, cut into `bins`."""
        cut = quantile_bins(_thinned(values, bins), bins, rng)
        mean, scale = _moments(values)
        binned = [2 + len(cut.of(at)) for at in range(len(columns))] if numbers != "values" else []
        valued = [2] * len(columns) if numbers != "bins" else []
        names = (*categories, *(columns if binned else ()), *(columns if valued else ()))
        starts = row_pointers(np.array([*sizes, *binned, *valued], np.int64))
        return cls(names, frozen(starts), numbers, cut, frozen(mean), frozen(scale))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def levels(self) -> int:
        """How many levels all fields have together."""
        return int(self.starts[-1])

    def active(self, numbers: Floats32, codes: Ints32) -> Active:
        """The levels of entries with `numbers` float32 [N, P] and `codes` int [N, C]."""
        entries, categories = len(codes), codes.shape[1]
        level = np.empty((len(self), entries), np.int32)
        value = np.ones((len(self), entries), np.float32)
        level[:categories] = codes.T
        first = categories
        if self.numbers != "values":
            width = numbers.shape[1]
            level[first : first + width] = self._binned(numbers)
            first += width
        if self.numbers != "bins":
            known = ~np.isnan(numbers.T)
            level[first:] = known
            value[first:][known] = self._standardised(numbers)[known]
        level += self.starts[:-1, None].astype(np.int32)
        return Active(frozen(level), frozen(value))

    def _binned(self, numbers: Floats32) -> Bytes:
        """What `Bins.bins` gives: uint8 [P, N]. Where there are few cuts, to count those below each value takes less
        time than to search for it, as all columns are compared with a cut at once."""
        if len(self._cuts) > MOST_COUNTED:
            return self.bins.bins(numbers)
        values, found = numbers.T, np.empty(numbers.T.shape, np.uint8)
        for start in range(0, len(numbers), TOGETHER):  # a step a block
            some, counted = values[:, start : start + TOGETHER], found[:, start : start + TOGETHER]
            counted[:] = some == some  # unknown values are not above any cut, and have the bin before all others
            for cut in self._cuts:  # a step a cut of each column
                counted += (some > cut[:, None]).view(np.uint8)
        return found

    @cached_property
    def _cuts(self) -> Floats32:
        """The cuts of each column: float32 [most, P], infinity where one has fewer."""
        cuts = np.full((self.bins.width - 2, self.bins.features), np.inf, np.float32)
        for column in range(self.bins.features):  # a step a column
            own = self.bins.of(column)
            cuts[: len(own), column] = own
        return frozen(cuts)

    def _standardised(self, numbers: Floats32) -> Floats32:
        """(x - mean) / scale, at most `FARTHEST` from 0: float32 [P, N]."""
        height = (numbers.T.astype(np.float64) - self.mean[:, None]) / self.scale[:, None]
        return np.clip(height, -FARTHEST, FARTHEST).astype(np.float32)


def _thinned(values: Floats32, bins: int) -> Floats32:
    """`values` float32 [N, P] with most repeats of a frequent value taken out (NaN), so that one that would fill a bin
    by itself gets one, and the others share the rest evenly: a count that is 0 nearly always has bins to tell 1 from
    100 (greedy binning, as in LightGBM: Ke et al. 2017)."""
    thinned = values.copy()
    for column in range(
        values.shape[1]
    ):  # a step a column, and one a frequent value, of which there are at most `bins`
        distinct, counts = np.unique(values[:, column], return_counts=True)
        counts = counts[~np.isnan(distinct)]
        frequent = np.flatnonzero(counts * bins > counts.sum())
        rest = int(counts.sum() - counts[frequent].sum())
        most = max(rest // max(bins - len(frequent), 1), 1)
        for value in distinct[frequent]:
            thinned[np.flatnonzero(values[:, column] == value)[most:], column] = np.nan
    return thinned


def _moments(values: Floats32) -> tuple[Floats64, Floats64]:
    """Mean and deviation of the known values of each column, float64 [P]; 0 and 1 where there is nothing to tell."""
    exact = np.clip(values.astype(np.float64), -HIGHEST, HIGHEST)
    known = ~np.isnan(exact)
    counts = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, exact, 0.0).sum(axis=0) / counts
    spread = np.sqrt((np.where(known, exact - mean, 0.0) ** 2).sum(axis=0) / counts)
    return mean, np.where(spread > 0, spread, 1.0)
