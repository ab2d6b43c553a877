"""Caps: at most so many of a kind in one slate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import SORTED_AT_ONCE, AnyArray, Bools, Ints64, frozen, rank_in_row, row_blocks, stable_order
from nbarec.batch import Pool, Request
from nbarec.components import NoState, PostFilter, param
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec.sparse import Csr
from nbarec.tables import TagsColumn
from nbarec_plugins.levels import NO_GROUP, column_named, groups_at


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
        column = column_named(request.catalog, self.by, self.name)
        together = self.missing == "together"
        if isinstance(column, TagsColumn):
            matrix = column.take(pool.item).matrix
            return frozen(np.flatnonzero(_greedy(_with_missing_level(matrix) if together else matrix, pool, self.max)))
        group = groups_at(column, pool.item)
        late = _beyond_first(pool, group, self.max)
        kept = np.ones(len(pool), bool)
        kept[late if together else late[group[late] != NO_GROUP]] = False
        return frozen(np.flatnonzero(kept))


def _beyond_first(pool: Pool, group: AnyArray, limit: int) -> Ints64:
    """Positions of the entries behind the first `limit` of their group in their row: int64. `group` int [N].

    Sorted by row and group, an entry is one of them if that `limit` places before it is of the same row and group.
    """
    bits = int(group.max(initial=NO_GROUP) - NO_GROUP).bit_length()
    late = [np.empty(0, np.int64)]
    for first, last in row_blocks(pool.indptr, SORTED_AT_ONCE):  # a step a block of rows
        block = slice(pool.indptr[first], pool.indptr[last])
        key = pool.row[block].astype(np.int64)
        key -= first
        key <<= bits
        key |= group[block] - NO_GROUP
        order = stable_order(key, bits + (last - first).bit_length())
        key = key.take(order)
        late.append(pool.indptr[first] + order[limit:].compress(key[limit:] == key[:-limit]))
    return np.concatenate(late)


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
