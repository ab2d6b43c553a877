"""Sessions of events, and which items stand together in them or follow one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, frozen, row_pointers
from nbarec.errors import ConfigError
from nbarec.events import Events
from nbarec.progress import track
from nbarec.sparse import Csr
from nbarec.tables import TagsColumn
from nbarec_plugins.contenders import Strength, Wanted, strongest_met
from nbarec_plugins.levels import groups_of
from nbarec_plugins.row_products import Product
from nbarec_plugins.sparse_rows import SparseRows, sums_at

NONE = -1
"""The session of a row without events."""


def session_numbers(events: Events, gap: float, by: str | None, who: str) -> Ints64:
    """Which session each event is in, rows one after the other: int64 [events].

    A session is a run of a row's events with pauses of at most `gap` seconds (events without times have none), or with
    `by` all of a row's events that have the same value in that column; those without one form a session too. Raises
    ConfigError, speaking for the component `who`, where the events have no such column, or one of many values.
    """
    if by is None:
        begins = np.ones(len(events), bool)
        begins[1:] = (np.diff(events.row) != 0) | (np.diff(events.time) > gap)
        return np.cumsum(begins) - 1
    value = _values(events, by, who) + 1
    key = events.row * (int(value.max(initial=0)) + 1) + value
    return np.asarray(np.unique(key, return_inverse=True)[1].reshape(-1), np.int64)


def _values(events: Events, by: str, who: str) -> Ints64:
    """A whole number an event that is the same where the value is, -1 where it is missing: int64 [events]."""
    name = by.removeprefix("context.")
    column = events.columns.get(name)
    if column is None:
        raise ConfigError(
            f"{who} has `by: {by}`, but the events have no column {name!r}; "
            f"they have: {', '.join(events.columns) or 'none'}"
        )
    if isinstance(column, TagsColumn):
        raise ConfigError(f"{who} has `by: {by}`, but {name!r} has several values an event; use a column with one")
    return groups_of(column).astype(np.int64)


def newest_sessions(events: Events, number: Ints64) -> Ints64:
    """The session of each row's last event, `NONE` for a row without: int64 [rows]."""
    newest = np.full(events.rows, NONE)
    filled = events.counts > 0
    newest[filled] = number[events.indptr[1:][filled] - 1]
    return newest


PAIRS_IN_BLOCK = 1 << 20
"""About how many pairs of events are joined at a time: 8 MB an array."""


@dataclass(frozen=True)
class Links:
    """What leads from items to items: `left` (items x ways) @ `right` (ways x items), `right` holding the weights."""

    left: SparseRows
    right: SparseRows

    def strongest(self, strength: Strength, limit: int) -> SparseRows:
        """The `limit` strongest other items of each item, by a `strength` above 0: (items x items).

        Strengths within 1e-9 of the row's largest are ties and go by item position.
        """
        product = Product(self.left, self.right.strips, (lambda one, weight: one * weight,))
        items = np.arange(self.left.rows)
        shape = self.left.rows, self.right.columns
        themselves = Csr(np.arange(len(items) + 1), items.astype(np.int32), np.ones(len(items), np.float32), shape)
        with track("items of sessions", self.left.rows) as advance:
            return strongest_met(product, strength, Wanted(limit, themselves), advance)

    def totals(self) -> Floats64:
        """The sum of all weights that each item leads to: float64 [items]."""
        reached = sums_at(self.right.row_of, self.right.value, self.right.rows)
        return sums_at(self.left.row_of, reached[self.left.column], self.left.rows)


@dataclass(frozen=True)
class Sessions:
    """Events session by session, in order within each: `item` int32 [events], `session` int64 [events] ascending from
    0 without a gap; there are `n_items` items."""

    item: Ints32
    session: Ints64
    n_items: int

    @classmethod
    def of(cls, events: Events, number: Ints64) -> Sessions:
        """The events by their session `number` int64 [events], as `session_numbers` counts."""
        order = np.argsort(number, kind="stable")
        return cls(frozen(events.item[order]), frozen(number[order]), events.n_items)

    @cached_property
    def _cells(self) -> tuple[Ints64, Ints64]:
        """The distinct pairs session * n_items + item, ascending, and which of them each event is: int64."""
        distinct, cell = np.unique(self.session * self.n_items + self.item, return_inverse=True)
        return distinct, cell.reshape(-1)

    @cached_property
    def incidence(self) -> SparseRows:
        """A 1 where a session has an item: (sessions x items)."""
        row, column = np.divmod(self._cells[0], max(self.n_items, 1))
        indptr = row_pointers(np.bincount(row, minlength=int(self.session.max(initial=NONE)) + 1))
        return SparseRows(indptr, column.astype(np.int32), np.ones(len(column)), self.n_items)

    def together(self, steps: int | None) -> Links:
        """From each item to those in the same session, once a session, with weight 1; with `steps` to those that stand
        at most so many events away, with weight 1 / distance of where they stand closest."""
        if steps is None:
            return Links(self.incidence.transpose(), self.incidence)
        ways = _stacked([part._closest(steps) for part in self._parts(steps)], self.n_items)
        return self._links(self._cells[0] % max(self.n_items, 1), ways)

    def followed(self, steps: int) -> Links:
        """From each item to those that follow it in a session within `steps` events, with weight 1 / distance, as often
        as they do."""
        ways = _stacked([part._every(steps) for part in self._parts(steps)], self.n_items)
        return self._links(self.item, ways)

    def _parts(self, steps: int) -> Iterator[Sessions]:
        """The same, some whole sessions at a time, so that pairs of events are few: what bounds the memory."""
        ends = np.cumsum(np.bincount(self.session))
        first = 0
        while first < len(self.item):  # a step a block of sessions
            wanted = int(np.searchsorted(ends, first + max(PAIRS_IN_BLOCK // steps, 1)))
            last = int(ends[min(wanted, len(ends) - 1)])
            yield Sessions(self.item[first:last], self.session[first:last] - self.session[first], self.n_items)
            first = last

    def _closest(self, steps: int) -> SparseRows:
        """From each cell to the items around it, by 1 / distance of where they stand closest: (cells x items)."""
        first, second, weight = self._pairs(steps)
        distinct, cell = self._cells
        cells, item = np.append(cell[first], cell[second]), np.append(self.item[second], self.item[first])
        return _joined(cells, item, np.append(weight, weight), (len(distinct), self.n_items), np.maximum)

    def _every(self, steps: int) -> SparseRows:
        """From each event to the items behind it, by 1 / distance, as often as they stand there: (events x items)."""
        first, second, weight = self._pairs(steps)
        return _joined(first, self.item[second], weight, (len(self.item), self.n_items), np.add)

    def _links(self, item: Ints64 | Ints32, ways: SparseRows) -> Links:
        """`item` int [ways]: where each way starts."""
        starts = SparseRows(np.arange(len(item) + 1), item.astype(np.int32), np.ones(len(item)), self.n_items)
        return Links(starts.transpose(), ways)

    def _pairs(self, steps: int) -> tuple[Ints64, Ints64, Floats64]:
        """Positions of two events of a session, of different items, and 1 / how many events apart they stand."""
        longest = int(np.bincount(self.session).max(initial=0))
        firsts, distances = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for distance in range(1, min(steps, longest - 1) + 1):  # a step a distance: few, each over all events
            met = (self.session[distance:] == self.session[:-distance]) & (
                self.item[distance:] != self.item[:-distance]
            )
            firsts.append(np.flatnonzero(met))
            distances.append(np.full(len(firsts[-1]), distance))
        first, distance_of = np.concatenate(firsts), np.concatenate(distances)
        return first, first + distance_of, 1.0 / distance_of


def _stacked(parts: list[SparseRows], columns: int) -> SparseRows:
    """The rows of all parts, one after the other."""
    counts = [np.empty(0, np.int64), *(part.counts for part in parts)]
    column = [np.empty(0, np.int32), *(part.column for part in parts)]
    value = [np.empty(0), *(part.value for part in parts)]
    return SparseRows(row_pointers(np.concatenate(counts)), np.concatenate(column), np.concatenate(value), columns)


def _joined(row: Ints64, column: Ints32, value: Floats64, shape: tuple[int, int], join: np.ufunc) -> SparseRows:
    """Rows of (row, column, value) triples in any order; `join` makes one value of those of equal pairs."""
    key = row * shape[1] + column
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.append(np.ones(min(len(key), 1), bool), key[1:] != key[:-1]))
    joined = join.reduceat(value[order], starts) if len(starts) else np.empty(0)
    kept_row, kept_column = np.divmod(key[starts], max(shape[1], 1))
    indptr = row_pointers(np.bincount(kept_row, minlength=shape[0]))
    return SparseRows(indptr, kept_column.astype(np.int32), joined, shape[1])
