"""Many small elastic nets over one sparse matrix: what each of its columns is made of, side by side.

The nets of a window of columns read the products of few pairs of columns, which are added up once for all of them. The
order of columns is such that neighbours stand beside each other, so that windows are long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import AnyArray, Floats64, Ints32, Ints64, frozen
from nbarec.progress import track
from nbarec.work import current, in_shards
from nbarec_plugins.nonnegative import RIDGE, pivoted
from nbarec_plugins.ridge_rows import padded_lengths
from nbarec_plugins.row_products import multiplied
from nbarec_plugins.row_slots import RowSlots
from nbarec_plugins.sparse_rows import SparseRows

PRODUCTS_BYTES = 1 << 25
"""What the products of all columns of a window may take: 2,048 columns."""

WINDOW = 512
"""Nets in a window, at most."""

SYSTEM_BYTES = 1 << 23
"""What one block of nets may take: its arrays are read again and again."""

SWEEPS = 4
"""Sweeps of descent that tell which weights of a net are positive, nearly; exact solutions start from there."""


def nonnegative_nets(matrix: SparseRows, near: SparseRows, l1: float, l2: float) -> SparseRows:
    """The w >= 0 that minimises |x_j - X w|^2 / 2 + l2 |w|^2 / 2 + l1 |w|_1, for each column x_j of X = `matrix`
    (rows x columns): row j of the result (columns x columns), without the zeros.

    Of w only the places that row j of `near` (columns x columns) names may be other than 0; j is none of them. Exact to
    rounding: where l2 is 0, `RIDGE` of the largest square takes its place. A row's bits depend on its own net alone.
    """
    columns, slots = matrix.transpose(), RowSlots.of(near.counts, (np.int32, np.float64))
    order = _depth_first(_leaders(near, columns.counts))

    def solve(targets: Ints64, _: object) -> int:
        nets = _Window.of(columns, near, targets)
        # One step a block of nets of one padded length.
        for rows in nets.blocks():
            weights, names = nets.solved(rows, l1, l2), nets.names(rows)
            kept = weights > 0
            slots.put(targets[rows], kept.sum(axis=1), (names[kept], weights[kept]))
        return len(targets)

    with track("elastic nets", near.rows) as advance:
        for done in in_shards(solve, _windows(near, order)):  # a step a window
            advance(done)
    indptr, (column, value) = slots.closed()
    return SparseRows(frozen(indptr), frozen(column), frozen(value), near.columns)


def system_bytes(neighbors: int) -> int:
    """What the smallest window takes: one net of so many neighbours."""
    return 8 * (neighbors + 2) ** 2 + 40 * neighbors**2


def _windows(near: SparseRows, order: Ints64) -> Iterator[Ints64]:
    """The columns in this order, as many at a time as have few enough columns to do with: int64 [T]."""
    most = int(np.sqrt(current().block_bytes(PRODUCTS_BYTES) / 8))
    first = 0
    while first < len(order):  # a step a window
        targets = order[first : first + WINDOW]
        part = near.take_rows(targets)
        involved = np.insert(part.column, part.indptr[:-1], targets)
        new = np.sort(np.unique(involved, return_index=True)[1])
        distinct = np.searchsorted(new, part.indptr[1:] + np.arange(1, len(targets) + 1))
        length = max(int(np.searchsorted(distinct, most, side="right")), 1)
        yield targets[:length]
        first += length


@dataclass(frozen=True)
class _Window:
    """The nets of T targets, rows of `near`, over U columns in all: `place` int64 [entries] says which of them an entry
    of `near` is, `own` int64 [T] which the target is; `products` float64 [U + 1, U + 1] holds X'X of them, and zeros in
    the last row and column, which stand for padding."""

    near: SparseRows
    place: Ints64
    own: Ints64
    products: Floats64

    @classmethod
    def of(cls, columns: SparseRows, near: SparseRows, targets: Ints64) -> _Window:
        """Of rows of `near`, `columns` being the transpose of X."""
        near = near.take_rows(targets)
        involved, place = np.unique(np.append(near.column, targets), return_inverse=True)
        left = columns.take_rows(involved)
        met, side = multiplied(left, left.transpose()), len(involved) + 1
        products = np.zeros(side * side)
        products[met.row_of * side + met.column] = met.value
        entries = len(near.column)
        return cls(near, place[:entries], place[entries:], products.reshape(side, side))

    def blocks(self) -> Iterator[Ints64]:
        """The nets with neighbours, some of one padded length at a time: int64 [B]."""
        length = padded_lengths(self.near.counts)
        for width in np.unique(length[length > 0]).tolist():  # a step a length: some dozens
            rows = np.flatnonzero(length == width)
            step = max(1, current().block_bytes(SYSTEM_BYTES) // (8 * width * width))
            yield from (rows[first : first + step] for first in range(0, len(rows), step))

    def names(self, rows: Ints64) -> Ints32:
        """The columns that the nets are over, 0 in the padding: int32 [B, L]."""
        return self._padded(rows, self.near.column, 0)

    def solved(self, rows: Ints64, l1: float, l2: float) -> Floats64:
        """The weights of each net, 0 in the padding: float64 [B, L]."""
        side = len(self.products)
        place, own = self._padded(rows, self.place, side - 1), self.own[rows]
        normal = self.products.reshape(-1).take(place[:, :, None] * side + place[:, None, :])
        diagonal = normal.reshape(len(rows), -1)[:, :: place.shape[1] + 1]
        diagonal += max(l2, 0.0) or RIDGE * diagonal.max(axis=1, keepdims=True)
        right = self.products.reshape(-1).take(own[:, None] * side + place)
        right -= l1
        return pivoted(right, normal, _descended(right, normal, diagonal))

    def _padded(self, rows: Ints64, value: AnyArray, fill: int) -> AnyArray:
        """The entries of each row, side by side, padded: [B, L]."""
        count = self.near.counts[rows]
        nth = np.arange(int(padded_lengths(count)[0]))
        return np.where(
            nth < count[:, None], value.take(self.near.indptr[rows][:, None] + nth, mode="clip"), value.dtype.type(fill)
        )


def _descended(right: Floats64, normal: Floats64, diagonal: Floats64) -> Floats64:
    """Some sweeps down w' normal w / 2 - right . w, w >= 0, from 0: `right`, `diagonal` [B, L], `normal` [B, L, L]."""
    found = np.zeros_like(right)
    for _ in range(SWEEPS):
        for place in range(right.shape[1]):  # each sees what the ones before it became, in all nets at once
            better = right[:, place] - np.vecdot(normal[:, place], found)
            better /= diagonal[:, place]
            better += found[:, place]
            np.maximum(better, 0, out=found[:, place])
    return found


def _leaders(near: SparseRows, size: Ints64) -> Ints64:
    """The nearest neighbour that is larger, the first of those of one size; -1 where none is: int64 [rows]."""
    row, column = near.row_of, near.column
    larger = (size[column] > size[row]) | ((size[column] == size[row]) & (column < row))
    at = np.flatnonzero(larger)
    at = at[np.lexsort((near.value[at], row[at]))]
    leader = np.full(near.rows, -1)
    leader[row[at]] = column[at]  # the last of a row stays
    return leader


def _depth_first(leader: Ints64) -> Ints64:
    """The trees in which `leader` int64 [N] is the parent of each, depth first: positions, int64 [N]."""
    depth, above = np.zeros(len(leader), np.int64), leader
    while (inside := above >= 0).any():  # a step a level, here and below
        depth += inside
        above = np.where(inside, leader[above], -1)
    levels = np.split(np.lexsort((leader, depth)), np.cumsum(np.bincount(depth))[:-1])
    size, start = np.ones(len(leader)), np.zeros(len(leader), np.int64)
    for level in reversed(levels[1:]):
        size += np.bincount(leader[level], size[level], len(leader))
    for level in levels:
        parent, before = leader[level], (np.cumsum(size[level]) - size[level]).astype(np.int64)
        start[level] = before - before[np.searchsorted(parent, parent)] + np.where(parent >= 0, start[parent] + 1, 0)
    return np.argsort(start)
