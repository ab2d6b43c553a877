"""Lifts: how much more likely a group of items is in one level of the context than in all, from counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nbarec.arrays import AnyArray, Floats64, Ints64, frozen
from nbarec.sparse import Csr
from nbarec_plugins.item_groups import ItemGroups

DENSE = 1 << 22
"""How many cells a table may have to be looked up in a line of all of them: 32 MB."""


def log_lift(both: AnyArray, group: AnyArray, level: AnyArray, total: AnyArray | int, prior: float) -> Floats64:
    """ln((n + prior) / (e + prior)) of n events that are of both: float64 [N], NaN where either has no events.

    e = group level / total would be n if neither knew of the other. It is the logarithm of the posterior mean of the
    relative rate under a gamma prior of mean 1 (DuMouchel 1999, "Bayesian data mining in large frequency tables", of
    which this is the form with one component): what few events say is drawn towards 0.
    """
    product = np.asarray(group, np.float64) * level
    known = product > 0
    expected = np.divide(product, total, out=np.zeros(product.shape), where=known)
    return np.where(known, np.log((both + prior) / (expected + prior)), np.nan)


@dataclass(frozen=True)
class Lifts:
    """Events by level of the context and by group of items: `both` (levels x groups) counts both, `group` int64
    [groups], `level` int64 [levels] and `total` the events of which both are known."""

    both: Csr
    group: Ints64
    level: Ints64
    total: int

    @classmethod
    def of(cls, code: Ints64, levels: int, item: AnyArray, groups: ItemGroups) -> Lifts:
        """From the level and the item of each event, int [events] both."""
        had = groups.members(item)
        grouped = np.zeros(len(code), bool)
        grouped[had.entry] = True
        return cls(
            both=Csr.from_pairs(code[had.entry], had.level, None, (levels, groups.levels)),
            group=frozen(np.bincount(had.level, minlength=groups.levels)),
            level=frozen(np.bincount(code[grouped], minlength=levels)),
            total=int(grouped.sum()),
        )

    def at(self, code: Ints64, group: Ints64, prior: float) -> Floats64:
        """The log lift of each pair of a level, `NONE` if unknown, and a group: float64 [N], NaN where unknown."""
        if 0 < self.both.shape[0] * self.both.shape[1] <= DENSE:
            # `NONE`, -1, counts from the end: there stands what is unknown.
            return self._table(prior).take(code * self.both.shape[1] + group)
        level = np.append(self.level, 0).take(code, mode="wrap")
        return log_lift(self._both_at(code, group), self.group.take(group), level, self.total, prior)

    def _both_at(self, code: Ints64, group: Ints64) -> AnyArray:
        cell = np.maximum(code, 0) * self.both.shape[1] + group
        at = np.searchsorted(self._cells, cell)
        same = np.append(self._cells, -1).take(at) == cell
        return np.where(same, np.append(self.both.data, np.float32(0)).take(at), 0)

    def _table(self, prior: float) -> Floats64:
        """The lifts of all pairs, and of no level with each group, in a line: made once."""
        if prior not in self._tables:
            known = log_lift(self.both.to_dense(), self.group, self.level[:, None], self.total, prior)
            self._tables[prior] = np.append(known, np.full(len(self.group), np.nan))
        return self._tables[prior]

    @cached_property
    def _tables(self) -> dict[float, Floats64]:
        """What `_table` has made, by prior."""
        return {}

    @cached_property
    def _cells(self) -> Ints64:
        """level * groups + group of every count, ascending."""
        return self.both.row_of * self.both.shape[1] + self.both.indices
