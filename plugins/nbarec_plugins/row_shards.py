"""The rows of a sparse matrix, or its columns, laid out for fitting: shards of like work, blocks of one length.

What a half sweep of alternating least squares reads again and again is kept as small as it goes (uint16 or int32, and
float32), and made part by part, so that no second copy of the matrix stands beside the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import AnyArray, Bools, Floats32, Floats64, Ints32, Ints64, Places, places_up_to, row_pointers
from nbarec.work import in_shards
from nbarec_plugins.ridge_rows import RidgeRows, blocks_of, median_ridge, padded_lengths
from nbarec_plugins.sparse_rows import SparseRows

BLOCK_BYTES = 1_500_000
"""Gathered vectors of one block: read several times, so they should nearly stay in a cache of 1 MB; and blocks should
be few, as each costs two dozen calls: half as many bytes take a quarter longer at 64 factors."""

OWN_VECTORS = 4
"""Vectors of its own that a row's steps need at a time: short rows have more of these than gathered ones."""

LONGEST_BYTES = 1 << 25
"""A row whose gathered vectors need more than this is no part of a shard: it is solved exactly, part by part."""

SHARD_TERMS = 1 << 15
"""The fewest terms of a shard, so that handing it to a worker costs little beside its work."""

PART = 1 << 18
"""Places that are looked at at a time where all would be too many."""

MOST_SHARDS = 64
"""Enough of them to keep many workers busy, few enough to be found one by one in a matrix."""

ProblemOf = Callable[[SparseRows], RidgeRows]
"""The ridge regressions of rows; those of some rows alone are theirs among all."""


@dataclass(frozen=True)
class FitBlock:
    """B rows padded to L terms. `column` uint16 or int32 [B, L]: of the design, one beyond its last in the padding;
    `strength` and `target` float32 [B, L], or [B, 1] where each row has one for all its terms, or [1, 1]."""

    column: Places
    strength: Floats32
    target: Floats32


@dataclass(frozen=True)
class Shard:
    """Rows that one worker improves: `row` int32 [R], their `ridge` float64 [R], and their `blocks`, in that order."""

    row: Ints32
    ridge: Floats64
    blocks: tuple[FitBlock, ...]

    @property
    def largest(self) -> int:
        """The places of the largest block."""
        return max(block.column.size for block in self.blocks)


@dataclass(frozen=True)
class Layout:
    """All rows with terms: those in `shards`, and `long_row` int64, too long for a shard, with their problem `long`.

    `usual_ridge`: the median of all ridges, 1 without any. `terms` int64 [columns]: those of each column.
    """

    shards: tuple[Shard, ...]
    long_row: Ints64
    long: RidgeRows
    usual_ridge: float
    terms: Ints64

    @classmethod
    def of_rows(cls, pairs: SparseRows, problem_of: ProblemOf, bytes_each: int) -> Layout:
        """A row of the matrix is a problem over its columns, of which one takes `bytes_each` when it is gathered."""
        groups = _groups(pairs.counts, bytes_each)
        terms = occurrences(pairs.column, pairs.columns)
        return cls._laid_out(groups, lambda group: pairs.take_rows(groups[group]), problem_of, bytes_each, terms)

    @classmethod
    def of_columns(cls, pairs: SparseRows, problem_of: ProblemOf, bytes_each: int) -> Layout:
        """A column of the matrix is a problem over its rows."""
        groups = _groups(occurrences(pairs.column, pairs.columns), bytes_each)
        columns = _Columns.of(pairs, groups)
        return cls._laid_out(groups, columns.of_group, problem_of, bytes_each, pairs.counts)

    @classmethod
    def _laid_out(
        cls,
        groups: list[Ints64],
        part_of: Callable[[int], SparseRows],
        problem_of: ProblemOf,
        bytes_each: int,
        terms: Ints64,
    ) -> Layout:
        long = problem_of(part_of(0))
        shards = tuple(
            in_shards(
                lambda group, _: _shard(groups[group], problem_of(part_of(group)), bytes_each, len(terms)),
                range(1, len(groups)),
            )
        )
        ridge = np.concatenate([long.ridge, *(shard.ridge for shard in shards)])
        return cls(shards, groups[0], long, median_ridge(ridge), terms)


def occurrences(place: Ints32, places: int) -> Ints64:
    """How often each place occurs: int64 [places]. `np.bincount` makes an int64 copy of all, this one of a part."""
    counts = np.zeros(places, np.int64)
    for part in _parts(place):
        counts += np.bincount(place[part], minlength=places)
    return counts


def at_places(values: AnyArray, place: Ints32) -> AnyArray:
    """`values` [K] at each place: [N]. `np.take` makes an int64 copy of all places, this one of a part."""
    found = np.empty(len(place), values.dtype)
    for part in _parts(place):
        values.take(place[part], out=found[part], mode="clip")
    return found


def _parts(place: Ints32) -> Iterator[slice]:
    """Parts of a long array: what bounds the memory of whatever goes over them."""
    for start in range(0, len(place), PART):
        yield slice(start, start + PART)


def _groups(counts: Ints64, bytes_each: int) -> list[Ints64]:
    """Rows that are too long for a shard, then the rows of each shard, longest first: int64 each.

    Shards have about as many terms each. The cuts depend on the counts alone.
    """
    length = padded_lengths(counts)
    order = np.argsort(-length, kind="stable")[: np.count_nonzero(counts)]
    long = int(np.count_nonzero(length * bytes_each > LONGEST_BYTES))
    before = np.cumsum(counts[order[long:]])
    size = max(SHARD_TERMS, -(-int(before[-1]) // MOST_SHARDS)) if len(before) else 1
    cuts = np.flatnonzero(np.diff((before - 1) // size)) + 1
    shards = np.split(order[long:], cuts) if len(before) else []
    return [order[:long], *shards]


@dataclass(frozen=True)
class _Columns:
    """The columns of a matrix as rows, group by group: `group` uint8 [entries] is that of each entry's column, `place`
    int64 [columns] where a column stands in its group, `row` uint16 or int32 [entries] each entry's row."""

    pairs: SparseRows
    groups: list[Ints64]
    group: np.ndarray
    place: Ints64
    row: Places

    @classmethod
    def of(cls, pairs: SparseRows, groups: list[Ints64]) -> _Columns:
        place = np.zeros(pairs.columns, np.int64)
        group = np.zeros(pairs.columns, np.uint8)
        for number, columns in enumerate(groups):  # a step a shard
            place[columns] = np.arange(len(columns))
            group[columns] = number
        row = np.repeat(np.arange(pairs.rows, dtype=places_up_to(pairs.rows)), pairs.counts)
        return cls(pairs, groups, at_places(group, pairs.column), place, row)

    def of_group(self, number: int) -> SparseRows:
        """A group's columns, in its order, as rows: one sort of (place in the group | place among its entries)."""
        at = np.flatnonzero(self.group == number)
        place = self.place.take(self.pairs.column.take(at))
        bits = len(at).bit_length()
        order = (place << bits) | np.arange(len(at))
        order.sort()
        order &= (1 << bits) - 1
        at = at.take(order)
        counts = np.bincount(place, minlength=len(self.groups[number]))
        rows = self.row.take(at).astype(np.int32)
        return SparseRows(row_pointers(counts), rows, self.pairs.value[at], self.pairs.rows)


def _shard(row: Ints64, problem: RidgeRows, bytes_each: int, columns: int) -> Shard:
    """A shard in blocks; `columns` is one beyond the design's last."""
    blocks = []
    order = []
    # One step a block of rows.
    for block in blocks_of(problem, np.arange(len(row)), OWN_VECTORS * bytes_each, bytes_each, BLOCK_BYTES):
        inside = np.arange(block.column.shape[1]) < problem.counts[block.row][:, None]
        column = np.where(inside, block.column, columns).astype(places_up_to(columns))
        blocks.append(FitBlock(column, _said_once(block.strength, inside), _said_once(block.target, inside)))
        order.append(block.row)
    rows = np.concatenate(order)
    ridge = problem.ridge[rows]
    alike = (ridge == ridge[0]).all()
    return Shard(
        row[rows].astype(np.int32),
        np.broadcast_to(ridge[0], len(ridge)) if alike else ridge,  # a view of one number takes no memory
        tuple(blocks),
    )


def _said_once(values: Floats64, inside: Bools) -> Floats32:
    """float32 [B, L], or [B, 1] where each row has the same number in all its places, or [1, 1] where all have;
    `inside` is not padding."""
    first = values[:, :1]
    if not (np.where(inside, values, first) == first).all():
        return values.astype(np.float32)
    return (first[:1] if (first == first[0]).all() else first).astype(np.float32)
