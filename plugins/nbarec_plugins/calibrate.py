"""Calibrate: the slate's kinds in the shares that they have in the history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64, concat_ranges, frozen, row_pointers
from nbarec.batch import Pool, Request
from nbarec.components import NoState, PostFilter, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.hookspecs import hookimpl
from nbarec.tables import CategoryColumn, Table, TagsColumn
from nbarec_plugins.calibration import ALPHA, LARGEST, level_shares, liked_items, mean_shares, where_stored
from nbarec_plugins.levels import column_named
from nbarec_plugins.sparse_rows import SparseRows, sums_at
from nbarec_plugins.windows import turns, windows_of


@dataclass(frozen=True)
class Calibrate(PostFilter[NoState]):
    """Builds the list I that is good and has each kind in the share that it has in the history (Steck 2018,
    "Calibrated recommendations"): each place is filled with the entry that adds most to

        (1 - strength) * sum over i in I of s(i) - strength * KL(p || q~)

    KL(p || q~) = sum over g of p(g) ln(p(g) / q~(g)), q~ = (1 - alpha) q + alpha p, alpha = 0.01. p(g|i) spreads 1
    evenly over the levels that item i has in the column `by`; p(g) is its mean over the items of positive weight in
    the history, weighted by these, and q(g) its plain mean over I. Items without a level are left out of both: such an
    entry leaves q as it is, and before q is anything, KL has its largest value, ln(1 / alpha).

    s is the score, scaled in each row to 0 for the worst and 1 for the best of the first `among` entries: otherwise
    what a `strength` does would depend on the ranker's unit.

    Only the first `among` entries of a row move, and of these only as many as 2 k are picked, k being the slate's
    length; the others follow in their old order, and nothing is dropped. Ties go by the old place. Rows without such a
    history stay as they are, and all rows do with strength 0. A filter that puts entries at certain places belongs
    behind this one, which goes by the scores.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> request = request_for(tiny_world(), [2])  # chloe played song 0 by ada once, songs 5 and 7 by cleo with weight 4
    >>> pool = pool_in_order(request, [[1, 2, 3, 5, 7, 4]])  # by ada, ada, bo, cleo, cleo, bo
    >>> pool.item[Calibrate(by="artist", strength=0.9).select(NoState(), request, pool)].tolist()
    [5, 1, 7, 2, 3, 4]
    """

    name: ClassVar[str] = "calibrate"

    by: str = param(doc="A categorical or multi-valued column of the catalogue, written `genre` or `item.genre`.")
    strength: float = param(0.5, ge=0, le=1, doc="What calibration counts against the score; 1 ignores the score.")
    among: int = param(100, ge=1, doc="How many of the best entries of a row are re-ordered.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn. Raises ConfigError where the catalogue has no such column, or one without levels."""
        self._column(data.full_catalog())
        return NoState()

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        """All positions: int64 [N], the first `among` of each row in their new order."""
        order = np.arange(len(pool))
        rows = np.flatnonzero(np.diff(pool.indptr) > 1)
        if self.strength == 0 or not len(rows):
            return frozen(order)
        column, liked = self._column(request.catalog), liked_items(request.history)
        for window in windows_of(pool, rows, self.among):  # a step a block of rows
            taste = mean_shares(liked.take_rows(window.row), column)
            shares = level_shares(column.take(window.items(pool)))
            movable = window.there & (taste.counts > 0)[:, None]
            gain = _Calibration(window.scores(pool), self.strength, _Tastes.of(taste, shares, window.width))
            turn = turns(gain, movable, min(window.width, 2 * request.k))
            order[window.at[window.there]] = window.in_turn(turn)
        return frozen(order)

    def _column(self, catalog: Table) -> CategoryColumn | TagsColumn:
        column = column_named(catalog, self.by, self.name)
        if isinstance(column, CategoryColumn | TagsColumn):
            return column
        able = [name for name, other in catalog.columns.items() if isinstance(other, CategoryColumn | TagsColumn)]
        raise ConfigError(
            f"{self.name} has `by: {self.by}`, a column of numbers or dates, which have no shares; give it a "
            f"categorical or multi-valued one: {', '.join(able)}"
        )


@dataclass(frozen=True)
class _Tastes:
    """Where the entries of windows meet the tastes of their rows.

    The C cells are the levels that each row's p has: `row` int64 [C], `p` float64 [C]. The pairs are the levels that
    entries share with p, place by place: `entry` int64 [pairs], `cell` int64 [pairs], `p_there` float64 [pairs] and
    `share` float64 [pairs], p(g|i); entry e has those from `indptr[e]` to `indptr[e + 1]`. `has_levels` bool [rows,
    width] says where an entry has any level, of p or not.
    """

    row: Ints64
    p: Floats64
    entry: Ints64
    cell: Ints64
    p_there: Floats64
    share: Floats64
    indptr: Ints64
    has_levels: Bools

    @classmethod
    def of(cls, taste: SparseRows, shares: SparseRows, width: int) -> _Tastes:
        """`taste` is p (rows x levels), `shares` are the p(g|i) of the entries (rows * width x levels)."""
        entry = shares.row_of
        cell = where_stored(taste, entry // width, shares.column)
        met = cell >= 0
        entry, cell = entry[met], cell[met]
        indptr = row_pointers(np.bincount(entry, minlength=shares.rows))
        has_levels = (shares.counts > 0).reshape(taste.rows, width)
        p = taste.value
        return cls(taste.row_of, p, entry, cell, p[cell], shares.value[met], indptr, has_levels)


class _Calibration:
    """What each entry of a window would make of the objective, less what is the same for all entries of its row.

    With n picked entries that have a level, and c(g) the sum of their p(g|i), one more entry e with a level makes

        q~(g) = (1 - alpha) (c(g) + p(g|e)) / (n + 1) + alpha p(g) = (1 - alpha) / (n + 1) (m(g) + p(g|e))

    with m(g) = c(g) + alpha (n + 1) / (1 - alpha) p(g). So KL is that of an entry which adds nothing, the same for the
    whole row, less the sum of p(g) ln(1 + p(g|e) / m(g)) over the few levels of e.
    """

    def __init__(self, scores: Floats64, strength: float, tastes: _Tastes) -> None:
        self.tastes = tastes
        self.strength = strength
        self.relevance = (1 - strength) * scores
        self.mass = np.zeros(len(tastes.p))
        self.picks = np.zeros(len(scores), np.int64)
        self.current = np.full(len(scores), LARGEST)
        self.next = np.empty(scores.shape)

    def values(self) -> Floats64:
        """The score's part less the divergence's: float64 [rows, width]."""
        t, (rows, width) = self.tastes, self.relevance.shape
        mixed = self.mass + (ALPHA / (1 - ALPHA) * (self.picks + 1))[t.row] * t.p
        bare = sums_at(t.row, t.p * np.log(t.p / mixed), rows) + np.log((self.picks + 1) / (1 - ALPHA))
        saved = sums_at(t.entry, t.p_there * np.log(1 + t.share / mixed[t.cell]), rows * width).reshape(rows, width)
        self.next = np.where(t.has_levels, bare[:, None] - saved, self.current[:, None])
        return self.relevance - self.strength * self.next

    def add(self, picked: Ints64) -> None:
        """The picked entries' shares join c, and what they made of KL is what it is now."""
        t, row = self.tastes, np.arange(len(picked))
        starts = t.indptr[row * t.has_levels.shape[1] + picked]
        pairs = concat_ranges(starts, t.indptr[row * t.has_levels.shape[1] + picked + 1] - starts)
        self.mass[t.cell[pairs]] += t.share[pairs]
        self.picks += t.has_levels[row, picked]
        self.current = self.next[row, picked]


@hookimpl
def nbarec_post_filters() -> Iterable[type[PostFilter[NoState]]]:
    """The post-filters of this module."""
    return [Calibrate]
