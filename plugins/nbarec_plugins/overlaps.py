"""Where left rows and right columns of a sparse product meet: what similarities and scores are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np

from nbarec.arrays import AnyArray, Floats64, Ints32, Ints64

SPARE = 2
"""Groups for each entry that is wanted, at least: more of them bound the weakest one better, and take longer."""

Summed: TypeAlias = Callable[[int | None], AnyArray]
"""What counts meetings (None), or adds up the term of that number, in a table of rows and columns."""


class Overlaps(Protocol):
    """A block of left rows and the right columns that they meet; an entry for each of these pairs.

    `common` int64 says how often the two meet, `sums` holds each term's sum over these meetings (float64, or `common`
    where that is the same): arrays of one shape, [entries] or [rows, columns], as is all that is computed from them
    entry by entry, with `of_rows` and `of_columns` for what belongs to a row or a column. In a table there are also
    pairs that do not meet: both are 0.
    """

    @property
    def rows(self) -> Ints64:
        """Which left rows these are: int64 [R]."""

    @property
    def columns(self) -> int:
        """How many columns there may be."""

    @property
    def common(self) -> Ints64:
        """How often the two meet."""

    @property
    def sums(self) -> tuple[AnyArray, ...]:
        """Each term's sum over where the two meet."""

    def of_rows(self, value: Floats64) -> Floats64:
        """What belongs to the row of each entry; `value` float64 [left rows]."""

    def of_columns(self, value: Floats64) -> Floats64:
        """What belongs to the column of each entry; `value` float64 [columns]."""

    def spread(self, value: Floats64) -> Floats64:
        """What belongs to the row of each entry; `value` float64 [R], that of this block's rows."""

    def places(self, row: Ints64, column: Ints32) -> Ints64:
        """Where pairs of a row of this block and a column stand in the flattened entries, as far as they do: int64."""

    def meetings(self) -> Ints64:
        """The flattened entries that meet: int64, ascending."""

    def picked(self, at: Ints64) -> tuple[Ints64, Ints32]:
        """The entries at these places, ascending: row pointers int64 [R + 1], columns int32."""

    def table(self, value: AnyArray) -> AnyArray:
        """A value of each entry, shaped as they are, as a table [R, columns]: 0 where nothing meets."""

    def largest(self, value: Floats64) -> Floats64:
        """The largest value of each row: float64 [R]."""

    def largest_of_groups(self, value: Floats64, wanted: int) -> Floats64:
        """The largest values of disjoint groups of a row's entries: float64 [R, G], -inf where a row has fewer groups.

        G is a few times the number `wanted`, or as large as can be.
        """


@dataclass(frozen=True)
class ListedOverlaps:
    """Entries row by row, by column in each: `indptr` int64 [R + 1], the others [entries]. No row is empty."""

    rows: Ints64
    indptr: Ints64
    column: AnyArray
    common: Ints64
    sums: tuple[AnyArray, ...]
    columns: int

    @property
    def counts(self) -> Ints64:
        """Entries of each row: int64 [R]."""
        return self.indptr[1:] - self.indptr[:-1]

    def of_rows(self, value: Floats64) -> Floats64:
        return self.spread(value.take(self.rows))

    def of_columns(self, value: Floats64) -> Floats64:
        return value.take(self.column)

    def spread(self, value: Floats64) -> Floats64:
        return np.repeat(value, self.counts)

    def places(self, row: Ints64, column: Ints32) -> Ints64:
        there = np.repeat(np.arange(len(self.rows)) * self.columns, self.counts)
        there += self.column
        wanted = row * self.columns + column
        at = np.searchsorted(there, wanted)
        return np.asarray(at[there.take(at, mode="clip") == wanted])

    def meetings(self) -> Ints64:
        return np.arange(len(self.column))

    def picked(self, at: Ints64) -> tuple[Ints64, Ints32]:
        return np.searchsorted(at, self.indptr), self.column.take(at).astype(np.int32)

    def table(self, value: AnyArray) -> AnyArray:
        table = np.zeros((len(self.rows), self.columns), value.dtype)
        table[np.repeat(np.arange(len(self.rows)), self.counts), self.column] = value
        return table

    def largest(self, value: Floats64) -> Floats64:
        return np.maximum.reduceat(value, self.indptr[:-1])

    def largest_of_groups(self, value: Floats64, wanted: int) -> Floats64:
        """Groups are neighbours, as many as a power of two, so that each halving of the list makes them twice as large.
        What two rows share is in no group."""
        doublings = _doublings(len(value) / len(self.rows), wanted)
        for _ in range(doublings):  # a step a doubling
            value = np.maximum(value[: len(value) & -2 : 2], value[1::2])
        first = -(-self.indptr[:-1] >> doublings)
        return padded(value, first, np.maximum((self.indptr[1:] >> doublings) - first, 0), -np.inf)


@dataclass(frozen=True)
class TabledOverlaps:
    """Entries in a table of all columns, [R, columns]; `summed` is asked for what is needed of them."""

    rows: Ints64
    columns: int
    terms: int
    ones: bool
    summed: Summed

    @cached_property
    def common(self) -> Ints64:
        return self.summed(None)

    @cached_property
    def sums(self) -> tuple[AnyArray, ...]:
        if self.ones:
            return (self.common,) * self.terms
        return tuple(self.summed(term) for term in range(self.terms))

    def of_rows(self, value: Floats64) -> Floats64:
        return self.spread(value.take(self.rows))

    def of_columns(self, value: Floats64) -> Floats64:
        return value[None, :]

    def spread(self, value: Floats64) -> Floats64:
        return value[:, None]

    def places(self, row: Ints64, column: Ints32) -> Ints64:
        return row * self.columns + column

    def meetings(self) -> Ints64:
        return np.flatnonzero(self.common)

    def picked(self, at: Ints64) -> tuple[Ints64, Ints32]:
        starts = np.arange(len(self.rows) + 1) * self.columns
        indptr = np.searchsorted(at, starts)
        return indptr, (at - np.repeat(starts[:-1], indptr[1:] - indptr[:-1])).astype(np.int32)

    def table(self, value: AnyArray) -> AnyArray:
        return value

    def largest(self, value: Floats64) -> Floats64:
        return np.asarray(value.max(axis=1))

    def largest_of_groups(self, value: Floats64, wanted: int) -> Floats64:
        """Groups are columns at equal distances, so that whole stretches of a row are compared at a time; the last few
        columns are in none."""
        size = 1 << _doublings(self.columns, wanted)
        number = self.columns // size
        return np.asarray(value[:, : size * number].reshape(len(value), size, number).max(axis=1))


def _doublings(entries: float, wanted: int) -> int:
    """How often groups of so many entries in a row may double in size."""
    return int(np.log2(max(entries / (SPARE * max(wanted, 1)), 1.0)))


def ratios(part: AnyArray, whole: AnyArray) -> Floats64:
    """part / whole, 0 where that is undefined: float64."""
    return np.divide(part, whole, out=np.zeros(np.broadcast_shapes(part.shape, whole.shape)), where=whole != 0)


def padded(value: AnyArray, first: Ints64, count: Ints64, fill: float) -> AnyArray:
    """`count` values from `first` on, int64 [R] both, side by side: [R, longest], with `fill` behind shorter rows."""
    place = np.arange(int(count.max(initial=0)))
    table = value.take(first[:, None] + place, mode="clip") if len(value) else np.empty((len(first), 0), value.dtype)
    table.reshape(-1)[np.flatnonzero(place >= count[:, None])] = fill
    return table
