"""Caps: at most so many of a kind in one slate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import AnyArray, Bools, Ints64, frozen, rank_in_row
from nbarec.batch import Pool, Request
from nbarec.components import NoState, PostFilter, param
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec.sparse import Csr
from nbarec.tables import TagsColumn
from nbarec_plugins.levels import NO_GROUP, column_named, groups_of


@dataclass(frozen=True)
class MaxPer(PostFilter[NoState]):
    """At most `max` entries of a kind in each row, as if the slate were filled from the best entry down.

    An entry is kept unless its place is taken: in a column of one value a row, unless `max` better entries with the
    same value (a number or date: exactly the same) are kept. In a multi-valued column an entry counts for each of its
    levels and is dropped if any of them is full; a dropped entry counts for none.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> request = request_for(tiny_world(), [3])
    >>> pool = pool_in_order(request, [[0, 1, 3, 2, 5]])  # by ada, ada, bo, ada, cleo
    >>> MaxPer(by="artist", max=2).select(NoState(), request, pool).tolist()
    [0, 1, 2, 4]
    """

    name: ClassVar[str] = "max_per"

    by: str = param(doc="A column of the catalogue, written `artist` or `item.artist`.")
    max: int = param(ge=1, doc="How many of a kind a row keeps.")
    missing: Literal["allow", "together"] = param(
        "allow", doc="Items without a value: no limit for them, or `together` they are a kind of their own."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn. Raises ConfigError where the catalogue has no such column."""
        column_named(data.full_catalog(), self.by, self.name)
        return NoState()

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        """Positions of the entries that still have a place: int64 [M], in the order of the pool."""
        column = column_named(request.catalog, self.by, self.name).take(pool.item)
        together = self.missing == "together"
        if isinstance(column, TagsColumn):
            levels = _with_missing_level(column.matrix) if together else column.matrix
            kept = _greedy(levels, pool, self.max)
        else:
            group = groups_of(column)
            kept = _first_of_group(pool.row, group, self.max) | ((group == NO_GROUP) & (not together))
        return frozen(np.flatnonzero(kept))


def _first_of_group(row: AnyArray, group: AnyArray, limit: int) -> Bools:
    """Which entries are among the first `limit` of their group in their row: bool [N]."""
    order = np.lexsort((group, row))
    row, group = row[order], group[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (row[1:] != row[:-1]) | (group[1:] != group[:-1])
    bounds = np.append(np.flatnonzero(begins), len(order))
    kept = np.empty(len(order), bool)
    kept[order] = rank_in_row(bounds) <= limit
    return kept


def _with_missing_level(matrix: Csr) -> Csr:
    """The same levels and one more, for the entries that have none."""
    entries, levels = matrix.shape
    bare = np.flatnonzero(matrix.counts == 0)
    row = np.append(matrix.row_of, bare)
    level = np.append(matrix.indices, np.full(len(bare), levels))
    return Csr.from_pairs(row, level, None, (entries, levels + 1))


def _greedy(levels: Csr, pool: Pool, limit: int) -> Bools:
    """Which entries find a place at all their levels, best first: bool [N]. `levels` is (N x levels)."""
    place = rank_in_row(pool.indptr)
    order = np.argsort(place, kind="stable")
    by_place = levels.take_rows(order)
    entry_of = by_place.row_of
    key = pool.row[order][entry_of].astype(np.int64) * levels.shape[1] + by_place.indices
    distinct, cell = np.unique(key, return_inverse=True)
    taken = np.zeros(len(distinct), np.int64)
    kept = np.empty(len(order), bool)
    start = 0
    # Whether an entry is kept depends on all better ones of its row, so this goes place by place, over all rows at
    # once: as many steps as the longest row has entries. Within a step no two pairs share a cell.
    for width in np.bincount(place)[1:].tolist():
        pairs = slice(by_place.indptr[start], by_place.indptr[start + width])
        cells, entry = cell[pairs], entry_of[pairs] - start
        dropped = np.bincount(entry[taken[cells] >= limit], minlength=width) > 0
        kept[order[start : start + width]] = ~dropped
        taken[cells[~dropped[entry]]] += 1
        start += width
    return kept


@hookimpl
def nbarec_post_filters() -> Iterable[type[PostFilter[NoState]]]:
    """The post-filters of this module."""
    return [MaxPer]
