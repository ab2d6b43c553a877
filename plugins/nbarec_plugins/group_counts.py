"""How often each row's history has the groups that the items of its entries belong to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64
from nbarec.batch import Pool
from nbarec.events import Events
from nbarec_plugins.event_features import latest_of
from nbarec_plugins.item_groups import Cells, ItemGroups, Members


@dataclass(frozen=True)
class GroupCounts:
    """Counts of M pairs of an entry and a level of its item: `wanted` says which, `row` int64 [M] is the entry's row,
    `at` int64 [M] where it counts. `had` are the levels of the history's events; `grouped` bool [events] those that
    have any."""

    past: Events
    had: Members
    grouped: Bools
    cells: Cells
    wanted: Members
    row: Ints64
    at: Ints64

    @classmethod
    def of(cls, groups: ItemGroups, past: Events, pool: Pool) -> GroupCounts:
        """`past` has the rows of the pool."""
        had, wanted = groups.members(past.item), groups.members(pool.item)
        row = pool.row.take(wanted.entry).astype(np.int64)
        cells = Cells.of(past.row.take(had.entry), had.level, past.rows, groups.levels, len(row))
        grouped = np.zeros(len(past), bool)
        grouped[had.entry] = True
        return cls(past, had, grouped, cells, wanted, row, cells.find(row, wanted.level))

    def events(self, marked: Bools | None = None) -> Floats64:
        """How many events of the entry's row have the level, of all or of those that are marked: float64 [M].

        `marked` bool [events].
        """
        if marked is None or marked.all():
            return self._all
        return self.cells.counts_where(marked.take(self.had.entry)).take(self.at)

    @cached_property
    def _all(self) -> Floats64:
        return self.cells.counts().take(self.at)

    def totals(self, marked: Bools | None = None) -> Ints64:
        """How many events of the entry's row have any level, of those that are marked: int64 [M]."""
        counted = self.grouped if marked is None else self.grouped & marked
        return np.bincount(self.past.row[counted], minlength=self.past.rows).take(self.row)

    def latest(self) -> Ints64:
        """When the last event of the row with the level happened, 0 where there is none: int64 [M]."""
        moment = self.past.time.take(self.had.entry)
        return latest_of(self.cells.cell, moment, self.cells.places).take(self.at)
