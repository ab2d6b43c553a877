"""Groups of items, such as artists: the levels of a column of the catalogue as they were at the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import AnyArray, Floats64, Ints32, Ints64, frozen
from nbarec.errors import ConfigError
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn, Column, Table, TagsColumn
from nbarec_plugins.attributes import numbers_of
from nbarec_plugins.feature_columns import ratio
from nbarec_plugins.sparse_rows import sums_at

NONE = -1
"""The level of an item without one."""

RANGES = 10
"""Into how many ranges, of about as many items each, numbers and dates are cut."""

SPARSE = 4
"""How many times as long as its use a line of places may be: sorting takes longer than to pass over so many."""


@dataclass(frozen=True)
class Members:
    """The levels of N things: thing `entry` int64 [M], ascending, has `level` int64 [M]; `several`: one may have more
    than one."""

    entry: Ints64
    level: Ints64
    size: int
    several: bool

    def mean(self, values: Floats64) -> Floats64:
        """The mean over each thing's levels of `values` float64 [M], NaN where it has none: float64 [N].

        Values that are NaN are left out.
        """
        if not self.several:
            return self._spread(values)
        known = ~np.isnan(values)
        entry = self.entry[known]
        count = np.bincount(entry, minlength=self.size)
        total = sums_at(entry, values[known], self.size)
        return ratio(total, count)

    def least(self, values: Floats64) -> Floats64:
        """The least value over each thing's levels, NaN where it has none that is known: float64 [N]."""
        if not self.several:
            return self._spread(values)
        least = np.full(self.size, np.inf)
        np.fmin.at(least, self.entry, values)
        return np.where(np.isinf(least), np.nan, least)

    def most(self, values: Floats64) -> Floats64:
        """The largest value over each thing's levels, NaN where it has none that is known: float64 [N]."""
        return -self.least(-values)

    def _spread(self, values: Floats64) -> Floats64:
        if len(values) == self.size:
            return values
        spread = np.full(self.size, np.nan)
        spread[self.entry] = values
        return spread


@dataclass(frozen=True)
class ItemGroups:
    """The levels of items: `one` int32 [items], `NONE` for an item without, or `many` (items x levels) where an item
    may have several."""

    one: Ints32
    many: Csr | None
    levels: int

    @classmethod
    def of(cls, column: Column) -> ItemGroups:
        """Categories and tags as they are; numbers and dates cut into `RANGES` ranges of about as many items each."""
        if isinstance(column, TagsColumn):
            return cls(np.empty(0, np.int32), column.matrix, column.matrix.shape[1])
        if isinstance(column, CategoryColumn):
            return cls(column.codes, None, len(column.levels))
        values = numbers_of(column)
        known = ~np.isnan(values)
        cuts = np.unique(np.quantile(values[known], np.arange(1, RANGES) / RANGES)) if known.any() else np.empty(0)
        level = np.where(known, np.searchsorted(cuts, values, side="right"), NONE)
        return cls(frozen(level.astype(np.int32)), None, len(cuts) + 1)

    @classmethod
    def themselves(cls, items: int) -> ItemGroups:
        """Each item is a group of its own."""
        return cls(frozen(np.arange(items, dtype=np.int32)), None, items)

    def members(self, item: AnyArray) -> Members:
        """The levels of the items at positions int [N]; those that came after the fit have none."""
        if self.many is not None:
            taken = self.many.take_rows(np.where(item < self.many.shape[0], item, NONE))
            return Members(taken.row_of, taken.indices.astype(np.int64), len(item), several=True)
        level = self.one.take(item, mode="clip") if len(self.one) else np.full(len(item), NONE)
        known = (level != NONE) & (item < len(self.one))
        entry = np.flatnonzero(known)
        return Members(entry, level[entry].astype(np.int64), len(item), several=False)


def groups_named(catalog: Table, names: tuple[str, ...], who: str) -> Mapping[str, ItemGroups]:
    """The groups of each column, written `artist` or `item.artist`.

    Raises ConfigError, speaking for the component `who`, where the catalogue has no such column.
    """
    found = {}
    for name in names:
        column = catalog.columns.get(name.removeprefix("item."))
        if column is None:
            raise ConfigError(
                f"{who}: `by` names {name!r}, which the items have no column for; they have "
                f"{', '.join(catalog.columns) or 'none'}: name one of these, or give data.items a file with it"
            )
        found[name] = ItemGroups.of(column)
    return found


@dataclass(frozen=True)
class Cells:
    """Distinct pairs of a row and a level, to count in: `cell` int64 [M] is where each given pair counts, one of
    `places`, of which the last is that of all pairs that were never given. `key` int64 [places - 1] holds the pairs,
    ascending, as row * levels + level; None: every pair has a place.

    A line of all places takes no sort, so it is used wherever it is not much longer than what is counted and asked.
    """

    cell: Ints64
    places: int
    levels: int
    key: Ints64 | None

    @classmethod
    def of(cls, row: Ints64, level: Ints64, rows: int, levels: int, asked: int) -> Cells:
        """From the pairs that are given; about so many will be `asked` for."""
        pair = row * levels + level
        if rows * levels <= SPARSE * (len(pair) + asked):
            return cls(pair, rows * levels + 1, levels, None)
        key, cell = np.unique(pair, return_inverse=True)
        return cls(cell.reshape(-1), len(key) + 1, levels, key)

    def counts(self) -> Floats64:
        """How often each pair was given: float64 [places]."""
        return np.bincount(self.cell, minlength=self.places).astype(np.float64)

    def counts_where(self, marked: AnyArray) -> Floats64:
        """How often it was, among those that `marked` bool [M] holds: float64 [places]."""
        return sums_at(self.cell, marked, self.places)

    def find(self, row: Ints64, level: Ints64) -> Ints64:
        """The place of each pair: int64 [N]."""
        pair = row * self.levels + level
        if self.key is None:
            return pair
        at = np.searchsorted(self.key, pair)
        same = np.append(self.key, -1).take(at) == pair
        return np.where(same, at, self.places - 1)
