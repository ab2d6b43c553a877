"""Products of sparse rows: the one accumulation kernel of all neighbourhood models.

The row-wise sparse product (Gustavson 1978) with any terms in place of the product. Left rows with few pairs for the
number of columns sort them and count runs; those with many have a counter a column. Either way a sum is added up in
the order of the left row's entries, so it depends on that row alone: blocks, other rows and workers change no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeAlias

import numpy as np

from nbarec.arrays import AnyArray, Bools, Floats64, Ints64, concat_ranges, frozen
from nbarec.work import current
from nbarec_plugins.overlaps import ListedOverlaps, Overlaps, TabledOverlaps
from nbarec_plugins.row_slots import RowSlots
from nbarec_plugins.sparse_rows import SparseRows, sums_at
from nbarec_plugins.strips import LANES, PADDING, Strips

BLOCK = 1 << 21
"""Bytes that the pairs of a block take at 8 each, or its counters: what stays in the cache."""

COUNTED = 0.3
"""A row with more pairs than this share of the columns has a counter a column: sorting would take longer (measured)."""

COUNTED_SHORT = 4.0
"""The same where columns are short numbers that NumPy sorts as fast as it counts them: one worker takes as long either
way, and several gain, as sorts let go of Python's lock and counts don't."""

SUMMED = 0.2
"""The same where pairs are added up and not only counted."""

SORTS_SHORT = "AVX512_ICL"
"""What a processor must have for NumPy to sort 16-bit numbers by vector instructions; without, it takes thirty times as
long."""

SHARD = 8
"""Blocks a shard, at most: what does not need whole rows of columns is done for all of them at once."""

Term: TypeAlias = Callable[[Floats64, Floats64], Floats64]
"""What a pair adds to a sum: a function of the left values and the right values, float64 of shapes that go together."""


@dataclass(frozen=True)
class Product:
    """`left` @ `right`, with any `terms` in place of the product, by blocks of left rows."""

    left: SparseRows
    right: Strips
    terms: tuple[Term, ...]

    @cached_property
    def width(self) -> Ints64:
        """How many strips each left row leads to: int64 [left rows]."""
        before = np.zeros(len(self.left.column) + 1, np.int64)
        np.cumsum(self.right.strips.take(self.left.column), out=before[1:])
        reached = before.take(self.left.indptr)
        return reached[1:] - reached[:-1]

    def room(self, most: int) -> Ints64:
        """How many entries each left row can have, if no more than `most` are kept: int64 [left rows]."""
        return np.minimum(self.width * LANES, min(most, self.right.columns))

    @cached_property
    def ones(self) -> bool:
        """Whether each pair adds 1 to each sum, so that sums are counts."""
        one = np.ones(1)
        if self.right.value is not None or any(term(one, one)[0] != 1 for term in self.terms):
            return False
        return bool((self.left.value == 1).all() and (self.right.level[self.right.counts > 0] == 1).all())

    def shards(self) -> Iterator[list[Ints64]]:
        """All left rows that meet a column, in blocks int64 [R] of about as long ones, longest first; some blocks at a
        time: what one worker does before it asks for more."""
        bits = max(self.left.rows, 1).bit_length()
        key = (-self.width << bits) | np.arange(self.left.rows)
        key.sort()
        order = (key & ((1 << bits) - 1))[: np.count_nonzero(self.width)]
        falling = -self.width.take(order)
        shard: list[Ints64] = []
        first = strips = 0
        while first < len(order):  # a step a block
            longest, last = -int(falling[first]), self._block_end(falling, first)
            shard.append(order[first:last])
            strips += longest * (last - first)
            first = last
            if len(shard) == SHARD or strips * LANES >= SHARD * self._cells:
                yield shard
                shard, strips = [], 0
        if shard:
            yield shard

    def _block_end(self, falling: Ints64, first: int) -> int:
        """The end of the block that begins at `first`; `falling` int64 are the rows' widths below 0."""
        longest = -int(falling[first])
        least, size = longest - PADDING, longest * LANES
        if self._crowded(longest):
            least, size = max(least, self._most_sorted + 1), max(size, self.right.columns)
        alike = int(np.searchsorted(falling, -least, side="right"))
        return max(min(first + self._cells // size, alike), first + 1)

    @property
    def _cells(self) -> int:
        """Pairs a block, or counters."""
        return current().block_bytes(BLOCK) // 8

    @cached_property
    def counts_alone(self) -> bool:
        """Whether no sums are asked for that are not counts."""
        return self.ones or not self.terms

    @cached_property
    def short(self) -> bool:
        """Whether pairs are sorted as 16-bit numbers."""
        return self.counts_alone and self.right.column.dtype == np.uint16 and _sorts_short()

    @cached_property
    def _most_sorted(self) -> int:
        """How many strips a row may lead to that is sorted."""
        share = SUMMED if not self.counts_alone else COUNTED_SHORT if self.short else COUNTED
        return int(share * self.right.columns / LANES)

    def _crowded(self, width: int) -> bool:
        return width > self._most_sorted

    def overlaps(self, shard: Sequence[Ints64]) -> Iterator[Overlaps]:
        """Where the rows of each block of a shard meet columns."""
        pairs = self._pairs(shard)
        first = 0
        for rows in shard:
            width = int(self.width[rows[0]])
            part = pairs.part(first, len(rows), width)
            first += len(rows) * width
            if self._crowded(width):
                yield TabledOverlaps(rows, self.right.columns, len(self.terms), self.ones, part.table)
            else:
                yield part.listed(rows)

    def _pairs(self, shard: Sequence[Ints64]) -> _Pairs:
        rows = np.concatenate(shard)
        width = self.width.take(rows)
        longest = np.concatenate([np.full(len(block), self.width[block[0]]) for block in shard])
        # Each row has an entry more, which leads to as many empty strips as it has less than the longest of its block.
        starts = self.left.indptr.take(rows)
        counts = self.left.indptr.take(rows + 1) - starts + 1
        last = np.cumsum(counts) - 1
        entry = concat_ranges(starts, counts)
        middle = self.left.column.take(entry, mode="clip")
        first, strips = self.right.first.take(middle), self.right.strips.take(middle)
        first[last], strips[last] = self.right.empty, longest - width
        strip = concat_ranges(first, strips).reshape(1, -1)
        if self.counts_alone:
            return _Pairs(self, strip, np.empty(0), np.empty(0))
        left = np.repeat(self.left.value.take(entry, mode="clip"), strips)
        return _Pairs(self, strip, left, np.repeat(self.right.level.take(middle), strips))


@cache
def _sorts_short() -> bool:
    """Whether NumPy has fast sorts of 16-bit numbers here."""
    return SORTS_SHORT in (np.show_config(mode="dicts") or {}).get("SIMD Extensions", {}).get("found", ())


@dataclass(frozen=True)
class _Pairs:
    """The strips that left rows lead to, `strip` int64 [R, W], and for each the left value and the right row's level,
    float64 [R W] both (nothing where sums are counts)."""

    product: Product
    strip: Ints64
    left: Floats64
    level: Floats64

    def part(self, first: int, rows: int, width: int) -> _Pairs:
        """So many rows from a strip on, of so many strips each."""
        part = slice(first, first + rows * width)
        return _Pairs(
            self.product, self.strip.reshape(-1)[part].reshape(rows, width), self.left[part], self.level[part]
        )

    def listed(self, rows: Ints64) -> ListedOverlaps:
        """Sort the pairs of each row by column, and those of a column by position; runs are what meets."""
        right = self.product.right
        width = self.strip.shape[1] * LANES
        key, bits = self._keys()
        key.sort(axis=1)
        column = key >> key.dtype.type(bits) if bits else key
        ends_run = np.empty(key.shape, bool)
        np.not_equal(column[:, 1:], column[:, :-1], out=ends_run[:, :-1])
        # Empty strips have a column beyond all others, so what they fill is the end of a row.
        np.not_equal(column[:, -1], right.columns, out=ends_run[:, -1])
        ends = np.flatnonzero(ends_run)
        row_starts = np.arange(len(rows) + 1) * width
        indptr = np.searchsorted(ends, row_starts)
        common = np.empty_like(ends)
        np.subtract(ends[1:], ends[:-1], out=common[1:])
        common[indptr[:-1]] = ends[indptr[:-1]] - row_starts[:-1] + 1
        if bits:
            key &= key.dtype.type((1 << bits) - 1)
            real = ends[indptr[1:] - 1] - row_starts[:-1] + 1
            sums = self._run_sums(key, real, ends_run.reshape(-1))
        else:
            sums = (common,) * len(self.product.terms)
        return ListedOverlaps(rows, indptr, column.reshape(-1).take(ends), common, sums, right.columns)

    def _keys(self) -> tuple[AnyArray, int]:
        """The column of each pair [R, pairs], and where it stands in its row below that, in so many bits."""
        right = self.product.right
        column = right.column.take(self.strip.reshape(-1), axis=0, mode="clip").reshape(len(self.strip), -1)
        if self.product.short:
            return column, 0
        shared = self._shared
        bits = (column.shape[1] // shared).bit_length() if len(self.left) else 0
        key: AnyArray = column.astype(np.uint32 if right.columns.bit_length() + bits <= 32 else np.int64)
        if bits:
            key <<= key.dtype.type(bits)
            key |= (np.arange(column.shape[1]) // shared).astype(key.dtype)
        return key, bits

    @property
    def _shared(self) -> int:
        """How many pairs in a strip have a weight in common."""
        return LANES if self.product.right.value is None else 1

    def _run_sums(self, place: AnyArray, real: Ints64, ends_run: Bools) -> tuple[AnyArray, ...]:
        """Each term's sum over each run: float64 [runs]. `place` [R, pairs] says where each sorted pair stood; of each
        row `real` int64 [R] are pairs, and the others come from what is empty in its strips."""
        rows, width = place.shape
        at = place + (np.arange(rows) * (width // self._shared)).astype(place.dtype)[:, None]
        run = np.zeros(len(ends_run), np.int64)
        np.cumsum(ends_run[:-1], out=run[1:])
        runs = int(run[-1] + ends_run[-1])
        empty = concat_ranges(np.arange(rows) * width + real, width - real)
        sums = []
        for term in range(len(self.product.terms)):  # few: one to five
            weight = self._weights(term, slice(None)).reshape(-1).take(at.reshape(-1))
            weight[empty] = 0
            sums.append(sums_at(run, weight, runs)[:runs])
        return tuple(sums)

    def _weights(self, term: int, part: slice) -> Floats64:
        """What pairs add to a sum: float64 [strips, LANES], or [strips, 1] where all of a strip add the same."""
        function, right = self.product.terms[term], self.product.right
        if right.value is None:
            return function(self.left[part], self.level[part])[:, None]
        value = right.value.take(self.strip.reshape(-1)[part], axis=0, mode="clip")
        return np.broadcast_to(function(self.left[part, None], value), value.shape)

    def table(self, term: int | None) -> AnyArray:
        """A counter for each row and column: int64 [R, columns], or float64 sums of a term."""
        stride = self.product.right.columns + 1
        cells = len(self.strip) * stride
        total: AnyArray | None = None
        for part in self._parts():  # a step a part of a row that is too long to be read at once; else one
            cell = self._counters(part, stride)
            weight = None
            if term is not None:
                weight = np.broadcast_to(self._weights(term, part), (len(cell) // LANES, LANES)).reshape(-1)
            if total is not None and weight is not None:
                # What was summed up so far goes first, so that sums are added up in order.
                cell, weight = np.append(np.arange(cells), cell), np.append(total, weight)
            found = np.bincount(cell, weight, minlength=cells)
            total = found if total is None or weight is not None else total + found
        return np.asarray(total).reshape(-1, stride)[:, :-1]

    def _parts(self) -> Iterator[slice]:
        rows, width = self.strip.shape
        step = rows * width if rows > 1 else max(current().block_bytes(BLOCK) // 8 // LANES, 1)
        return (slice(start, start + step) for start in range(0, rows * width, step))

    def _counters(self, part: slice, stride: int) -> AnyArray:
        """Which counter each pair adds to: integers [pairs]."""
        column = self.product.right.column.take(self.strip.reshape(-1)[part], axis=0, mode="clip")
        rows = len(self.strip)
        if rows == 1:
            return column.reshape(-1)
        column = column.reshape(rows, -1)
        return np.add(column, (np.arange(rows) * stride)[:, None]).reshape(-1)


def multiplied(left: SparseRows, right: SparseRows) -> SparseRows:
    """left @ right, with all entries in which rows and columns meet, be their sum 0: (left rows x right columns)."""
    product = Product(left, right.strips, (np.multiply,))
    slots = RowSlots.of(product.room(right.columns), (np.int32, np.float64))
    for shard in product.shards():  # a step a shard
        for met in product.overlaps(shard):
            at = met.meetings()
            indptr, column = met.picked(at)
            slots.put(met.rows, np.diff(indptr), (column, met.sums[0].reshape(-1).take(at)))
    indptr, (column, value) = slots.closed()
    return SparseRows(frozen(indptr), frozen(column), frozen(value), right.columns)
