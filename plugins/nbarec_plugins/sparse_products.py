"""Products of one sparse matrix with many dense ones: what singular vectors and factorisations spend their time on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import AnyArray, Ints32, Ints64, frozen, rank_in_row, row_pointers
from nbarec.work import current, on_shards
from nbarec_plugins.ridge_rows import padded_lengths
from nbarec_plugins.sparse_rows import SparseRows

BLOCK_BYTES = 700_000
"""Gathered vectors of one block: written once and read once, so they should stay in the cache."""

PIECE = 1024
"""A longer row is added up in pieces of this many entries, which bounds the memory and depends on the row alone."""

SHARD_ENTRIES = 1 << 16
"""Entries that a worker takes at a time: a few milliseconds, so that handing them out costs nothing."""

Float = type[np.float32] | type[np.float64]


@dataclass(frozen=True)
class _Run:
    """Pieces of one padded length L: `place` int64 [n], the rows of the sum that they fill; `column` int32 [n, L] and
    `value` [n, L], 0 in the padding."""

    place: Ints64
    column: Ints32
    value: AnyArray

    def split(self, most: int) -> Iterator[_Run]:
        """The same in parts of at most so many entries, and at least one piece."""
        step = max(1, most // self.column.shape[1])
        for at in range(0, len(self.place), step):
            part = slice(at, at + step)
            yield _Run(self.place[part], self.column[part], self.value[part])


@dataclass(frozen=True)
class PaddedRows:
    """A sparse matrix (`rows` x `columns`), laid out once for many products with dense matrices.

    Rows, or pieces of `PIECE` entries of long ones, stand together by length, padded by at most an eighth. So a block
    of them is gathered by one `take` and added up by one `vecmat`, without a loop over rows and without Python's lock.
    `further` int64 [F]: the rows, ascending, that all but the first pieces of long rows belong to.
    """

    rows: int
    columns: int
    dtype: Float
    runs: tuple[_Run, ...]
    further: Ints64

    @classmethod
    def of(cls, rows: SparseRows, dtype: Float = np.float32) -> PaddedRows:
        """The layout of `rows`; products are in `dtype`."""
        pieces = -(-rows.counts // PIECE)
        row, nth = np.repeat(np.arange(rows.rows), pieces), rank_in_row(row_pointers(pieces)) - 1
        start = rows.indptr[row] + PIECE * nth
        count = np.minimum(rows.indptr[row + 1] - start, PIECE)
        is_further = np.flatnonzero(nth)
        place = row.copy()
        place[is_further] = rows.rows + np.arange(len(is_further))
        length = padded_lengths(count)
        order = np.argsort(length, kind="stable")
        starts_run = np.flatnonzero(np.diff(length[order], prepend=0))
        # One step a length: some dozens.
        runs = tuple(
            _padded(rows, place[at], start[at], count[at], int(length[at[0]]), dtype)
            for at in np.split(order, starts_run)[1:]
        )
        return cls(rows.rows, rows.columns, dtype, runs, frozen(row[is_further]))

    def times(self, dense: AnyArray) -> AnyArray:
        """This matrix @ `dense` float32 or float64 [columns, d], added up in this layout's dtype: [rows, d].

        A row's bits depend on its own entries alone, neither on other rows nor on the number of workers.
        """
        summed = np.zeros((self.rows + len(self.further), dense.shape[1]), self.dtype)
        on_shards(lambda shard: _add_up(shard, dense, summed), self._shards())  # each fills rows of its own
        product = summed[: self.rows]
        if len(self.further):
            starts = np.flatnonzero(np.diff(self.further, prepend=-1))
            product[self.further[starts]] += np.add.reduceat(summed[self.rows :], starts, axis=0)
        return product

    def _shards(self) -> list[list[_Run]]:
        """The runs in shards of about `SHARD_ENTRIES` entries: fixed by the matrix alone."""
        shards, entries = list[list[_Run]](), SHARD_ENTRIES
        # One step a part of a run: some dozens.
        for run in self.runs:
            for part in run.split(SHARD_ENTRIES):
                if entries >= SHARD_ENTRIES:
                    shards.append([])
                    entries = 0
                shards[-1].append(part)
                entries += part.column.size
        return shards


@dataclass(frozen=True)
class SparseProducts:
    """A sparse matrix and its transpose, both laid out for products with dense ones; `square_sum`: of its values."""

    forward: PaddedRows
    backward: PaddedRows
    square_sum: float

    @classmethod
    def of(cls, rows: SparseRows) -> SparseProducts:
        """Both layouts of `rows`, in single precision."""
        backward = PaddedRows.of(rows.transpose())  # first: its way there takes the most memory
        return cls(PaddedRows.of(rows), backward, float(rows.value @ rows.value))


def _padded(rows: SparseRows, place: Ints64, start: Ints64, count: Ints64, length: int, dtype: Float) -> _Run:
    """Pieces of `count` entries from `start` on, int64 [n], as rows of so many places."""
    nth = np.arange(length)
    inside = nth < count[:, None]
    at = np.where(inside, start[:, None] + nth, 0)
    column, value = np.where(inside, rows.column.take(at), 0), np.where(inside, rows.value.take(at), 0.0)
    return _Run(frozen(place), frozen(column.astype(np.int32, copy=False)), frozen(value.astype(dtype, copy=False)))


def _add_up(runs: list[_Run], dense: AnyArray, summed: AnyArray) -> None:
    """Fill the rows of `summed` [rows, d] that these pieces stand for with their products with `dense` [columns, d]."""
    width = dense.shape[1]
    most = current().block_bytes(BLOCK_BYTES) // (summed.itemsize * max(width, 1))
    largest = max(max(min(most, run.column.size), run.column.shape[1]) for run in runs)
    gathered = np.empty(largest * width, dense.dtype)
    # One step a block: it stays in the cache between the gathering and the sum.
    for run in runs:
        for block in run.split(most):
            rows = gathered[: block.column.size * width].reshape(*block.column.shape, width)
            dense.take(block.column, axis=0, out=rows, mode="clip")  # clip: the other mode copies once more
            summed[block.place] = np.vecmat(block.value, rows.astype(summed.dtype, copy=False))
