"""The few operations that generators share: best first with honest ties, profiles, accumulation."""

from __future__ import annotations

import numpy as np

from nbarec.arrays import Floats64, concat_ranges, frozen, rank_in_row, row_pointers
from nbarec.batch import Candidates
from nbarec.sparse import Csr

TIE = 1e-9
"""Scores that differ by less than this share of the row's largest score are ties."""

NOT_PROPOSED = -np.inf


def best_first(row: np.ndarray, item: np.ndarray, score: Floats64, rows: int, limit: int) -> Candidates:
    """The `limit` best entries of each row, best first; ties go by item position.

    `row` int64 [N] ascending, `item` int [N], `score` float64 [N], finite. Rounding noise must not decide an
    order, so neighbours in the order whose scores differ by less than `TIE` of the row's largest score form one
    group with one score, the group's best.
    """
    order = np.lexsort((item, -score, row))
    row, item, score = row[order], item[order], score[order]
    indptr = row_pointers(np.bincount(row, minlength=rows))
    first = indptr[:-1][row]
    largest = np.maximum(np.abs(score[first]), np.abs(score[(indptr[1:] - 1)[row]]))
    starts_group = np.ones(len(row), bool)
    starts_group[1:] = (row[1:] != row[:-1]) | (score[:-1] - score[1:] > TIE * largest[1:])
    group = np.cumsum(starts_group) - 1
    by_group = np.lexsort((item, group))
    item, score = item[by_group], score[np.flatnonzero(starts_group)][group]
    kept = np.flatnonzero(rank_in_row(indptr) <= limit)
    counts = np.minimum(np.diff(indptr), limit)
    return Candidates(
        frozen(row_pointers(counts)),
        frozen(item[kept].astype(np.int32)),
        frozen(score[kept].astype(np.float32)),
    )


def top_of_dense(scores: Floats64, limit: int) -> Candidates:
    """The `limit` best items of each row of a dense block float64 [B, items]; -inf is never proposed.

    Only entries that can still be among the best are sorted: those at least as good as the row's `limit`-th,
    less the tolerance for ties.
    """
    rows, items = scores.shape
    possible = scores > NOT_PROPOSED
    if 0 < limit < items:
        floor = np.partition(scores, items - limit, axis=1)[:, items - limit, None]
        span = np.max(np.abs(scores), axis=1, where=possible, initial=0.0)[:, None]
        possible &= scores >= floor - TIE * span
    row, item = np.nonzero(possible)
    return best_first(row, item, scores[row, item], rows, limit)


def exclude(scores: Floats64, excluded: Csr) -> Floats64:
    """The same block with the excluded entries of each row at -inf, in place."""
    scores[excluded.row_of, excluded.indices] = NOT_PROPOSED
    return scores


def weighted_row_sums(left: Csr, right: Csr) -> Floats64:
    """left @ right, dense float64 [left rows, right columns], each entry added up in the order of left's row.

    The order of addition depends on the row alone, so a user's scores are the same in any batch.
    """
    counts = right.counts[left.indices]
    at = concat_ranges(right.indptr[left.indices], counts)
    width = right.shape[1]
    cell = np.repeat(left.row_of * width, counts) + right.indices[at]
    share = np.repeat(left.data.astype(np.float64), counts) * right.data[at]
    summed = np.bincount(cell, weights=share, minlength=left.shape[0] * width)
    return summed.reshape(left.shape[0], width)
