"""The few operations that generators share: best first with honest ties, profiles, accumulation."""

from __future__ import annotations

import numpy as np

from nbarec.arrays import Floats64, Ints64, concat_ranges, frozen, rank_in_row, row_pointers, stable_order
from nbarec.batch import Candidates
from nbarec.sparse import Csr

TIE = 1e-9
"""Scores that differ by no more than this share of the row's largest score are ties."""

NOT_PROPOSED = -np.inf


def best_first(
    row: np.ndarray, item: np.ndarray, score: Floats64, rows: int, limit: int, largest: Floats64 | None = None
) -> Candidates:
    """The `limit` best entries of each row, best first; ties go by item position.

    `row` int64 [N], `item` int [N], `score` float64 [N], finite. Rounding noise must not decide an order, so
    neighbours in the order whose scores differ by no more than `TIE` of the row's largest score form one group
    with one score, the group's best. `largest` float64 [rows] is that score's size, where entries were left out.
    """
    order = np.lexsort((item, -score, row))
    row, item, score = row[order], item[order], score[order]
    indptr = row_pointers(np.bincount(row, minlength=rows))
    if largest is None:
        largest = np.zeros(rows)
        filled = np.flatnonzero(np.diff(indptr))
        largest[filled] = np.maximum(np.abs(score[indptr[filled]]), np.abs(score[indptr[filled + 1] - 1]))
    starts_group = np.ones(len(row), bool)
    starts_group[1:] = (row[1:] != row[:-1]) | (score[:-1] - score[1:] > TIE * largest[row[1:]])
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

    Only entries that can still be among the best are sorted: those at least as good as the row's `limit`-th, and
    its ties.
    """
    rows, items = scores.shape
    possible = scores > NOT_PROPOSED
    largest = np.max(np.abs(scores), axis=1, where=possible, initial=0.0)
    if 0 < limit < items:
        possible &= scores >= _last_possible(scores, limit, TIE * largest)[:, None]
    row, item = np.nonzero(possible)
    return best_first(row, item, scores[row, item], rows, limit, largest)


def _last_possible(scores: Floats64, limit: int, tolerance: Floats64) -> Floats64:
    """The least score in each row of the group of ties that the `limit`-th best is in: float64 [B].

    `scores` float64 [B, items] with more than `limit` items, `tolerance` float64 [B].
    """
    at = scores.shape[1] - limit
    parted = np.partition(scores, at, axis=1)
    last = parted[:, at].copy()
    with np.errstate(invalid="ignore"):  # -inf less -inf: beyond the last proposed entry, and no tie of it
        tied = np.flatnonzero(last - parted[:, :at].max(axis=1) <= tolerance)
        falling = np.sort(parted[tied, : at + 1], axis=1)[:, ::-1]
        ends_group = falling[:, :-1] - falling[:, 1:] > tolerance[tied, None]
    ends_group = np.append(ends_group, np.ones((len(tied), 1), bool), axis=1)
    last[tied] = falling[np.arange(len(tied)), ends_group.argmax(axis=1)]
    return last


def from_lists(lists: Candidates, which: Ints64, excluded: Csr, limit: int) -> Candidates:
    """Row r gets the first `limit` items of list `which[r]` that are not excluded for it, in the list's order.

    `lists` holds L lists, `which` int64 [B], `excluded` (B x items). A list need not be longer than `reach` says.
    """
    row, place = _excluded_places(lists, which, excluded)
    gaps = np.bincount(row, minlength=len(which))
    counts = np.minimum(np.diff(lists.indptr).take(which) - gaps, limit)
    width = int(counts.max(initial=0))
    # What is left at place j of a row stands as many places further on as there are excluded ones before it: the n-th
    # of those (from 0) is before all that are left but the first `place - n`.
    left_before = place - np.arange(len(place)) + (np.cumsum(gaps) - gaps).take(row)
    near = left_before < width
    skipped = np.bincount((row * width + left_before).compress(near), minlength=len(which) * width)
    at = np.cumsum(skipped.reshape(len(which), width), axis=1)
    at += np.arange(width)
    at += lists.indptr.take(which)[:, None]
    kept = at[np.arange(width) < counts[:, None]]
    return Candidates(frozen(row_pointers(counts)), frozen(lists.item.take(kept)), frozen(lists.score.take(kept)))


def _excluded_places(lists: Candidates, which: Ints64, excluded: Csr) -> tuple[Ints64, Ints64]:
    """The places (from 0) of the items of each row's list that are excluded for it, ascending: row and place, int64.

    What is excluded is looked up in the lists and not the other way round: one list may be everybody's.
    """
    bits = excluded.shape[1].bit_length()
    key = (lists.row << bits) | lists.item
    order = stable_order(key, bits + len(lists.indptr).bit_length())
    row = excluded.row_of
    wanted = (which.take(row) << bits) | excluded.indices
    if not len(key) or not len(wanted):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    key = key.take(order)
    at = np.searchsorted(key, wanted)
    found = np.flatnonzero(key.take(at, mode="clip") == wanted)
    row, at = row.take(found), order.take(at.take(found))
    place = at - lists.indptr.take(which.take(row))
    bits = len(key).bit_length()
    sorted_places = np.sort((row << bits) | place)
    return sorted_places >> bits, sorted_places & ((1 << bits) - 1)


def reach(excluded: Csr, limit: int) -> int:
    """How far into a list any row can look for `limit` items that are not excluded for it."""
    return limit + int(excluded.counts.max(initial=0))


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
    # bincount forgets its weights where there are none, and would give whole numbers
    summed = np.bincount(cell, weights=share, minlength=left.shape[0] * width).astype(np.float64, copy=False)
    return summed.reshape(left.shape[0], width)
