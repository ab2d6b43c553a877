"""Pairs of row and item with exact scores, and the best of each row: what `kernels.best_first` gives, faster.

Few rows have ties among their best. All others are sorted side by side, as rows of one array.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, Ints64, frozen, row_pointers, rows_of
from nbarec.batch import Candidates
from nbarec.kernels import TIE, best_first

BLOCK = 1 << 17
"""Numbers of the vectors that are multiplied at a time: 1 MB an array, which stays in the cache."""


def pair_products(users: Floats64, items: Floats32, row: Ints64, item: Ints64) -> Floats64:
    """users[row] . items[item] of each pair, float64 [pairs]; users float64 [B, d], items float32 [n, d].

    Products are rounded to float64 and added up pair by pair, in the order of NumPy's pairwise sum of d numbers,
    which other pairs do not change. (The bits of a matrix product depend on its shape.)
    """
    scores = np.empty(len(row))
    step = max(1, BLOCK // max(users.shape[1], 1))
    # A step a block of pairs: gathered vectors stay in the cache.
    for first in range(0, len(row), step):
        block = slice(first, first + step)
        products = items.take(item[block], axis=0).astype(np.float64)
        products *= users.take(row[block], axis=0)
        scores[block] = products.sum(axis=1)
    return scores


@dataclass(frozen=True)
class ScoredPairs:
    """Pairs with their exact scores, by row: `row` int64 [N], `item` int64 [N], `score` float64 [N] of `rows` rows."""

    row: Ints64
    item: Ints64
    score: Floats64
    rows: int

    @classmethod
    def of(cls, users: Floats64, items: Floats32, row: Ints64, item: Ints64, above: float) -> ScoredPairs:
        """The pairs, in any order, whose score is above `above`; users float64 [B, d], items float32 [n, d]."""
        score = pair_products(users, items, row, item)
        kept = np.flatnonzero(score > above)
        kept = kept[np.argsort(row[kept], kind="stable")]
        return cls(row[kept], item[kept], score[kept], len(users))

    def of_rows(self, rows: Bools) -> ScoredPairs:
        """The pairs of some rows alone, under the same row numbers; `rows` bool [rows]."""
        kept = rows[self.row]
        return ScoredPairs(self.row[kept], self.item[kept], self.score[kept], self.rows)

    def best(self, limit: int, largest: Floats64) -> Candidates:
        """The best of each row by `best_first`; `largest` float64 [rows], the size of each row's best score."""
        return best_first(self.row, self.item, self.score, self.rows, limit, largest)

    def without_ties(self, limit: int) -> tuple[Candidates, Bools]:
        """The best of all rows but some, and which rows those are, bool [rows]: with ties among the best, or with
        too many pairs to sort side by side. What `best` gives, in a third of the time."""
        indptr = row_pointers(np.bincount(self.row, minlength=self.rows))
        counts = np.diff(indptr)
        width = min(2 * limit, int(counts.max(initial=0)))
        beside = np.flatnonzero((counts <= width)[self.row])
        negative = np.full((self.rows, width + 1), np.inf)
        negative[self.row[beside], beside - indptr[self.row[beside]]] = -self.score[beside]
        order = np.argsort(negative, axis=1)[:, : limit + 1]
        negative = np.take_along_axis(negative, order, axis=1)
        with np.errstate(invalid="ignore"):  # infinity less infinity: beyond the row's last pair
            tied = (np.diff(negative, axis=1) <= TIE * np.abs(negative[:, :1])).any(axis=1)
        tied |= counts > width
        counts = np.where(tied, 0, np.minimum(counts, limit))
        at = (indptr[:-1, None] + order)[np.arange(order.shape[1]) < counts[:, None]]
        item, score = self.item[at].astype(np.int32), self.score[at].astype(np.float32)
        return Candidates(frozen(row_pointers(counts)), frozen(item), frozen(score)), tied

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


def stacked(parts: list[Candidates]) -> Candidates:
    """The candidates of consecutive rows, one below the other."""
    counts = np.concatenate([np.empty(0, np.int64), *(np.diff(part.indptr) for part in parts)])
    item = np.concatenate([np.empty(0, np.int32), *(part.item for part in parts)])
    score = np.concatenate([np.empty(0, np.float32), *(part.score for part in parts)])
    return Candidates(frozen(row_pointers(counts)), frozen(item), frozen(score))
