"""What a personalised ranking learns from: users in batches, laid out once, and the items drawn against theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints32, Ints64, row_blocks, row_pointers, stable_order
from nbarec_plugins.sparse_products import PaddedRows
from nbarec_plugins.sparse_rows import SparseRows

CHUNK = 1 << 13
"""Pairs whose users one worker takes at a time: their vectors, and their scores of all items drawn, are a few MB."""

FEW = 32
"""A user with fewer pairs counts as one with so many there: his scores take as much memory as any other's."""


@dataclass(frozen=True)
class Pattern:
    """Where a sparse matrix has its entries, laid out once for products with values that change.

    `places`: the layout; in it stands, instead of a value, which entry it is, counted from 1, and 0 in the padding.
    """

    places: PaddedRows

    @classmethod
    def of(cls, indptr: Ints64, column: Ints32, columns: int, entry: Ints64) -> Pattern:
        """Row r has entries in `column[indptr[r]:indptr[r + 1]]`; the value at n is that of entry `entry[n]`."""
        counted = PaddedRows.of(SparseRows(indptr, column, (entry + 1).astype(np.float64), columns), np.float64)
        runs = tuple(replace(run, value=run.value.astype(np.int32)) for run in counted.runs)
        return cls(replace(counted, dtype=np.float32, runs=runs))

    def times(self, values: Floats32, dense: Floats32) -> Floats32:
        """The matrix with these `values` float32 [entries] @ `dense` float32 [columns, d]: float32 [rows, d]."""
        padded = np.append(np.float32(0), values)
        runs = tuple(replace(run, value=padded.take(run.value)) for run in self.places.runs)
        product: Floats32 = replace(self.places, runs=runs).times(dense)
        return product


@dataclass(frozen=True)
class Chunk:
    """Users `first` to `last` of a batch, and their pairs `start` to `stop`."""

    first: int
    last: int
    start: int
    stop: int


@dataclass(frozen=True)
class Batch:
    """Some users and their P pairs, user by user.

    `row` int64 [P]: the user in the batch, `item` int32 [P], `weight` float32 [P]: what the item weighs in the user's
    history. `by_user` (users x items) and `by_item` (items x users): both ways to the pairs, in the order of pairs.
    """

    row: Ints64
    item: Ints32
    weight: Floats32
    by_user: Pattern
    by_item: Pattern
    chunks: tuple[Chunk, ...]

    @classmethod
    def of(cls, pairs: SparseRows) -> Batch:
        """The rows of `pairs` (users x items), whose values are the weights."""
        row, column = pairs.row_of, pairs.column
        order = stable_order(column, pairs.columns.bit_length())
        by_item = row_pointers(np.bincount(column, minlength=pairs.columns))
        return cls(
            row=row,
            item=column,
            weight=pairs.value.astype(np.float32),
            by_user=Pattern.of(pairs.indptr, column, pairs.columns, np.arange(len(row))),
            by_item=Pattern.of(by_item, row.take(order).astype(np.int32), pairs.rows, order),
            chunks=tuple(
                Chunk(first, last, int(pairs.indptr[first]), int(pairs.indptr[last]))
                for first, last in row_blocks(row_pointers(np.maximum(pairs.counts, FEW)), CHUNK)
            ),
        )

    def own(self, place: Ints64) -> tuple[Ints64, Ints64]:
        """Which pairs are of an item that was drawn, and where it stands among these: int64 both.

        `place` int64 [items]: where an item stands, -1 where it was not drawn.
        """
        at = place.take(self.item)
        pair = np.flatnonzero(at >= 0)
        return pair, at.take(pair)


def batches_of(pairs: SparseRows, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """All users with two items or more, who alone have a history beside an item, in random batches of about `size`
    pairs."""
    users = rng.permutation(np.flatnonzero(pairs.counts > 1))
    # One step a batch: its layout is made once, for all epochs.
    for first, last in row_blocks(row_pointers(pairs.counts.take(users)), size):
        yield Batch.of(pairs.take_rows(users[first:last]))


def history_pairs(pairs: SparseRows, place: Ints64, items: int) -> SparseRows:
    """The pairs of items that have a place, at it: (users x `items`). `place` int64 [columns] rises, -1 for none."""
    at = place.take(pairs.column)
    kept = np.flatnonzero(at >= 0)
    indptr = row_pointers(np.bincount(pairs.row_of.take(kept), minlength=pairs.rows))
    return SparseRows(indptr, at.take(kept).astype(np.int32), pairs.value.take(kept), items)


@dataclass(frozen=True)
class Draws:
    """Draws items without repetition, item i in proportion to `chance` float64 [items], positive."""

    chance: Floats64

    def __call__(self, count: int, rng: np.random.Generator) -> Ints64:
        """`count` items, at most all there are, in random order: int64.

        Each item waits a random time that is the shorter the larger its chance, and the first are drawn (Efraimidis,
        Spirakis 2006).
        """
        waited = rng.standard_exponential(len(self.chance)) / self.chance
        if count >= len(waited):
            return rng.permutation(len(waited))
        return rng.permutation(np.argpartition(waited, count)[:count])
