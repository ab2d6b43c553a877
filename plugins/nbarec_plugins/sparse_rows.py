"""Sparse rows in float64: what similarities and their scores are computed from.

`nbarec.sparse.Csr` holds float32, which is right for weights that come in as such. What is computed from them is kept
in float64 here: rounded to float32, two items that are exactly as good would differ by far more than a tie's tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nbarec.arrays import (
    Bools,
    Floats64,
    Ints32,
    Ints64,
    concat_ranges,
    frozen,
    mix64,
    rank_in_row,
    row_blocks,
    row_pointers,
    rows_of,
)
from nbarec.sparse import Csr
from nbarec_plugins.strips import Strips

GRADES = 1 << 30
"""Steps into which the largest score of a row is cut to compare scores: a step is a tie's tolerance, 1e-9."""

HASHED = 1 << 15
"""About how many entries are hashed at a time."""


@dataclass(frozen=True)
class SparseRows:
    """Row `r` holds `column[indptr[r]:indptr[r + 1]]`, ascending and unique, with `value`.

    `indptr` int64 [rows + 1], `column` int32 [entries], `value` float64 [entries], `columns` how many there may be.
    """

    indptr: Ints64
    column: Ints32
    value: Floats64
    columns: int

    @classmethod
    def from_csr(cls, matrix: Csr, keep: Bools, value: Floats64) -> SparseRows:
        """The entries of `matrix` where `keep` bool [nnz] holds, with `value` float64 [nnz] instead of their own."""
        if keep.all():
            return cls(matrix.indptr, matrix.indices, frozen(value), matrix.shape[1])
        indptr = row_pointers(np.bincount(matrix.row_of[keep], minlength=matrix.shape[0]))
        return cls(frozen(indptr), frozen(matrix.indices[keep]), frozen(value[keep]), matrix.shape[1])

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.indptr) - 1

    @property
    def counts(self) -> Ints64:
        """Entries of each row: int64 [rows]."""
        return self.indptr[1:] - self.indptr[:-1]

    @property
    def row_of(self) -> Ints64:
        """The row of every entry: int64 [entries]."""
        return rows_of(self.indptr)

    @cached_property
    def strips(self) -> Strips:
        """The same, laid out for `row_products`; made once."""
        return Strips.of(self.indptr, self.column, self.value, self.columns)

    def scaled(self, factor: Floats64) -> SparseRows:
        """The same entries, each multiplied by the factor of its column: `factor` float64 [columns]."""
        return SparseRows(self.indptr, self.column, frozen(self.value * factor[self.column]), self.columns)

    def column_sums(self, value: Floats64) -> Floats64:
        """The sum of `value` float64 [entries] in each column, added up in the order of rows: float64 [columns]."""
        return sums_at(self.column, value, self.columns)

    def transpose(self) -> SparseRows:
        """Columns as rows."""
        alike = not len(self.value) or bool(self.value.min() == self.value.max())
        # One number for column and place in a sort. Where values need not be moved along, the place is the row.
        place = np.repeat(np.arange(self.rows, dtype=np.int32), self.counts) if alike else np.arange(len(self.column))
        bits = max(len(self.column), self.rows, 1).bit_length()
        key = self.column.astype(np.int64)
        key <<= bits
        key |= place
        key.sort()
        key &= (1 << bits) - 1
        indptr = row_pointers(np.bincount(self.column, minlength=self.columns))
        column, value = (key, self.value) if alike else (self.row_of.take(key), self.value.take(key))
        return SparseRows(frozen(indptr), frozen(column.astype(np.int32)), frozen(value), self.rows)

    def take_rows(self, rows: Ints64) -> SparseRows:
        """The given rows, in that order; -1 gives an empty row."""
        known = rows >= 0
        starts, counts = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        starts[known], counts[known] = self.indptr[rows[known]], self.counts[rows[known]]
        at = concat_ranges(starts, counts)
        return SparseRows(frozen(row_pointers(counts)), frozen(self.column[at]), frozen(self.value[at]), self.columns)

    def replaced(self, rows: Ints64, by: SparseRows, total: int) -> SparseRows:
        """The same with row `rows[n]` replaced by row n of `by`, in all `total` rows; new ones are empty."""
        stacked = SparseRows(
            np.append(self.indptr, self.indptr[-1] + by.indptr[1:]),
            np.append(self.column, by.column),
            np.append(self.value, by.value),
            by.columns,
        )
        origin = np.full(total, -1, np.int64)
        origin[: self.rows] = np.arange(self.rows)
        origin[rows] = self.rows + np.arange(len(rows))
        return stacked.take_rows(origin)


def sums_at(place: Ints64 | Ints32, value: Floats64, places: int) -> Floats64:
    """The sum of `value` float64 [N] at each place, added up in order: float64 [places]. `place` int [N]."""
    return np.asarray(np.bincount(place, weights=value, minlength=places), np.float64)


def row_digests(rows: SparseRows) -> Ints64:
    """A 64-bit hash of each row's entries, 0 for a row without any: int64 [rows].

    The sum, modulo 2^64, of a hash of each entry's column and value: it tells which rows are not what they were.
    """
    indptr, digest = rows.indptr, np.zeros(rows.rows, np.uint64)
    for first, last in row_blocks(indptr, HASHED):  # a step a block of rows: it stays in the cache
        inside = slice(indptr[first], indptr[last])
        column = mix64(rows.column[inside].astype(np.uint64) + np.uint64(1))
        hashed = mix64(column ^ rows.value[inside].view(np.uint64))
        running = np.append(np.zeros(1, np.uint64), np.cumsum(hashed, dtype=np.uint64))
        digest[first:last] = np.diff(running.take(indptr[first : last + 1] - indptr[first]))
    return frozen(digest.view(np.int64))


def grades(row: Ints64, score: Floats64, rows: int, limit: int | Ints64) -> tuple[Ints64, Ints64]:
    """Scores as whole numbers that compare exactly, and the grade of each row's `limit`-th best.

    `row` int64 [N] ascending, `score` float64 [N], `limit` one for all or int64 [rows], at least 1. A grade is the
    score in steps of 2^-30 of the largest size in its row: int64 [N]. A row with no more than `limit` scores has no
    such best: its grade is below all others. Whole numbers let a single sort serve all rows.
    """
    counts = np.bincount(row, minlength=rows)
    indptr = row_pointers(counts)
    largest = np.ones(rows)
    filled = np.flatnonzero(counts)
    largest[filled] = np.maximum.reduceat(np.abs(score), indptr[filled])
    largest[largest == 0] = 1
    grade = np.rint(score / largest[row] * GRADES).astype(np.int64)
    key = (row << 32) + (GRADES - grade)
    key.sort()
    last = np.full(rows, -2 * GRADES, np.int64)
    cut = np.flatnonzero(counts > limit)
    limits = np.broadcast_to(np.asarray(limit, np.int64), rows)
    last[cut] = GRADES - (key[indptr[cut] + limits[cut] - 1] & ((1 << 32) - 1))
    return grade, last


def strongest(row: Ints64, score: Floats64, rows: int, limit: int) -> Ints64:
    """Positions of the `limit` largest scores of each row, in their order; ties go to what stands first.

    `row` int64 [N] ascending and counted from 0, `score` float64 [N]. Scores of the same grade are ties.
    """
    grade, last = grades(row, score, rows, limit)
    above, equal = grade > last[row], np.flatnonzero(grade == last[row])
    free = limit - np.bincount(row[above], minlength=rows)
    place = rank_in_row(row_pointers(np.bincount(row[equal], minlength=rows)))
    above[equal[place <= free[row[equal]]]] = True
    return np.flatnonzero(above)


def dense_products(dense: Floats64, rows: SparseRows) -> Floats64:
    """dense @ rows.T: `dense` float64 [B, columns] -> float64 [B, rows], each added up in the order of the sparse row.

    No entry depends on B, as it may in a matrix product. Columns are gathered as rows of the transpose: contiguous.
    """
    product, by_column = np.zeros((rows.rows, len(dense))), np.ascontiguousarray(dense.T)
    place, row = rank_in_row(rows.indptr), rows.row_of
    for nth in range(1, int(place.max(initial=0)) + 1):  # a step a place in the rows: as many as the longest has
        here = np.flatnonzero(place == nth)
        product[row[here]] += by_column[rows.column[here]] * rows.value[here, None]
    return np.ascontiguousarray(product.T)
