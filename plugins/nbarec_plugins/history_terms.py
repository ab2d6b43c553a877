"""What each item of a history adds to a score that is a sum over the history: the evidence of linear models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from nbarec.arrays import Floats64, Ints64, concat_ranges, row_blocks, row_pointers
from nbarec_plugins.sparse_rows import SparseRows, strongest, sums_at

TERMS = 1 << 18
"""Pairs of a wanted item and one of the history that are looked at together: a few MB."""

Amount: TypeAlias = Callable[[Ints64, Ints64], Floats64]
"""What entry n of the histories adds to the score of item i: float64 [T], of both int64 [T]."""


def strongest_terms(
    rows: SparseRows, row: Ints64, item: Ints64, limit: int, amount: Amount
) -> tuple[Ints64, Ints64, Floats64, Floats64]:
    """The entries of a row of `rows` (B x items) that add most to the scores of M pairs of a row and an item.

    `row` and `item` int64 [M]. Returns which pair, which entry of `rows`, int64 [E], and what it adds, float64 [E], not
    zero: at most `limit` a pair, the largest in size; and what all entries of each pair add up to, float64 [M].
    """
    counts = rows.counts[row]
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    total = np.zeros(len(row))
    for first, last in row_blocks(row_pointers(counts), TERMS):  # a step a block of pairs: what bounds the memory
        pair = np.repeat(np.arange(last - first), counts[first:last])
        term = concat_ranges(rows.indptr[row[first:last]], counts[first:last])
        added = amount(term, item[first:last][pair])
        total[first:last] = sums_at(pair, added, last - first)
        kept = np.flatnonzero(added)
        kept = kept[strongest(pair[kept], np.abs(added[kept]), last - first, limit)]
        found.append((first + pair[kept], term[kept], added[kept]))
    pair, term, added = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return pair, term, added, total
