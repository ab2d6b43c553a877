"""Many small ridge regressions over one design, and their layout in blocks of rows of one length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, Ints32, Ints64, concat_ranges, row_pointers
from nbarec_plugins.sparse_rows import SparseRows


def median_ridge(ridge: Floats64) -> float:
    """The median of ridges, 1 without any. (`np.median` loads another megabyte of NumPy.)"""
    middle = [(len(ridge) - 1) // 2, len(ridge) // 2]
    return float(np.partition(ridge, middle)[middle].mean()) if len(ridge) else 1.0


@dataclass(frozen=True)
class RidgeRows:
    """Row r asks for the x that minimises sum_n strength_n (z_n . x)^2 - 2 target_n z_n . x + ridge_r |x|^2.

    Its terms n are the places `indptr[r]` to `indptr[r + 1]` (int64 [rows + 1]); z_n is row `column[n]` (int32 [terms])
    of a design. `strength` and `target` float64 [terms], strength at least 0; `ridge` float64 [rows], more than 0.
    """

    indptr: Ints64
    column: Ints32
    strength: Floats64
    target: Floats64
    ridge: Floats64

    @classmethod
    def of(cls, pairs: SparseRows, strength: Floats64, target: Floats64, ridge: Floats64) -> RidgeRows:
        """A row for each row of `pairs`, a term for each of its entries."""
        return cls(pairs.indptr, pairs.column, strength, target, ridge)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.ridge)

    @property
    def counts(self) -> Ints64:
        """Terms of each row: int64 [rows]."""
        return np.diff(self.indptr)

    @property
    def usual_ridge(self) -> float:
        """The median ridge of the rows with terms; 1 where there are none."""
        filled = self.counts > 0
        return median_ridge(self.ridge[filled])

    def without(self, offset: Floats32 | None) -> RidgeRows:
        """The same where column c holds `offset[c]` float [columns] already: strength x offset less in each target."""
        if offset is None:
            return self
        return replace(self, target=self.target - self.strength * offset[self.column])

    def take(self, rows: Ints64) -> RidgeRows:
        """The given rows, in that order."""
        counts = self.counts[rows]
        at = concat_ranges(self.indptr[rows], counts)
        return RidgeRows(row_pointers(counts), self.column[at], self.strength[at], self.target[at], self.ridge[rows])


@dataclass(frozen=True)
class Block:
    """Rows of one padded length L: `row` int64 [B]; `column` int32, `strength`, `target` [B, L], 0 in the padding."""

    row: Ints64
    column: Ints32
    strength: AnyArray
    target: AnyArray


def padded_lengths(counts: Ints64) -> Ints64:
    """The length to which a row of so many terms is padded: int64, exact below 16, then at most 12.5% more.

    It depends on the row alone, in steps of an eighth of the power of two below: rows share few lengths.
    """
    exponent = np.frexp(np.maximum(counts, 1).astype(np.float64))[1] - 1
    step = np.left_shift(np.int64(1), np.maximum(exponent - 3, 0).astype(np.int64))
    return np.asarray(-(-counts // step) * step)


def blocks_of(problem: RidgeRows, rows: Ints64, bytes_fixed: int, bytes_each: int, limit: int) -> Iterator[Block]:
    """The given rows by padded length, as many to a block as `limit` bytes hold.

    A row takes `bytes_fixed`, and `bytes_each` for each place. Rows without terms are left out.
    """
    length = padded_lengths(problem.counts[rows])
    order = np.argsort(length, kind="stable")
    rows, length = rows[order], length[order]
    first = int(np.searchsorted(length, 1))
    # One step a block: what bounds the memory.
    while first < len(rows):
        width = int(length[first])
        most = max(1, limit // (bytes_fixed + bytes_each * width))
        last = min(int(np.searchsorted(length, width, side="right")), first + most)
        yield _padded(problem, rows[first:last], width)
        first = last


def _padded(problem: RidgeRows, rows: Ints64, width: int) -> Block:
    start, count = problem.indptr[rows], problem.counts[rows]
    place = np.arange(width)
    inside = place < count[:, None]
    at = np.where(inside, start[:, None] + place, 0)
    return Block(
        rows,
        np.where(inside, problem.column[at], 0).astype(np.int32),
        np.where(inside, problem.strength[at], 0.0),
        np.where(inside, problem.target[at], 0.0),
    )
