"""Sparse rows cut into strips of one length: a single call then gathers many rows, without an index an entry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import (
    Floats64,
    Ints32,
    Ints64,
    Places,
    concat_ranges,
    frozen,
    places_up_to,
    row_blocks,
    row_pointers,
)

LANES = 16
"""Columns a strip. Shorter ones take longer to gather; longer ones have more padding, half a strip a row."""

PADDING = 64
"""Empty strips behind those of the rows: by how many the rows of a block may differ in length."""

LAID_OUT = 1 << 16
"""About how many entries are laid out at a time."""


@dataclass(frozen=True)
class Strips:
    """Row `r` is strips `first[r]` to `first[r] + count[r]` (int64 [rows] both), in the order of its entries.

    `column` [strips + PADDING, LANES] is `columns` where a strip is empty; uint16 where that fits, which halves what
    is read. `value` float64, shaped alike, says what stands there; None where all entries of a row have one value,
    which is `level` float64 [rows] then.
    """

    first: Ints64
    strips: Ints64
    counts: Ints64
    column: Places
    value: Floats64 | None
    level: Floats64
    columns: int

    @classmethod
    def of(cls, indptr: Ints64, column: Ints32, value: Floats64, columns: int) -> Strips:
        """Of compressed rows: `indptr` int64 [rows + 1], `column` int32 [entries], `value` float64 [entries]."""
        counts = np.diff(indptr)
        strips = -(-counts // LANES)
        first = row_pointers(strips)
        cut = np.full((int(first[-1]) + PADDING, LANES), columns, places_up_to(columns))
        level, values = _level(indptr, value), None
        if not _all_at(level, counts, value):
            values = np.zeros(cut.shape)
        for begin, end in row_blocks(indptr, LAID_OUT):  # a step a block of rows: what bounds the memory
            at = concat_ranges(first[begin:end] * LANES, counts[begin:end])
            inside = slice(indptr[begin], indptr[end])
            cut.reshape(-1)[at] = column[inside]
            if values is not None:
                values.reshape(-1)[at] = value[inside]
        if values is not None:
            frozen(values)
        return cls(frozen(first[:-1]), frozen(strips), frozen(counts), frozen(cut), values, frozen(level), columns)

    @property
    def empty(self) -> int:
        """The first of the empty strips."""
        return len(self.column) - PADDING


def _level(indptr: Ints64, value: Floats64) -> Floats64:
    """The first value of each row, 0 where there is none: float64 [rows]."""
    level = np.zeros(len(indptr) - 1)
    filled = np.flatnonzero(np.diff(indptr))
    level[filled] = value[indptr[filled]]
    return level


def _all_at(level: Floats64, counts: Ints64, value: Floats64) -> bool:
    """Whether all values of each row are its level."""
    if not len(value) or value.min() == value.max():
        return True
    return bool((np.repeat(level, counts) == value).all())
