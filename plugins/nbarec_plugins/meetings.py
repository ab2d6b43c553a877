"""Where chosen rows and columns of a sparse product meet: what the score of a pair is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, concat_ranges, frozen, row_pointers
from nbarec.evidence import Evidence
from nbarec_plugins.sparse_rows import SparseRows, sums_at

CELLS = 1 << 19
"""How many meetings are looked for at a time, about: 4 MB an array."""


@dataclass(frozen=True)
class Meetings:
    """Where M pairs of a left row and a right column meet, pair by pair and in the order of the left row's entries.

    Entry `left` int64 [N] of the left side stands in the row of `pair` int64 [N] and leads to its column, where the
    right side holds `value` float64 [N].
    """

    pair: Ints64
    left: Ints64
    value: Floats64

    @classmethod
    def of(cls, left: SparseRows, right: SparseRows, row: Ints64 | Ints32, column: Ints64 | Ints32) -> Meetings:
        """`left` (rows x middle), `right` (middle x columns); `row` and `column` int [M] say which pairs.

        All meetings of a pair, in this order, are what `overlaps` adds up for it.
        """
        counts = left.counts[row]
        pair = np.repeat(np.arange(len(row)), counts)
        entry = concat_ranges(left.indptr[row], counts)
        at = _stored_at(right, left.column[entry], column[pair])
        met = np.flatnonzero(at >= 0)
        return cls(pair[met], entry[met], right.value[at[met]])


def _stored_at(rows: SparseRows, row: Ints32, column: Ints64 | Ints32) -> Ints64:
    """Which entry each (row, column) is, -1 where there is none: int64 [N]. Bisection in all rows at once."""
    low, end = rows.indptr[row], rows.indptr[row + 1]
    high, last = end, len(rows.column) - 1
    # A step halves what is left of every row: as many steps as the logarithm of the longest.
    while (wide := low < high).any():
        middle = (low + high) >> 1
        below = wide & (rows.column[np.minimum(middle, last)] < column)
        low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
    inside = np.flatnonzero(low < end)
    inside = inside[rows.column[low[inside]] == column[inside]]
    at = np.full(len(low), -1, np.int64)
    at[inside] = low[inside]
    return at


def evidence_of_product(
    left: SparseRows,
    right: SparseRows,
    row: Ints32,
    item: Ints32,
    limit: int,
    because: str,
    *,
    mean: bool = False,
) -> Evidence:
    """What each item of the history adds to the scores left @ right of M pairs, `row` and `item` int32 [M].

    `left` (B x items) holds the history, `right` (items x items) what each item leads to. With `mean` a score is
    divided by the sum of its |right| values, and so is each part.
    """

    def told(pairs: slice) -> Evidence:
        met = Meetings.of(left, right, row[pairs], item[pairs])
        size = len(item[pairs])
        amount = left.value[met.left] * met.value
        if mean:
            amount = amount / sums_at(met.pair, np.abs(met.value), size)[met.pair]
        score = sums_at(met.pair, amount, size)
        at = chosen(left.value[met.left], amount)
        return Evidence.strongest(met.pair[at], left.column[met.left[at]], amount[at], score, limit, because)

    return in_blocks(left.counts[row], told)


def chosen(weight: Floats64, amount: Floats64) -> Ints64:
    """Positions of the parts that a sentence such as `you chose {}` is true of: int64.

    An item that was turned down may speak for another by being unlike it. That nobody would call chosen, so it is left
    to the rest; what it says against the other is told. `weight` float64 [N] is what the history gives each part.
    """
    return np.flatnonzero((weight > 0) | (amount <= 0))


def in_blocks(cost: Ints64, explain: Callable[[slice], Evidence]) -> Evidence:
    """The evidence of all pairs, block by block: `cost` int64 [M] says how many cells each pair takes to explain."""
    before = row_pointers(cost)
    start, told = 0, [explain(slice(0, 0))]
    # One step a block of pairs: what bounds the memory.
    while start < len(cost):
        stop = int(np.searchsorted(before, before[start] + CELLS, side="right")) - 1
        stop = min(max(stop, start + 1), len(cost))
        told.append(explain(slice(start, stop)))
        start = stop
    return _stacked(told)


def _stacked(told: list[Evidence]) -> Evidence:
    """The evidence of consecutive pairs, one below the other."""
    return Evidence(
        indptr=frozen(row_pointers(np.concatenate([np.diff(one.indptr) for one in told]))),
        item=frozen(np.concatenate([one.item for one in told])),
        label=tuple(label for one in told for label in one.label),
        amount=frozen(np.concatenate([one.amount for one in told])),
        rest=frozen(np.concatenate([one.rest for one in told])),
        because=told[0].because,
    )
