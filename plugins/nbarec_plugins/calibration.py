"""Calibration: how far the kinds of a slate are from the kinds of the history (Steck 2018)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, frozen, row_pointers
from nbarec.batch import Slate
from nbarec.components import Metric
from nbarec.data import Dataset
from nbarec.events import Events
from nbarec.hookspecs import hookimpl
from nbarec.sparse import Csr
from nbarec.tables import CategoryColumn, Table, TagsColumn
from nbarec_plugins.attributes import usable_columns
from nbarec_plugins.levels import levels_of
from nbarec_plugins.sparse_rows import SparseRows, sums_at

ALPHA = 0.01
"""What q is mixed with of p, so that a level that the slate lacks costs much but not infinitely much (Steck 2018)."""

LARGEST = math.log(1 / ALPHA)
"""The divergence of a slate that has nothing of the history's levels: the largest there is, 4.6 nats."""

ROWS_IN_BLOCK = 1 << 10
"""Users whose histories are spread over levels at a time, which bounds the memory."""

GENRE = ("genre", "genres")


@dataclass(frozen=True)
class Miscalibration(Metric):
    """KL(p || q~) = sum over g of p(g) ln(p(g) / q~(g)), in nats: how much the levels of the history are missing from
    the slate (Steck 2018, "Calibrated recommendations"). 0 is perfect; a slate that has none of the history's levels
    has ln(1 / alpha) = 4.6, the largest value.

    p is the weighted mean of p(g|i) over the items i of the user's training history with positive weight, q the plain
    mean over the items of the slate, and q~ = (1 - alpha) q + alpha p with alpha = 0.01. p(g|i) spreads 1 evenly over
    the levels of item i; items without a level are left out. Undefined without such an item in the history or in the
    slate.

    The levels are those of one column of the catalogue: the one named genre or genres, if it is categorical or
    multi-valued; without it the first multi-valued column, else the first categorical one, in which two items share a
    level. Columns named id, name or title don't count. Undefined for all where there is no such column.
    """

    name: ClassVar[str] = "miscalibration"
    bounds: ClassVar[tuple[float, float]] = (0.0, LARGEST)

    def per_user(self, slate: Slate, truth: Csr, data: Dataset) -> Floats64:
        """The divergence of each slate: float64 [B]."""
        column = _column_of_kinds(data.catalog)
        values = np.full(len(slate), np.nan)
        if column is None:
            return values
        at = data.users.index(slate.users)
        # A step a block of users, which bounds the memory.
        for start in range(0, len(values), ROWS_IN_BLOCK):
            rows = slice(start, start + ROWS_IN_BLOCK)
            taste = mean_shares(liked_items(data.events.take_rows(at[rows])), column)
            values[rows] = divergence(taste, mean_shares(_shown_items(slate.item[rows], len(data.items)), column))
        return values


def level_shares(column: CategoryColumn | TagsColumn) -> SparseRows:
    """p(g|i): each row's mass of 1, spread evenly over its levels; nothing in a row without a level."""
    levels = levels_of(column)
    value = (1 / np.maximum(levels.counts, 1))[levels.row_of]
    return SparseRows(levels.indptr, levels.indices, frozen(value), levels.shape[1])


def liked_items(history: Events) -> SparseRows:
    """The items of positive weight in each row of a history, with that weight, repeated events combined."""
    weight = history.pair_weights()
    return SparseRows.from_csr(history.matrix(), weight > 0, weight)


def mean_shares(items: SparseRows, column: CategoryColumn | TagsColumn) -> SparseRows:
    """p(g|u), q(g): the mean of the level shares of each row's items, weighted by their values: (rows x levels).

    Items without a level are left out of the mean; a row that has no other is empty. Each share is added up in the
    order of the row's items, so it depends on that row alone.
    """
    shares = level_shares(column.take(items.column))
    weight = np.where(shares.counts > 0, items.value, 0.0)
    total = sums_at(items.row_of, weight, items.rows)
    item = shares.row_of
    row = items.row_of[item]
    key, cell = np.unique(row * shares.columns + shares.column, return_inverse=True)
    added = sums_at(cell, shares.value * weight[item], len(key))
    found_row, level = np.divmod(key, max(shares.columns, 1))
    indptr = row_pointers(np.bincount(found_row, minlength=items.rows))
    return SparseRows(frozen(indptr), frozen(level.astype(np.int32)), frozen(added / total[found_row]), shares.columns)


def where_stored(matrix: SparseRows, row: Ints64, column: Ints32) -> Ints64:
    """Where each (row, column) pair stands among the entries of `matrix`, -1 where it is not stored: int64 [pairs]."""
    if not len(matrix.column):
        return np.full(len(row), -1)
    stored = matrix.row_of * matrix.columns + matrix.column
    wanted = row * matrix.columns + column
    at = np.minimum(np.searchsorted(stored, wanted), len(stored) - 1)
    return np.where(stored[at] == wanted, at, -1)


def divergence(taste: SparseRows, shown: SparseRows) -> Floats64:
    """KL(p || q~) of each row, p in `taste` and q in `shown`, (rows x levels) both: float64 [rows] from 0 to
    `LARGEST`, NaN where p or q is empty."""
    row, p = taste.row_of, taste.value
    at = where_stored(shown, row, taste.column)
    q = np.append(shown.value, 0.0)[at]  # the last is that of a pair that is not stored, -1
    terms = p * np.log(p / ((1 - ALPHA) * q + ALPHA * p))
    summed = np.clip(sums_at(row, terms, taste.rows), 0.0, LARGEST)  # rounding alone leaves the range
    return np.where((taste.counts > 0) & (shown.counts > 0), summed, np.nan)


def _shown_items(item: Ints32, n_items: int) -> SparseRows:
    """The filled places of slates, int32 [rows, k], with weight 1 each."""
    filled = item >= 0
    indptr = row_pointers(filled.sum(axis=1))
    return SparseRows(indptr, item[filled], np.ones(indptr[-1]), n_items)


def _column_of_kinds(catalog: Table) -> CategoryColumn | TagsColumn | None:
    """The column that `Miscalibration` compares slates and histories by."""
    named = [catalog.columns[name] for name in GENRE if name in catalog.columns]
    usable = [catalog.columns[name] for name in usable_columns(catalog)]
    many = [column for column in usable if isinstance(column, TagsColumn)]
    for column in (*named, *many, *usable):
        if isinstance(column, CategoryColumn | TagsColumn):
            return column
    return None


@hookimpl
def nbarec_metrics() -> Iterable[type[Metric]]:
    """The metrics of this module."""
    return [Miscalibration]
