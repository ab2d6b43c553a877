"""The best items of each row, where rough scores of all of them are cheap and exact ones are not.

Rough scores in single precision, whose last bits may depend on what stands beside a row, find the few items that can be
among the best, with a bound on their error. Only those are scored exactly, and only exact scores decide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, Ints32, Ints64, concat_ranges, frozen, row_pointers, row_starts
from nbarec.batch import Candidates
from nbarec.kernels import NOT_PROPOSED
from nbarec.sparse import Csr
from nbarec_plugins.best_overlaps import Best, ranked
from nbarec_plugins.contenders import Contenders

GROUP = 16
"""The most items whose largest rough score stands for all of them when the `limit`-th best is bounded."""

SPARE = 8
"""Groups for each item that is wanted, or more: with fewer, too many of the best share a group."""

UNIT_ROUNDOFF = 2.0**-24
"""Of single precision."""

LOWEST = float(np.finfo(np.float32).min)

Exact: TypeAlias = Callable[[Ints64, Ints64], Floats64]
"""The exact scores of pairs of a row and an item, which stand row by row, int64 [N] both: float64 [N]. A pair's bits
depend on the pair alone."""


def error_share(terms: int) -> float:
    """What a sum of so many products may be off in single precision, as a share of the product of both lengths.

    n u / (1 - n u) for products and sums in any order (Higham 2002, section 3.1), some more for what is rounded before.
    """
    error = (terms + 8) * UNIT_ROUNDOFF
    return error / (1 - error) if error < 1 else np.inf


def best_of_rough(rough: Floats32, margin: Floats64, exact: Exact, excluded: Csr, limit: int) -> Candidates:
    """The `limit` items of largest positive exact score of each row, best first, without `excluded` (rows x items).

    `rough` float32 [rows, items], which is written into: no score is further than `margin` float64 [rows] from the
    exact one; a row of margin 0 has no scores at all. Ties go by item position, as in `kernels.best_first`.
    """
    rows, items = rough.shape
    limit = min(limit, items)
    if limit <= 0 or not rows:
        return Candidates.empty(rows)
    rough[excluded.row_of, excluded.indices] = NOT_PROPOSED
    # So many exact scores reach the floor less a margin. What is rough by less than 4 margins below it has an exact
    # score at least 2 margins below those, and is no tie of them unless ties form a chain: `unsure` tells that.
    floor = _last_wanted(rough, limit) - 4 * margin
    cut = np.where(margin > 0, np.maximum(floor, -2 * margin), np.inf)
    row, item = _reaching(rough, cut)
    found = _contenders(row, item, exact(row, item), cut + margin, floor <= -2 * margin)
    best = ranked(found, limit)
    parts: list[tuple[Ints64, Ints32, Floats64]] = [_entries(best, np.flatnonzero(~best.unsure))]
    # A step a row whose chain of ties reaches beyond what was looked at: rare, and each may hold all items.
    for again in np.flatnonzero(best.unsure):
        item = np.flatnonzero(rough[again] > NOT_PROPOSED)
        score = exact(np.full(len(item), again), item)
        whole = ranked(_contenders(np.zeros(len(item), np.int64), item, score, np.zeros(1), np.ones(1, bool)), limit)
        parts.append((np.full(len(whole.item), again), whole.item, whole.score))
    return _in_order(parts, rows)


def _in_order(parts: list[tuple[Ints64, Ints32, Floats64]], rows: int) -> Candidates:
    """Rows with what is best in them, each in one part alone, in the order of rows."""
    row, item, score = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(row, kind="stable")
    indptr = row_pointers(np.bincount(row, minlength=rows))
    return Candidates(frozen(indptr), frozen(item[order].astype(np.int32)), frozen(score[order].astype(np.float32)))


def _last_wanted(rough: Floats32, limit: int) -> Floats64:
    """A rough score that `limit` items of each row reach, -inf where there may be fewer: float64 [rows].

    Disjoint groups of items have different ones as their largest. Items of a group are equally far apart, so that whole
    stretches of numbers are compared at a time.
    """
    rows, items = rough.shape
    size = int(np.clip(items // (SPARE * limit), 1, GROUP))
    groups = items // size
    largest = rough[:, : size * groups].reshape(rows, size, groups).max(axis=1)
    largest.partition(groups - limit, axis=1)
    return np.asarray(largest[:, groups - limit], np.float64)


def _reaching(rough: Floats32, cut: Floats64) -> tuple[Ints64, Ints64]:
    """The pairs whose rough score reaches the row's `cut` float64 [rows], row by row: rows and items, int64 [N]."""
    lowest = np.nextafter(np.maximum(cut, LOWEST).astype(np.float32), np.float32(-np.inf))
    at = np.flatnonzero(rough > lowest[:, None])
    row = at // rough.shape[1]
    return row, at - row * rough.shape[1]


def _contenders(row: Ints64, item: Ints64, score: Floats64, floor: Floats64, whole: Bools) -> Contenders:
    """The pairs with a positive score, row by row, as contenders; `floor` and `whole` [rows] as they say there."""
    kept = np.flatnonzero(score > 0)
    row, item, score = row.take(kept), item.take(kept), score.take(kept)
    indptr = row_starts(row, len(floor))
    largest, filled = np.zeros(len(floor)), np.flatnonzero(np.diff(indptr))
    if len(filled):
        largest[filled] = np.maximum.reduceat(score, indptr[filled])
    every = np.arange(len(floor))
    return Contenders(every, np.diff(indptr), item.astype(np.int32), score, largest, floor, whole)


def _entries(best: Best, rows: Ints64) -> tuple[Ints64, Ints32, Floats64]:
    """The row, the item and the score of what is best in these rows."""
    counts = best.counts[rows]
    at = concat_ranges(row_pointers(best.counts)[rows], counts)
    return np.repeat(rows, counts), best.item[at], best.score[at]
