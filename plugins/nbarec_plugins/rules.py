"""Rules: what must not be shown, whatever its score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Bools, Ints64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import NoState, PostFilter, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.params import Duration
from nbarec.scopes import EventScope, PoolScope
from nbarec.sparse import Csr


@dataclass(frozen=True)
class ExcludeConsumed(PostFilter[NoState]):
    """Drops what the user has consumed, for ever or for a while.

    An item is dropped if an event of it stands in the request's history, counts as consumption by `where`, and is no
    older than `within`: now - time <= within.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> request = request_for(tiny_world(), [0])
    >>> pool = pool_in_order(request, [[1, 3, 0]])  # song 1 was played 20 days ago, song 0 yesterday
    >>> ExcludeConsumed(within=Duration("7d")).select(NoState(), request, pool).tolist()
    [0, 1]
    """

    name: ClassVar[str] = "exclude_consumed"

    within: Duration | None = param(
        None, ge=0, doc="How long an item is left out after its last event; null: for ever."
    )
    where: Expression | None = param(
        None, doc="Which events count, where this is known to hold; by default those of positive weight."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn. Raises ConfigError where `where` does not fit the events, or they have no time."""
        if self.within is not None and len(data.events) and not data.events.time.any():
            raise ConfigError(
                "exclude_consumed has `within`, but the events have no time; map a time column or drop it"
            )
        if self.where is not None:
            self.where.check(EventScope(data.events, data.full_catalog(), data.full_audience(), data.as_of))
        return NoState()

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        """Positions of what is not consumed: int64 [M], in the order of the pool."""
        history, counts = request.history, self._counts(request)
        shape = (len(request), request.n_items)
        consumed = Csr.from_pairs(history.row[counts], history.item[counts], None, shape)
        return _kept(~consumed.contains(pool.row, pool.item))

    def _counts(self, request: Request) -> Bools:
        """Which events of the history make their item consumed: bool [events]."""
        history = request.history
        now = request.now[history.row]
        counts: Bools = history.weight > 0
        if self.where is not None:
            counts = self.where.truth(EventScope(history, request.catalog, request.audience, now)).holds
        return counts if self.within is None else counts & (now - history.time <= self.within)


@dataclass(frozen=True)
class _Rule(PostFilter[NoState]):
    """What rules share: an expression over the pool, and what to do where it is unknown."""

    where: Expression = param(
        doc="The rule, over `item.X`, `user.X`, `context.X`, `score`, feature columns and generators' scores."
    )
    missing: Literal["deny", "allow"] = param("deny", doc="Whether to drop or to keep where the rule is unknown.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn."""
        return NoState()


@dataclass(frozen=True)
class Require(_Rule):
    """Keeps the entries for which `where` holds.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> request = request_for(tiny_world(), [0])  # anna listens in DE; nobody knows where song 5 is licensed
    >>> pool = pool_in_order(request, [[5, 2, 3]])
    >>> Require(where=Expression("user.country in item.regions")).select(NoState(), request, pool).tolist()
    [2]
    """

    name: ClassVar[str] = "require"

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        """Positions where the rule holds: int64 [M], in the order of the pool."""
        truth = self.where.truth(PoolScope(request, pool))
        return _kept(truth.holds if self.missing == "deny" else ~truth.fails)


@dataclass(frozen=True)
class Reject(_Rule):
    """Drops the entries for which `where` holds.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> request = request_for(tiny_world(), [1])  # ben is 15; song 1 is explicit, of song 5 nobody knows
    >>> pool = pool_in_order(request, [[1, 5, 2]])
    >>> Reject(where=Expression("user.age < 18 and item.explicit")).select(NoState(), request, pool).tolist()
    [2]
    """

    name: ClassVar[str] = "reject"

    def select(self, state: NoState, request: Request, pool: Pool) -> Ints64:
        """Positions where the rule does not hold: int64 [M], in the order of the pool."""
        truth = self.where.truth(PoolScope(request, pool))
        return _kept(truth.fails if self.missing == "deny" else ~truth.holds)


def _kept(mask: Bools) -> Ints64:
    return frozen(np.flatnonzero(mask))


@hookimpl
def nbarec_post_filters() -> Iterable[type[PostFilter[NoState]]]:
    """The post-filters of this module."""
    return [ExcludeConsumed, Require, Reject]
