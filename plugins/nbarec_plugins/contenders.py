"""The strongest entries of each row of a sparse product, found without sorting the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints32, Ints64, concat_ranges, frozen, row_pointers
from nbarec.sparse import Csr
from nbarec.work import in_shards
from nbarec_plugins.overlaps import Overlaps
from nbarec_plugins.row_products import Product
from nbarec_plugins.row_slots import RowSlots
from nbarec_plugins.sparse_rows import GRADES, SparseRows

SLACK = 4 / GRADES
"""What lies less than this share of a row's largest strength below a bound is kept too: it may be a tie."""

LOWEST = float(np.finfo(np.float64).min)

Strength: TypeAlias = Callable[[Overlaps], Floats64]
"""How strong the entries of a block are: float64, shaped as they are, in an array of its own. 0 where nothing meets."""


@dataclass(frozen=True)
class Wanted:
    """What is looked for: the `limit` strongest entries of each row, without those of `barred` (left rows x columns),
    without those whose size is at most `least`, and without negative ones, unless they may be `negative`."""

    limit: int
    barred: Csr
    least: float = 0.0
    negative: bool = False

    @cached_property
    def counts(self) -> Ints64:
        """Barred entries of each left row: int64 [left rows]."""
        return self.barred.counts

    def barred_of(self, rows: Ints64, columns: int) -> tuple[Ints64, Ints32]:
        """The barred entries of these rows, int64 [R]: positions in `rows`, and columns. Some may lie beyond `columns`,
        where the catalogue has grown since the fit; these are left out."""
        counts = self.counts.take(rows)
        entry = concat_ranges(self.barred.indptr.take(rows), counts)
        row, column = np.repeat(np.arange(len(rows)), counts), self.barred.indices.take(entry)
        inside = column < columns
        return (row, column) if inside.all() else (row[inside], column[inside])


@dataclass(frozen=True)
class Contenders:
    """The entries of some left rows that can be among the strongest: `rows` int64 [R] says which rows these are.

    `counts` int64 [R] contenders a row, `column` int32 [contenders] ascending in each row, `strength` float64
    [contenders]; `largest` float64 [R] is the size of each row's largest strength. No entry as strong as `floor`
    float64 [R] is missing, and none at all in rows that are `whole`, bool [R].
    """

    rows: Ints64
    counts: Ints64
    column: Ints32
    strength: Floats64
    largest: Floats64
    floor: Floats64
    whole: Bools

    @classmethod
    def of(
        cls, product: Product, shard: Sequence[Ints64], strength: Strength, wanted: Wanted, *, bounded: bool = True
    ) -> Contenders:
        """Of the rows of a shard, by a `strength` that is above 0 or may be negative. Not `bounded`, every entry is a
        contender that is not barred, too small or negative."""
        blocks = [_of_block(met, strength(met), wanted, bounded) for met in product.overlaps(shard)]
        found = blocks[0] if len(blocks) == 1 else _joined(blocks)
        found = found._without(*wanted.barred_of(found.rows, product.right.columns), product.right.columns)
        return replace(found, largest=np.maximum(found.largest, found._strongest_of_each()))

    @cached_property
    def indptr(self) -> Ints64:
        """Row pointers: int64 [R + 1]."""
        return row_pointers(self.counts)

    def _without(self, row: Ints64, column: Ints32, columns: int) -> Contenders:
        """Without these entries, as far as they are contenders: positions in `rows`, and columns."""
        there = np.repeat(np.arange(len(self.rows)) * columns, self.counts)
        there += self.column
        out = row * columns + column
        at = np.searchsorted(there, out)
        out_at = at[there.take(at, mode="clip") == out] if len(there) else at[:0]
        if not len(out_at):
            return self
        stays = np.ones(len(there), bool)
        stays[out_at] = False
        left = np.flatnonzero(stays)
        indptr = np.searchsorted(left, self.indptr)
        counts = indptr[1:] - indptr[:-1]
        return replace(self, counts=counts, column=self.column.take(left), strength=self.strength.take(left))

    def _strongest_of_each(self) -> Floats64:
        """The strength of each row's strongest contender, 0 where there is none: float64 [R]."""
        strongest, filled = np.zeros(len(self.rows)), np.flatnonzero(self.counts)
        if len(filled):
            strongest[filled] = np.maximum.reduceat(self.strength, self.indptr.take(filled))
        return strongest

    def strongest(self, limit: int) -> Contenders:
        """The `limit` strongest of each row; ties, which are those of one grade (`grades`), go by column.

        Row, grade and place in the row make one number each, so that a single sort finds the last that is kept.
        """
        longest = int(self.counts.max())
        if longest <= limit:
            return self
        grade = self.strength / np.repeat(np.where(self.largest > 0, self.largest, 1.0), self.counts)
        grade *= -GRADES
        key = np.rint(grade, out=grade).astype(np.int64)
        bits = longest.bit_length()
        key <<= bits
        # The place in a row, and the row in front of the grades, which are from -GRADES to GRADES.
        start = (np.arange(len(self.counts)) << bits + GRADES.bit_length() + 1) - self.indptr[:-1]
        key += np.repeat(start, self.counts)
        key += np.arange(len(key))
        kept = np.minimum(self.counts, limit)
        last = np.sort(key).take(self.indptr[:-1] + np.maximum(kept, 1) - 1, mode="clip")
        at = np.flatnonzero(key <= np.repeat(last, self.counts))
        return replace(self, counts=kept, column=self.column.take(at), strength=self.strength.take(at))


def _of_block(met: Overlaps, strength: Floats64, wanted: Wanted, bounded: bool) -> Contenders:
    """The contenders of a block, barred ones included. `largest` is 0 where the largest contender tells it."""
    strength = np.ascontiguousarray(strength, np.float64)
    signed = wanted.negative and bool(strength.min() < 0)
    lowest = LOWEST if signed else float(np.nextafter(wanted.least, 1.0))
    if signed:
        strength.reshape(-1)[met.places(*wanted.barred_of(met.rows, met.columns))] = 0
        size = np.abs(strength)
        strength = np.where(size > wanted.least, strength, -np.inf)
    largest = met.largest(size if signed else strength)
    floor = np.full(len(met.rows), lowest)
    if bounded:
        # Where barred ones are among them, as many others follow.
        bound = _bounds(met, strength, wanted.limit + wanted.counts.take(met.rows))
        floor = np.maximum(floor, bound - SLACK * largest)
    at = np.flatnonzero(strength >= met.spread(floor))
    indptr, column = met.picked(at)
    found = strength.reshape(-1).take(at)
    size_known = largest if signed else np.zeros(len(floor))
    counts = indptr[1:] - indptr[:-1]
    return Contenders(met.rows, counts, column, found, size_known, floor, floor == lowest)


def _bounds(met: Overlaps, strength: Floats64, limit: Ints64) -> Floats64:
    """A strength that `limit` int64 [R] entries of each row reach, -inf where there are not as many: float64 [R].

    Disjoint groups of entries have different ones as their largest.
    """
    groups = met.largest_of_groups(strength, int(limit.mean()))
    groups.sort(axis=1)
    at = groups.shape[1] - limit
    enough = np.flatnonzero(at >= 0)
    bound = np.full(len(limit), -np.inf)
    bound[enough] = groups[enough, at.take(enough)]
    return bound


def _joined(blocks: Sequence[Contenders]) -> Contenders:
    """The contenders of several blocks, one below the other."""
    columns = zip(*((b.rows, b.counts, b.column, b.strength, b.largest, b.floor, b.whole) for b in blocks), strict=True)
    return Contenders(*map(np.concatenate, columns))


def strongest_met(
    product: Product, strength: Strength, wanted: Wanted, advance: Callable[[int], None] | None = None
) -> SparseRows:
    """The strongest entries of each row of a product, ties by column: (left rows x columns).

    Strengths within 1e-9 of the row's largest are ties. `advance` is told how many rows are done.
    """
    columns = product.right.columns
    slots = RowSlots.of(product.room(wanted.limit), (np.int32, np.float64))

    def fill(shard: Sequence[Ints64], _shared: object) -> int:
        best = Contenders.of(product, shard, strength, wanted).strongest(wanted.limit)
        slots.put(best.rows, best.counts, (best.column, best.strength))
        return len(best.rows)

    for done in in_shards(fill, product.shards()):  # a step a shard
        if advance is not None:
            advance(done)
    indptr, (column, value) = slots.closed()
    return SparseRows(frozen(indptr), frozen(column), frozen(value), columns)
