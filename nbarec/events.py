"""Events: what users did with items, a row a user, in the order of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints16, Ints32, Ints64, concat_ranges, frozen, row_pointers, rows_of
from nbarec.params import check_params, param
from nbarec.sparse import Csr, SortedPairs
from nbarec.tables import Column

By = Literal["sum", "mean", "max", "last"]
"""What one weight is made of where a pair has several."""


@dataclass(frozen=True)
class Combine:
    """How repeated events of one user and item become one weight."""

    by: By = param("sum", doc="What to take of a pair's weights.")
    max: float | None = param(None, gt=0, doc="Cap on the size of the combined weight.")

    def __post_init__(self) -> None:
        check_params(self)


@dataclass(frozen=True)
class Events:
    """A row a user; within a row by time, events of one moment in the order they came in.

    `indptr` int64 [rows + 1]; per event `item` int32, `weight` float32 (negative: a dislike), `value` float32
    (the user's own number: a rating, a play count), `time` int64 (seconds since 1970 UTC; 0 where the data have
    no time), `kind` int16 (position in `kinds`, -1: none), further `columns`.
    """

    indptr: Ints64
    item: Ints32
    weight: Floats32
    value: Floats32
    time: Ints64
    kind: Ints16
    kinds: tuple[str, ...]
    columns: Mapping[str, Column]
    n_items: int
    combine: Combine = field(default_factory=Combine)

    @classmethod
    def empty(cls, rows: int, n_items: int) -> Events:
        """Rows without an event."""
        return cls(
            indptr=np.zeros(rows + 1, np.int64),
            item=np.empty(0, np.int32),
            weight=np.empty(0, np.float32),
            value=np.empty(0, np.float32),
            time=np.empty(0, np.int64),
            kind=np.empty(0, np.int16),
            kinds=(),
            columns={},
            n_items=n_items,
        )

    def __len__(self) -> int:
        return len(self.item)

    @property
    def rows(self) -> int:
        """How many rows (users) there are."""
        return len(self.indptr) - 1

    @property
    def counts(self) -> Ints64:
        """Events of each row: int64 [rows]."""
        return np.diff(self.indptr)

    @cached_property
    def row(self) -> Ints64:
        """The row of every event: int64 [events]."""
        return frozen(rows_of(self.indptr))

    def at(self, positions: np.ndarray, indptr: Ints64) -> Events:
        """The events at these positions, under new row pointers."""
        return replace(
            self,
            indptr=frozen(indptr),
            item=frozen(self.item.take(positions)),
            weight=frozen(self.weight.take(positions)),
            value=frozen(self.value.take(positions)),
            time=frozen(self.time.take(positions)),
            kind=frozen(self.kind.take(positions)),
            columns={name: column.take(positions) for name, column in self.columns.items()},
        )

    def where(self, mask: np.ndarray) -> Events:
        """The events where `mask` bool [events] holds; the rows stay."""
        if mask.all():
            return self
        return self.at(np.flatnonzero(mask), row_pointers(np.bincount(self.row[mask], minlength=self.rows)))

    def take_rows(self, rows: np.ndarray) -> Events:
        """The given rows in that order; -1 gives a row without events."""
        rows = np.asarray(rows, np.int64)
        starts, counts = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        known = rows >= 0
        starts[known], counts[known] = self.indptr[rows[known]], self.counts[rows[known]]
        return self.at(concat_ranges(starts, counts), row_pointers(counts))

    def matrix(self) -> Csr:
        """One weight a pair of row and item, repeated events combined: (rows, n_items), cached."""
        return self._pairs[0]

    def pair_weights(self) -> Floats64:
        """The weights of `matrix()` before they are rounded to float32 (a mean of 2/3, say): float64 [nnz], read-only.

        Where they are all the same, one number stands for all: a view of it, which takes no memory.
        """
        matrix, unrounded = self._pairs
        if unrounded is not None:
            return unrounded
        if matrix.nnz and matrix.data.min() == matrix.data.max():
            return np.broadcast_to(matrix.data[:1].astype(np.float64), matrix.nnz)
        return frozen(matrix.data.astype(np.float64))

    @cached_property
    def _pairs(self) -> tuple[Csr, Floats64 | None]:
        """The matrix, and its weights in float64 where float32 does not hold them."""
        alike = bool((self.weight == 1).all())  # they need only be counted: which stands where need not be known
        pairs = SortedPairs.of(rows_of(self.indptr), self.item, (self.rows, self.n_items), in_order=not alike)
        weights = _counted(pairs, self.combine.by) if alike else _combined(self.weight, pairs, self.combine.by)
        if (most := self.combine.max) is not None:
            weights = np.clip(weights, -most, most)
        rounded = weights.astype(np.float32)
        return pairs.matrix(rounded), None if (rounded == weights).all() else frozen(weights)


def _counted(pairs: SortedPairs, by: By) -> Floats64:
    """One value a pair of events that weigh 1 each: float64 [distinct]."""
    return pairs.counts().astype(np.float64) if by == "sum" else np.ones(len(pairs.key))


def _combined(weight: Floats32, pairs: SortedPairs, by: By) -> Floats64:
    """One value a pair, of `weight` float32 [events] in the order of time: float64 [distinct]."""
    weights = weight.astype(np.float64)
    match by:
        case "sum":
            return pairs.sums(weights)
        case "mean":
            return pairs.sums(weights) / pairs.counts()
        case "max":
            return pairs.largest(weights)
        case "last":
            return pairs.last(weights)
