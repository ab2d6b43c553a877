"""Sparse rows in float64 and the one product of them: the sums that similarities and their scores are made of.

`nbarec.sparse.Csr` holds float32, which is right for weights that come in as such. What is computed from them is kept
in float64 here: rounded to float32, two items that are exactly as good would differ by far more than a tie's tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints32, Ints64, concat_ranges, frozen, rank_in_row, row_pointers, rows_of
from nbarec.sparse import Csr

PAIRS = 1 << 18
"""How many (left entry, right entry) pairs are expanded at a time: 2 MB an array, which stays in the cache."""

GRADES = 1 << 30
"""Steps into which the largest score of a row is cut to compare scores: a step is a tie's tolerance, 1e-9."""

Term: TypeAlias = Callable[[Floats64, Floats64], Floats64]
"""What one pair adds to a sum: a function of the left values and the right values, float64 [pairs] each."""


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
        indptr = row_pointers(np.bincount(matrix.row_of[keep], minlength=matrix.shape[0]))
        return cls(frozen(indptr), frozen(matrix.indices[keep]), frozen(value[keep]), matrix.shape[1])

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.indptr) - 1

    @property
    def counts(self) -> Ints64:
        """Entries of each row: int64 [rows]."""
        return np.diff(self.indptr)

    @property
    def row_of(self) -> Ints64:
        """The row of every entry: int64 [entries]."""
        return rows_of(self.indptr)

    def column_sums(self, value: Floats64) -> Floats64:
        """The sum of `value` float64 [entries] in each column, added up in the order of rows: float64 [columns]."""
        return sums_at(self.column, value, self.columns)

    def transpose(self) -> SparseRows:
        """Columns as rows."""
        bits = max(len(self.column), 1).bit_length()
        key = (self.column.astype(np.int64) << bits) | np.arange(len(self.column))
        key.sort()
        order = key & ((1 << bits) - 1)
        indptr = row_pointers(np.bincount(self.column, minlength=self.columns))
        column = self.row_of[order].astype(np.int32)
        return SparseRows(frozen(indptr), frozen(column), frozen(self.value[order]), self.rows)

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


@dataclass(frozen=True)
class Overlaps:
    """Left rows `first` to `first + rows` of a product, its entries by row and column.

    Left row `first + row[n]` and right column `column[n]` meet `common[n]` times (all int64 [entries]); `sums` holds
    each term's sum over these, float64 [entries].
    """

    first: int
    rows: int
    row: Ints64
    column: Ints64
    common: Ints64
    sums: tuple[Floats64, ...]


def overlaps(left: SparseRows, right: SparseRows, terms: Sequence[Term]) -> Iterator[Overlaps]:
    """Where left rows and right columns meet: left @ right with any terms in place of the product, block by block.

    Row-wise sparse product (Gustavson 1978). Each sum is added up in the order of the left row's entries, so it
    depends on that row alone: neither blocks nor other rows change a bit. Memory is bounded by `PAIRS` a block.
    """
    product = _Product(left, right, tuple(terms), left.row_of, right.counts)
    before = row_pointers(product.right_counts[left.column])
    by_row = before[left.indptr]
    first = 0
    # One step a block of rows: what bounds the memory.
    while first < left.rows:
        last = int(np.searchsorted(by_row, by_row[first] + PAIRS, side="right")) - 1
        last = min(max(last, first + 1), first + PAIRS)
        pairs = int(by_row[last] - by_row[first])
        crowded = pairs > PAIRS or (last - first) * right.columns <= 2 * pairs
        yield product.by_cells(first, last, before) if crowded else product.by_sorting(first, last)
        first = last


@dataclass(frozen=True)
class _Product:
    """The two ways to add up a block of left rows, equal to the bit."""

    left: SparseRows
    right: SparseRows
    terms: tuple[Term, ...]
    left_row: Ints64
    right_counts: Ints64

    def expanded(self, start: int, stop: int, first_row: int) -> tuple[Ints64, list[Floats64]]:
        """The pairs of left entries start to stop: their cells, counted from `first_row`, and their terms."""
        entries = slice(start, stop)
        middle = self.left.column[entries]
        counts = self.right_counts[middle]
        at = concat_ranges(self.right.indptr[middle], counts)
        cell = np.repeat((self.left_row[entries] - first_row) * self.right.columns, counts)
        cell += self.right.column[at]
        if not self.terms:
            return cell, []
        x, y = np.repeat(self.left.value[entries], counts), self.right.value[at]
        return cell, [term(x, y) for term in self.terms]

    def by_sorting(self, first: int, last: int) -> Overlaps:
        """Few pairs in many cells: sort the pairs by cell, and within one by position, and add up each run."""
        cell, added = self.expanded(int(self.left.indptr[first]), int(self.left.indptr[last]), first)
        bits = PAIRS.bit_length() if added else 0
        key = cell << bits
        if added:
            key |= np.arange(len(cell))
        key.sort()
        cell = key >> bits
        starts_run = np.append(np.ones(min(len(cell), 1), bool), cell[1:] != cell[:-1])
        starts = np.flatnonzero(starts_run)
        run = np.cumsum(starts_run) - 1
        order = key & ((1 << bits) - 1)
        sums = [sums_at(run, values[order], len(starts)) for values in added]
        return self.result(cell[starts], np.diff(np.append(starts, len(cell))), sums, first, last)

    def by_cells(self, first: int, last: int, before: Ints64) -> Overlaps:
        """Many pairs in few cells, or one row with more pairs than a block may have: a counter a cell."""
        cells = (last - first) * self.right.columns
        common, sums = np.zeros(cells, np.int64), [np.zeros(cells) for _ in self.terms]
        start, end = int(self.left.indptr[first]), int(self.left.indptr[last])
        # One step a part of a row that is too long to be expanded at once; nearly always a single one.
        while start < end:
            stop = int(np.searchsorted(before, before[start] + PAIRS, side="right")) - 1
            stop = min(max(stop, start + 1), end)
            cell, added = self.expanded(start, stop, first)
            np.add.at(common, cell, 1)
            for total, values in zip(sums, added, strict=True):
                np.add.at(total, cell, values)
            start = stop
        met = np.flatnonzero(common)
        return self.result(met, common[met], [total[met] for total in sums], first, last)

    def result(self, cell: Ints64, common: Ints64, sums: list[Floats64], first: int, last: int) -> Overlaps:
        row, column = np.divmod(cell, max(self.right.columns, 1))
        return Overlaps(first, last - first, row, column, common, tuple(sums))


def sums_at(place: Ints64 | Ints32, value: Floats64, places: int) -> Floats64:
    """The sum of `value` float64 [N] at each place, added up in order: float64 [places]. `place` int [N]."""
    return np.asarray(np.bincount(place, weights=value, minlength=places), np.float64)


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


def strongest_met(blocks: Iterable[tuple[Overlaps, Floats64, Bools]], limit: int, columns: int) -> SparseRows:
    """The `limit` strongest entries of each row of a product of so many columns, ties by column: (rows x columns).

    `blocks` are those of `overlaps`, each with the strength of its entries, float64, and which may be kept, bool.
    """
    counts, places, values = [np.empty(0, np.int64)], [np.empty(0, np.int32)], [np.empty(0)]
    # One step a block of rows: what bounds the memory.
    for met, strength, able in blocks:
        kept = np.flatnonzero(able)
        kept = kept[strongest(met.row[kept], strength[kept], met.rows, limit)]
        counts.append(np.bincount(met.row[kept], minlength=met.rows))
        places.append(met.column[kept].astype(np.int32))
        values.append(strength[kept])
    indptr = row_pointers(np.concatenate(counts))
    return SparseRows(frozen(indptr), frozen(np.concatenate(places)), frozen(np.concatenate(values)), columns)


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
