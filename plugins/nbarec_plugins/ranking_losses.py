"""What boosting lowers: log loss, and LambdaRank's stand-in for 1 - NDCG. Each gives its derivatives by the margins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64, concat_ranges, rank_in_row, row_blocks, row_pointers
from nbarec.work import in_shards

PAIRS_AT_ONCE = 1 << 16
"""Pairs whose gradients are made together."""

NEAR = 0.01
"""What is added to how far two margins are apart."""

SMALLEST = 1e-300


class Loss(Protocol):
    """Sums of the derivatives of a loss by the margin of each entry."""

    @property
    def tells(self) -> bool:
        """Whether some entries are to stand above others, so that there is something to learn and to judge by."""

    def start(self) -> float:
        """The margin that boosting starts from."""

    def slopes(self, margin: Floats64) -> tuple[Floats64, Floats64]:
        """First and second derivatives, float64 [N] each, the second not negative."""

    def value(self, margin: Floats64) -> float:
        """What is compared on entries kept apart: less is better."""


@dataclass(frozen=True)
class LogLoss:
    """Of `label` float64 [N], 0 or 1, by log-odds m: ln(1 + e^m) - label m."""

    label: Floats64

    @property
    def tells(self) -> bool:
        """Whether there are ones and zeros."""
        return bool((self.label != self.label[:1]).any())

    def start(self) -> float:
        """The log-odds of the share of ones, with half a one and half a zero more so that it is finite."""
        ones = float(self.label.sum())
        return float(np.log((ones + 0.5) / (len(self.label) - ones + 0.5)))

    def slopes(self, margin: Floats64) -> tuple[Floats64, Floats64]:
        """p - label and p (1 - p)."""
        chance = 0.5 + 0.5 * np.tanh(0.5 * margin)
        return chance - self.label, chance * (1.0 - chance)

    def value(self, margin: Floats64) -> float:
        """The mean over entries."""
        return float(np.mean(np.logaddexp(0.0, margin) - self.label * margin))


@dataclass(frozen=True)
class LambdaRank:
    """NDCG@`cut` of groups by LambdaRank (Burges 2010, "From RankNet to LambdaRank to LambdaMART").

    A pair of entries i, j of a group with label_i > label_j and margins s has the loss ln(1 + e^-(s_i - s_j)) times
    how much DCG changes where the two swap places: |gain_i - gain_j| |discount_i - discount_j| / best DCG@cut, with
    gain 2^label - 1 and discount 1 / log2(1 + place). A pair counts where one of the two is among the first `cut` by
    the margins at hand. As in LightGBM (Ke et al. 2017), swaps of pairs with margins far apart count less, by
    1 / (0.01 + |s_i - s_j|) once margins of the group differ, and the sum S of the sizes of a group's gradients becomes
    log2(1 + S), so that groups with many pairs do not outweigh the others. `label` float64 [N]; `group` int64 [N],
    ascending. Groups whose labels are all the same have no pairs.
    """

    label: Floats64
    group: Ints64
    cut: int

    @property
    def tells(self) -> bool:
        """Whether a group has a pair."""
        return len(self._upper) > 0

    def start(self) -> float:
        """Order alone counts."""
        return 0.0

    def slopes(self, margin: Floats64) -> tuple[Floats64, Floats64]:
        """Sums over the pairs of each entry."""
        order, place = self._placed(margin)
        discount = 1.0 / np.log2(1.0 + place)
        met = np.diff(self._ends)[self.group[self._upper]]
        # Others than those at the top meet the top alone.
        met = np.where(place[self._upper] <= self.cut, met, np.minimum(met, self.cut))
        apart = self._of_groups((margin != margin.take(self._ends.take(self.group))).astype(np.float64)) > 0
        sums = np.zeros((3, len(margin)))

        def work(block: tuple[int, int], _shared: object) -> tuple[slice, Floats64]:
            upper, counts = self._upper[slice(*block)], met[slice(*block)]
            lower = order[concat_ranges(self._ends[self.group[upper]], counts)]
            return self._of_pairs(np.repeat(upper, counts), lower, margin, discount, apart)

        for part, found in in_shards(work, row_blocks(row_pointers(met), PAIRS_AT_ONCE)):
            sums[:, part] += found
        size = 2.0 * self._of_groups(sums[2])
        scale = np.where(size > 0, np.log2(1.0 + size) / np.maximum(size, SMALLEST), 1.0)[self.group]
        return sums[0] * scale, sums[1] * scale

    def value(self, margin: Floats64) -> float:
        """1 less the mean NDCG@cut of the groups that have something to find."""
        reached = self._dcg(margin)
        defined = self._best > 0
        return 1.0 - float(np.mean(reached[defined] / self._best[defined])) if defined.any() else 0.0

    def _of_pairs(
        self, upper: Ints64, lower: Ints64, margin: Floats64, discount: Floats64, apart: Bools
    ) -> tuple[slice, Floats64]:
        """What pairs add to the gradients, the hessians and the pulls upwards of the entries of their groups, float64
        [3, n], and where these entries stand."""
        kept = self.label[upper] > self.label[lower]
        upper, lower = upper[kept], lower[kept]
        if not len(upper):
            return slice(0, 0), np.empty((3, 0))
        part = slice(int(self._ends[self.group[upper[0]]]), int(self._ends[self.group[upper[-1]] + 1]))
        swap = np.abs(discount[upper] - discount[lower]) * (self._gain[upper] - self._gain[lower])
        swap /= self._best[self.group[upper]]
        gap = margin[upper] - margin[lower]
        swap /= np.where(apart[self.group[upper]], NEAR + np.abs(gap), 1.0)
        chance = 0.5 - 0.5 * np.tanh(0.5 * gap)
        pull, size = swap * chance, part.stop - part.start
        curve = pull * (1.0 - chance)
        above, below = upper - part.start, lower - part.start
        risen = _sums(above, pull, size)
        hessian = _sums(above, curve, size) + _sums(below, curve, size)
        return part, np.stack([_sums(below, pull, size) - risen, hessian, risen])

    def _placed(self, values: Floats64) -> tuple[Ints64, Ints64]:
        """The entries of each group by values, best first, ties as they stand: int64 [N]; their places from 1 on."""
        order = np.lexsort((-values, self.group))
        place = np.empty(len(order), np.int64)
        place[order] = rank_in_row(self._ends)
        return order, place

    def _dcg(self, values: Floats64) -> Floats64:
        """The DCG@cut of each group in the order of values: float64 [groups]."""
        place = self._placed(values)[1]
        return self._of_groups(np.where(place <= self.cut, self._gain / np.log2(1.0 + place), 0.0))

    def _of_groups(self, values: Floats64) -> Floats64:
        return _sums(self.group, values, len(self._ends) - 1)

    @cached_property
    def _gain(self) -> Floats64:
        return np.exp2(self.label) - 1.0

    @cached_property
    def _ends(self) -> Ints64:
        """Row pointers of groups."""
        return row_pointers(np.bincount(self.group))

    @cached_property
    def _best(self) -> Floats64:
        """The largest DCG@cut of each group."""
        return self._dcg(self.label)

    @cached_property
    def _upper(self) -> Ints64:
        """Entries with more than the least label of their group, ascending: int64."""
        least = np.full(len(self._ends) - 1, np.inf)
        filled = np.flatnonzero(np.diff(self._ends))
        if len(filled):
            least[filled] = np.minimum.reduceat(self.label, self._ends[filled])
        return np.flatnonzero(self.label > least[self.group])


def _sums(key: Ints64, values: Floats64, size: int) -> Floats64:
    return np.bincount(key, weights=values, minlength=size).astype(np.float64, copy=False)
