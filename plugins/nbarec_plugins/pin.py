"""Pins: chosen entries at chosen places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Bools, Ints64, frozen, order_in_rows
from nbarec.batch import Pool, Request
from nbarec.components import NoState, PostFilter, param
from nbarec.data import Dataset
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.scopes import PoolScope


@dataclass(frozen=True)
class Pin(PostFilter[NoState]):
    """Puts the best entries for which `where` holds at the places `at`, `at` + 1, ... of their row.

    At most `max` entries of a row are moved, up or down; the others keep their order around them. Where a row has too
    few others to reach the place `at`, the pinned entries stand at its end. An entry for which `where` is unknown is
    not pinned.

    Only what is in the pool can be pinned: a generator must propose it, such as `listed` with the same items. Filters
    run in the order they are listed: a later one, another `pin` too, may move or drop what this one placed. So pins
    come last, and of several the one with the smallest `at` first: the next ones leave the places before theirs alone.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> request = request_for(tiny_world(), [3])
    >>> pool = pool_in_order(request, [[0, 1, 3, 2, 5]])  # by ada, ada, bo, ada, cleo
    >>> pin = Pin(where=Expression("item.artist in [bo, cleo]"), at=2, max=2)
    >>> pool.item[pin.select(NoState(), request, pool)].tolist()
    [0, 3, 5, 1, 2]
    """

    name: ClassVar[str] = "pin"

    where: Expression = param(
        doc="Which entries, over `item.X`, `user.X`, `context.X`, `score`, feature columns and generators' scores."
    )
    at: int = param(1, ge=1, doc="The place of the first of them, counted from 1.")
    max: int = param(1, ge=1, doc="How many of them, best first, are put there.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn."""
        return NoState()

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        """All positions: int64 [N], in the new order."""
        holds = self.where.truth(PoolScope(request, pool)).holds
        before, starts = _counts_before(holds, pool), np.arange(len(pool)) - pool.indptr[pool.row]
        pinned = holds & (before < self.max)
        others = starts - np.minimum(before, self.max)
        total = np.minimum(np.bincount(pool.row[holds], minlength=pool.rows), self.max)[pool.row]
        place = np.where(pinned, self.at - 1 + before, others + np.where(others >= self.at - 1, total, 0))
        return frozen(order_in_rows(pool.row, place))


def _counts_before(holds: Bools, pool: Pool) -> Ints64:
    """How many entries that hold stand before each entry in its row: int64 [N]."""
    before = np.append(0, np.cumsum(holds))
    return np.asarray(before[:-1] - before[pool.indptr[pool.row]], np.int64)


@hookimpl
def nbarec_post_filters() -> Iterable[type[PostFilter[NoState]]]:
    """The post-filters of this module."""
    return [Pin]
