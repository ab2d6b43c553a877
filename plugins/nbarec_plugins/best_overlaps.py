"""The best columns of each row of a sparse product: what neighbourhood models propose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints32, Ints64, frozen
from nbarec.batch import Candidates
from nbarec.kernels import TIE
from nbarec.sparse import Csr
from nbarec.work import on_shards
from nbarec_plugins.contenders import Contenders, Strength, Wanted
from nbarec_plugins.overlaps import padded
from nbarec_plugins.row_products import Product
from nbarec_plugins.row_slots import RowSlots


def best_overlaps(product: Product, score: Strength, excluded: Csr, limit: int) -> Candidates:
    """The `limit` best columns of each row of a product, best first, without the `excluded` (left rows x columns).

    Only what has a score above 0 is proposed. Scores that differ by no more than `TIE` of the row's largest from one to
    the next are ties, have the score of the best of them, and go by column, as in `kernels.best_first`.
    """
    if limit <= 0:
        return Candidates.empty(product.left.rows)
    wanted = Wanted(limit, excluded)
    slots = RowSlots.of(product.room(limit), (np.int32, np.float32))

    def fill(shard: Sequence[Ints64]) -> None:
        found = Contenders.of(product, shard, score, wanted)
        best = ranked(found, limit)
        if best.unsure.any():  # rare
            found = Contenders.of(product, shard, score, wanted, bounded=False)
            best = ranked(found, limit)
        slots.put(found.rows, best.counts, (best.item, best.score))

    on_shards(fill, product.shards())
    indptr, (item, kept) = slots.closed()
    return Candidates(frozen(indptr), frozen(item), frozen(kept))


@dataclass(frozen=True)
class Best:
    """The best of each row, best first: `counts` int64 [R], `item` int32 [kept], `score` float64 [kept].

    `unsure` bool [R]: rows that may have further ties among what was not looked at.
    """

    counts: Ints64
    item: Ints32
    score: Floats64
    unsure: Bools


def ranked(found: Contenders, limit: int) -> Best:
    """The best first, row by row side by side: sorted by score, then the members of each group of ties by column."""
    counts = found.counts
    score = padded(found.strength, found.indptr[:-1], counts, -np.inf)
    column = padded(found.column, found.indptr[:-1], counts, 0)
    rows, width = score.shape
    if not width:
        return Best(counts, found.column, found.strength, np.zeros(rows, bool))
    order = np.argsort(-score, axis=1)
    order += (np.arange(rows) * width)[:, None]
    score = score.take(order)
    tolerance = TIE * found.largest
    starts_group = np.ones(score.shape, bool)
    with np.errstate(invalid="ignore"):  # -inf less -inf, behind the last entry: no group of its own
        np.greater(score[:, :-1] - score[:, 1:], tolerance[:, None], out=starts_group[:, 1:])
    group = np.cumsum(starts_group).reshape(score.shape)
    group -= 1
    bits = int(column.max()).bit_length()
    key = (group << bits) | column.take(order)
    key.sort(axis=1)
    kept = np.minimum(counts, limit)
    every, last = np.arange(rows), np.maximum(counts, 1) - 1
    same = group[every, np.maximum(kept, 1) - 1] == group[every, last]
    unsure = same & (score[every, last] - found.floor <= tolerance)
    at = np.flatnonzero(np.arange(width) < kept[:, None])
    key = key.take(at)
    best_of_group = score.take(np.flatnonzero(starts_group)).take(key >> bits)
    return Best(kept, (key & ((1 << bits) - 1)).astype(np.int32), best_of_group, unsure & ~found.whole)
