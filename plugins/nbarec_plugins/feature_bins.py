"""Feature values in a few hundred bins, a byte each: what histograms of trees are made of.

Numbers are cut at quantiles, values that are not known have a bin of their own, and categories become numbers first:
their places in the order of what was observed with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import AnyArray, Bytes, Floats32, Floats64, Ints32, Ints64, frozen, row_pointers
from nbarec.work import in_shards

MOST_BINS = 255
"""Bins of known values: with the one of unknown values, what a byte can tell."""

UNKNOWN = 0
"""The bin of values that are not known."""

HIGHEST = np.finfo(np.float32).max
"""Infinite values count as this one, so that every cut is finite."""

SHARED = 10_000
"""Rows: with fewer all columns are one worker's."""

SAMPLED = 200_000
"""Quantiles are those of so many values at most: their error is then about a tenth of a bin."""


@dataclass(frozen=True)
class Bins:
    """`edges` float32: where each feature is cut, ascending, one feature after the other; feature f's are
    `edges[starts[f] : starts[f + 1]]`, `starts` int64 [P + 1]. Bin 0 is that of NaN; bin b > 0 has the values x with
    edges[b - 2] < x <= edges[b - 1], the first and the last being open to the outside."""

    edges: Floats32
    starts: Ints64

    @property
    def features(self) -> int:
        """How many features there are."""
        return len(self.starts) - 1

    @property
    def width(self) -> int:
        """The bins of the feature that has most, that of unknown values included."""
        return 2 + int(np.diff(self.starts).max(initial=0))

    def of(self, feature: int) -> Floats32:
        """Where one feature is cut."""
        return self.edges[self.starts[feature] : self.starts[feature + 1]]

    def bins(self, values: Floats32) -> Bytes:
        """The bin of every value: uint8 [P, N], a feature's side by side, of `values` float32 [N, P]."""
        found = np.empty((self.features, len(values)), np.uint8)

        def fill(features: range, _shared: object) -> None:
            for feature in features:  # a step a column; values that are not known come behind all cuts
                found[feature] = np.searchsorted(self.of(feature), values[:, feature])
            some = slice(features.start, features.stop)
            found[some] += 1
            found[some][np.isnan(values.T[some])] = UNKNOWN

        # Of a single request all columns together take less time than to share them out.
        width = max(self.features, 1) if len(values) < SHARED else 1
        for _ in in_shards(fill, [range(at, at + width) for at in range(0, self.features, width)]):
            pass
        return found


def quantile_bins(values: Floats32, most: int, rng: np.random.Generator) -> Bins:
    """At most so many bins for each column of `values` float32 [N, P], with about as many known values in each.

    A column with no more different values than that has a bin for each of them, cut half-way between two; else the cuts
    are its quantiles, those of a sample drawn by `rng` where there are many rows.
    """
    if len(values) > SAMPLED:
        values = values[np.sort(rng.choice(len(values), SAMPLED, replace=False))]

    def cuts(feature: int, _shared: object) -> Floats32:
        column = np.clip(values[:, feature], -HIGHEST, HIGHEST)
        return _cuts(np.sort(column[~np.isnan(column)]), most)

    edges = list(in_shards(cuts, range(values.shape[1])))
    starts = row_pointers(np.array([len(one) for one in edges], np.int64))
    return Bins(frozen(np.concatenate([np.empty(0, np.float32), *edges])), frozen(starts))


def _cuts(ascending: Floats32, most: int) -> Floats32:
    """Where one feature is cut: each cut is between two values that occur, so that no bin is empty."""
    new = np.flatnonzero(ascending[1:] != ascending[:-1]) + 1
    if len(new) >= most:
        # Equal values share a bin: the cut is before the first of those that the quantile falls on.
        quantiles = np.arange(1, most) * len(ascending) // most
        before = np.searchsorted(new, quantiles, side="right") - 1
        new = new[np.unique(before[before >= 0])]
    below, above = ascending[new - 1], ascending[new]
    middle = ((below.astype(np.float64) + above) / 2).astype(np.float32)
    # Between neighbours among the float32, half-way may be rounded up to the upper one, which belongs above the cut.
    return np.where(middle < above, middle, below)


@dataclass(frozen=True)
class CategoryOrder:
    """`place` float32: of each code of each category its place in the order of what was observed with it, NaN for code
    0, unknown, and for a level that nothing was observed with; category c's codes are at `starts[c] : starts[c + 1]`,
    `starts` int64 [C + 1]."""

    place: Floats32
    starts: Ints64

    def numbers(self, codes: Ints32) -> Floats32:
        """Places instead of codes: float32 [N, C], of `codes` int [N, C]."""
        return self.place.take(codes + self.starts[:-1])


def ordered_categories(codes: Ints32, sizes: Sequence[int], label: AnyArray, smooth: float) -> CategoryOrder:
    """Each category's codes in the order of the mean label of their entries, drawn to the mean of all by so many
    entries more of it (`smooth`).

    Of all ways to part the levels of a category in two, the best for one split is a cut of this order (Fisher 1958, "On
    grouping for maximum homogeneity"; Breiman et al. 1984, "Classification and regression trees", theorem 4.5 for two
    classes), so that trees need not try every set of levels. The order is made once, from the labels, not anew in each
    node; `smooth` keeps levels with few entries in the middle, where they tell little (Micci-Barreca 2001), and levels
    without entries have no place. Ties go by code. `codes` int [N, C], 0 being unknown; `label` [N].
    """
    values = label.astype(np.float64)
    mean = float(values.mean()) if len(values) else 0.0
    places = [_places(codes[:, at], size, values, mean, smooth) for at, size in enumerate(sizes)]
    starts = row_pointers(np.array(sizes, np.int64))
    return CategoryOrder(frozen(np.concatenate([np.empty(0, np.float32), *places])), frozen(starts))


def _places(codes: AnyArray, size: int, label: Floats64, mean: float, smooth: float) -> Floats32:
    counts = np.bincount(codes, minlength=size)
    sums = np.bincount(codes, weights=label, minlength=size)
    seen = 1 + np.flatnonzero(counts[1:])
    drawn = (sums[seen] + smooth * mean) / (counts[seen] + smooth)
    places = np.full(size, np.nan, np.float32)
    places[seen[np.argsort(drawn, kind="stable")]] = np.arange(len(seen))
    return places
