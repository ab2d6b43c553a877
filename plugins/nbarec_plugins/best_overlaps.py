"""The best columns of each row of a sparse product: what neighbourhood models propose."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nbarec.arrays import Floats64, Ints64, rank_in_row, row_pointers
from nbarec.batch import Candidates
from nbarec.kernels import best_first
from nbarec.scored_pairs import stacked
from nbarec.sparse import Csr
from nbarec_plugins.sparse_rows import Overlaps, SparseRows, Term, grades, overlaps


def best_overlaps(
    left: SparseRows,
    right: SparseRows,
    terms: Sequence[Term],
    score: Callable[[Overlaps], Floats64],
    excluded: Csr,
    limit: int,
) -> Candidates:
    """The `limit` best columns that each left row meets in `right`, best first, without the `excluded` ones.

    `score` gives float64 [entries]; only what is above 0 is proposed. Ties go by column. Memory is bounded block by
    block: what can't be among the best is let go before the next block comes.
    """
    best: list[Candidates] = []
    # One step a block of rows: what bounds the memory.
    for met in overlaps(left, right, terms):
        found = score(met)
        proposed = found > 0
        proposed[_positions_of(excluded, met)] = False
        at = np.flatnonzero(proposed)
        at = at[_contenders(met.row[at], found[at], met.rows, limit)]
        best.append(best_first(met.row[at], met.column[at], found[at], met.rows, limit))
    return stacked(best)


def _positions_of(excluded: Csr, met: Overlaps) -> Ints64:
    """Which entries of a block are excluded: int64, ascending."""
    span = slice(excluded.indptr[met.first], excluded.indptr[met.first + met.rows])
    row = np.repeat(np.arange(met.rows), np.diff(excluded.indptr[met.first : met.first + met.rows + 1]))
    wanted = row * excluded.shape[1] + excluded.indices[span]
    there = met.row * excluded.shape[1] + met.column
    at = np.searchsorted(there, wanted)
    found = np.append(there, -1)[at] == wanted
    return np.asarray(at[found])


def _contenders(row: Ints64, score: Floats64, rows: int, limit: int) -> Ints64:
    """Positions of all that can be among the `limit` best of each row, ties by position: int64, ascending.

    `row` int64 [N] ascending, `score` float64 [N] above 0. What lies two grades or less from the `limit`-th best may
    tie with it. Where that is all of one grade it surely does, and only the first that have a place stay, with the
    best, whose score they share: means of few stars tie by the thousand. Elsewhere the whole row stays.
    """
    grade, last = grades(row, score, rows, max(limit, 1))
    distance = grade - last[row]
    near = np.flatnonzero(np.abs(distance) <= 2)
    place = rank_in_row(row_pointers(np.bincount(row[near], minlength=rows)))
    free = limit - np.bincount(row[distance > 0], minlength=rows)
    best = np.zeros(rows)
    np.maximum.at(best, row[near], score[near])
    shared = near[score[near] == best[row[near]]]
    differing = np.zeros(rows, bool)
    differing[row[near[distance[near] != 0]]] = True
    kept = (distance > 2) | differing[row]
    kept[near[place <= free[row[near]]]] = True
    kept[shared[np.unique(row[shared], return_index=True)[1]]] = True
    return np.flatnonzero(kept)
