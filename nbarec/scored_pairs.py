"""Pairs of row and item with exact scores, and the best of each row: what `kernels.best_first` gives, faster.

Few rows have ties among their best. All others are sorted side by side, as rows of one array.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, Ints64, frozen, row_pointers, row_starts, rows_of
from nbarec.batch import Candidates
from nbarec.kernels import NOT_PROPOSED, TIE, best_first

BLOCK = 1 << 17
"""Numbers of the vectors that are multiplied at a time: 1 MB an array, which stays in the cache."""


def pair_products(users: Floats64, items: Floats32, row: Ints64, item: Ints64) -> Floats64:
    """users[row] . items[item] of each pair, float64 [pairs]; users float64 [B, d], items float32 [n, d].

    Products are added up in float64, pair by pair, in the order of NumPy's own `einsum` of two lists of d numbers,
    which other pairs do not change. (The bits of a matrix product depend on its shape.)
    """
    scores = np.empty(len(row))
    width = users.shape[1]
    step = max(1, BLOCK // max(width, 1))
    pairs = min(step, len(row))
    gathered, of_items, of_users = np.empty((pairs, width), np.float32), *np.empty((2, pairs, width))
    # A step a block of pairs: gathered vectors stay in the cache.
    for first in range(0, len(row), step):
        block = slice(first, min(first + step, len(row)))
        inside = slice(0, block.stop - first)
        items.take(item[block], axis=0, out=gathered[inside], mode="clip")
        of_items[inside] = gathered[inside]
        if (row[block] == row[first]).all():  # where vectors are long, most blocks: the same bits in half the time
            np.einsum("pd,d->p", of_items[inside], users[row[first]], out=scores[block])
            continue
        users.take(row[block], axis=0, out=of_users[inside], mode="clip")
        np.einsum("pd,pd->p", of_items[inside], of_users[inside], out=scores[block])
    return scores


def clear_best(
    users: Floats64, items: Floats32, row: Ints64, item: Ints64, limit: int, above: float
) -> tuple[Candidates, Bools]:
    """The best of most rows, of pairs that stand row by row, and which rows are left out: bool [B].

    Those are rows with ties among the best and rows with more than twice `limit` pairs. All others are scored and
    sorted side by side, each as one row of an array: that takes a third of the time of `best_first`. Scores are to be
    above `above`, and are to the bit those of `pair_products`.
    """
    indptr = row_starts(row, len(users))
    counts = np.diff(indptr)
    width = min(2 * limit, int(counts.max(initial=0)))
    negative = np.full((len(users), width + 1), np.inf)
    _score_side_by_side(users, items, indptr, item, negative[:, :width])
    negative[(np.arange(width + 1) >= counts[:, None]) | (negative >= -above)] = np.inf
    order = np.argsort(negative, axis=1)[:, : limit + 1]
    negative = negative.reshape(-1).take(order + np.arange(0, negative.size, width + 1)[:, None])
    with np.errstate(invalid="ignore"):  # infinity less infinity: beyond the row's last pair
        left_out = (np.diff(negative, axis=1) <= TIE * np.abs(negative[:, :1])).any(axis=1)
    left_out |= counts > width
    negative[left_out] = np.inf
    found = negative[:, :limit] < np.inf
    at = (order[:, :limit] + indptr[:-1, None])[found]
    score = (-negative[:, :limit][found]).astype(np.float32)
    indptr = row_pointers(np.count_nonzero(found, axis=1))
    return Candidates(frozen(indptr), frozen(item.take(at).astype(np.int32)), frozen(score)), left_out


def _score_side_by_side(users: Floats64, items: Floats32, indptr: Ints64, item: Ints64, negative: Floats64) -> None:
    """Less the scores of the first L pairs of each row, into `negative` float64 [B, L]; anything beyond a row's last.

    A user is multiplied as he is, where `pair_products` gathers his vector for each pair.
    """
    length, width = negative.shape[1], users.shape[1]
    step = max(1, BLOCK // max(length * width, 1))
    gathered = np.empty((step, length, width), np.float32)
    doubled = np.empty((step, length, width))
    # A step a block of rows: gathered vectors stay in the cache.
    for first in range(0, len(users) if len(item) else 0, step):
        rows = slice(first, min(first + step, len(users)))
        inside = slice(0, rows.stop - first)
        at = item.take(indptr[rows, None] + np.arange(length), mode="clip")
        items.take(at, axis=0, out=gathered[inside], mode="clip")
        doubled[inside] = gathered[inside]
        np.einsum("rpd,rd->rp", doubled[inside], users[rows], out=negative[rows])
    np.negative(negative, out=negative)


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs with their exact scores, by row: `row` int64 [N], `item` int64 [N], `score` float64 [N] of `rows` rows."""

    row: Ints64
    item: Ints64
    score: Floats64
    rows: int

    @classmethod
    def of(cls, users: Floats64, items: Floats32, row: Ints64, item: Ints64, above: float) -> ScoredPairs:
        """The pairs, row by row, whose score is above `above`; users float64 [B, d], items float32 [n, d]."""
        score = pair_products(users, items, row, item)
        if above == NOT_PROPOSED:
            return cls(row, item, score, len(users))
        kept = np.flatnonzero(score > above)
        return cls(row.take(kept), item.take(kept), score.take(kept), len(users))

    def of_rows(self, rows: Bools) -> ScoredPairs:
        """The pairs of some rows alone, under the same row numbers; `rows` bool [rows]."""
        kept = rows[self.row]
        return ScoredPairs(self.row[kept], self.item[kept], self.score[kept], self.rows)

    def best(self, limit: int, largest: Floats64) -> Candidates:
        """The best of each row by `best_first`; `largest` float64 [rows], the size of each row's best score."""
        return best_first(self.row, self.item, self.score, self.rows, limit, largest)

    def ties(self, limit: int) -> tuple[Floats64, Floats64]:
        """The size of each row's best score, 0 without one, and the least score of the group of ties that its
        `limit`-th (or last) score is in, infinite without one: float64 [rows] both."""
        order = np.lexsort((-self.score, self.row))
        score = self.score[order]
        indptr = row_pointers(np.bincount(self.row, minlength=self.rows))
        counts = np.diff(indptr)
        filled = np.flatnonzero(counts)
        largest, reach = np.zeros(self.rows), np.full(self.rows, np.inf)
        largest[filled] = np.abs(score[indptr[filled]])
        ends_group = np.append(score[:-1] - score[1:] > TIE * largest[self.row[1:]], True)
        ends_group[indptr[filled + 1] - 1] = True
        ends = np.flatnonzero(ends_group)
        last = indptr[filled] + np.minimum(counts[filled], limit) - 1
        reach[filled] = score[ends[np.searchsorted(ends, last)]]
        return largest, reach


def merged(parts: list[Candidates]) -> Candidates:
    """The candidates of the same rows, of which each has its own in one part alone."""
    row = np.concatenate([rows_of(part.indptr) for part in parts])
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row, minlength=len(parts[0].indptr) - 1)
    item = np.concatenate([part.item for part in parts])[order]
    score = np.concatenate([part.score for part in parts])[order]
    return Candidates(frozen(row_pointers(counts)), frozen(item), frozen(score))


def stacked(parts: Iterable[Candidates], most: int | None = None) -> Candidates:
    """The candidates of consecutive rows, one below the other; `most` entries of them at most, or as many as there are.

    Each part is copied as it comes and may go then: with `most`, no two copies of all stand side by side.
    """
    if most is None:
        parts = list(parts)
        most = sum(map(len, parts))
    counts, end = [np.empty(0, np.int64)], 0
    item, score = np.empty(most, np.int32), np.empty(most, np.float32)
    for part in parts:  # a step a part
        counts.append(np.diff(part.indptr))
        place = slice(end, end + len(part))
        item[place], score[place], end = part.item, part.score, place.stop
    if end < most:
        item, score = item[:end].copy(), score[:end].copy()
    return Candidates(frozen(row_pointers(np.concatenate(counts))), frozen(item), frozen(score))
