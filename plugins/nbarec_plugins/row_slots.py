"""Rows of results that are found in any order, put where they belong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import AnyArray, Ints64, concat_ranges, row_pointers

ROWS = 1 << 9
"""Rows that are moved at a time: what is moved stays in the cache."""


@dataclass(frozen=True)
class RowSlots:
    """Where blocks of rows put what they found, each row at its own place, in whatever order the blocks come.

    Row r has room for `start[r + 1] - start[r]` values, int64 [rows + 1], in each of `values`, and has `counts[r]`.
    """

    start: Ints64
    counts: Ints64
    values: tuple[AnyArray, ...]

    @classmethod
    def of(cls, room: Ints64, dtypes: tuple[type[np.generic], ...]) -> RowSlots:
        """Empty slots with that much room a row: int64 [rows]."""
        start = row_pointers(room)
        return cls(start, np.zeros(len(room), np.int64), tuple(np.empty(int(start[-1]), dtype) for dtype in dtypes))

    def put(self, rows: Ints64, counts: Ints64, found: tuple[AnyArray, ...]) -> None:
        """The first `counts` int64 [R] values found belong to the first of `rows` int64 [R], and so on."""
        at = concat_ranges(self.start.take(rows), counts)
        self.counts[rows] = counts
        for values, new in zip(self.values, found, strict=True):
            values[at] = new

    def closed(self) -> tuple[Ints64, tuple[AnyArray, ...]]:
        """Row pointers int64 [rows + 1], and the values without gaps. Moves them in place: nothing may follow."""
        indptr = row_pointers(self.counts)
        total = int(indptr[-1])
        if total < self.start[-1]:
            for first in range(0, len(self.counts), ROWS):  # a step some rows
                rows = slice(first, first + ROWS)
                at = concat_ranges(self.start[:-1][rows], self.counts[rows])
                for values in self.values:
                    values[indptr[first] : indptr[first] + len(at)] = values.take(at)
        return indptr, tuple(values[:total] for values in self.values)
