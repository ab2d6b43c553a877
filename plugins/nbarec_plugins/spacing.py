"""Spacing: no two of a kind in a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64, concat_ranges, frozen
from nbarec.batch import Pool, Request
from nbarec.components import NoState, PostFilter, param
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec.sparse import Csr
from nbarec.tables import Column
from nbarec_plugins.levels import column_named, levels_of
from nbarec_plugins.windows import NEVER, Window, turns, windows_of

NO_ROOM = -1.0
"""The gain of an entry too close to one of its kind, where it may be picked all the same; that of any other is 0."""


@dataclass(frozen=True)
class Spacing(PostFilter[NoState]):
    """Puts at least `gap` others between two entries of a kind: with 1, no artist stands twice in a row.

    Each place is filled with the best entry left that shares no level with the `gap` entries before it. Where there is
    none, the best entry left takes the place, so that nothing is lost and the order gives way as late as it can; with
    `strict` the row ends there instead, and what is left of it is dropped.

    Two entries are of a kind if they have the same value in a column of one value a row (a number or date: exactly the
    same), or share any level in a multi-valued column. Items without a value are free. Only the first `among` entries
    of a row move; the others follow in their old order, or are dropped with `strict`. Entries that a later filter
    drops or moves leave their neighbours as they are: `spacing` belongs behind those filters.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> request = request_for(tiny_world(), [3])
    >>> pool = pool_in_order(request, [[0, 1, 2, 3, 4]])  # by ada, ada, ada, bo, bo
    >>> pool.item[Spacing(by="artist").select(NoState(), request, pool)].tolist()
    [0, 3, 1, 4, 2]
    >>> pool.item[Spacing(by="artist", gap=2, strict=True).select(NoState(), request, pool)].tolist()
    [0, 3]
    """

    name: ClassVar[str] = "spacing"

    by: str = param(doc="A column of the catalogue, written `artist` or `item.artist`.")
    gap: int = param(1, ge=1, doc="How many others stand at least between two of a kind.")
    strict: bool = param(False, doc="End the row where nothing fits, rather than let two of a kind come closer.")
    among: int = param(100, ge=1, doc="How many of the best entries of a row are re-ordered.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn. Raises ConfigError where the catalogue has no such column."""
        column_named(data.full_catalog(), self.by, self.name)
        return NoState()

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        """All positions, or with `strict` those that found a place: int64 [M], in the new order."""
        column = column_named(request.catalog, self.by, self.name)
        order = np.arange(len(pool))
        kept = np.full(len(pool), not self.strict)
        for window in windows_of(pool, np.flatnonzero(np.diff(pool.indptr)), self.among):  # a step a block of rows
            there = window.there
            turn = turns(self._gain(window, column, pool), there, window.width)
            slots = window.at[there]
            order[slots] = window.in_turn(turn)
            placed = (turn < window.width).sum(axis=1)
            kept[slots] |= (np.arange(window.width) < placed[:, None])[there]
        return frozen(order[kept])

    def _gain(self, window: Window, column: Column, pool: Pool) -> _Room:
        levels = levels_of(column.take(window.items(pool)))
        entry = levels.row_of
        key = entry // window.width * levels.shape[1] + levels.indices
        distinct, cell = np.unique(key, return_inverse=True)
        latest = np.full(len(distinct), -self.gap - 1)
        return _Room(window.there, levels, entry, cell, latest, self.gap, NEVER if self.strict else NO_ROOM)


@dataclass
class _Room:
    """Which entries have room at the next place, by when each level of a row was used last.

    `levels` has a row for each of the rows * width places, `entry` int64 [pairs] says which one each of its values
    belongs to, and `cell` int64 [pairs] where its row and level stand in `latest` int64, the step they were used at.
    """

    there: Bools
    levels: Csr
    entry: Ints64
    cell: Ints64
    latest: Ints64
    gap: int
    closer: float
    step: int = 0

    def values(self) -> Floats64:
        """0 where no level was used in the last `gap` places, else `closer`: float64 [rows, width]."""
        gains = np.zeros(self.there.size)
        gains[self.entry[self.latest[self.cell] >= self.step - self.gap]] = self.closer
        return gains.reshape(self.there.shape)

    def add(self, picked: Ints64) -> None:
        """The levels of the picked entries are used now."""
        chosen = np.arange(len(picked)) * self.there.shape[1] + picked
        pairs = concat_ranges(self.levels.indptr[chosen], self.levels.counts[chosen])
        self.latest[self.cell[pairs]] = self.step
        self.step += 1


@hookimpl
def nbarec_post_filters() -> Iterable[type[PostFilter[NoState]]]:
    """The post-filters of this module."""
    return [Spacing]
