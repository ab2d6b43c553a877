"""Adjustments: a row's scores weighed against how little known, how popular or how new its items are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import NoState, Ranker, param
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec.params import Duration
from nbarec.tables import MISSING_DATE
from nbarec_plugins.attributes import date_column
from nbarec_plugins.metrics import self_information, users_of_items
from nbarec_plugins.scaling import Runs, as_scores, min_max_in_rows, two_terms


@dataclass(frozen=True)
class NoveltyState:
    """`bits` float64 [items]: each item's self-information."""

    bits: Floats64


@dataclass(frozen=True)
class Novelty(Ranker[NoveltyState]):
    """Favours what few know: score = (1 - weight) * s + weight * n.

    s is the row's score and n the item's novelty, both scaled to 0..1 by (x - min) / (max - min) within the row; 0 each
    where they are the same throughout it.

    The novelty of an item is its self-information -log2(U_i / U) bits (Zhou et al. 2010; Vargas and Castells 2011): U
    users have an event, U_i of them one of the item, whatever its weight. An item without an event counts as if one
    user had it: nothing is more novel. It is what the metric `novelty` measures.

    It adds, so a little-known item can win by that alone; `popularity_penalty` multiplies.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> data = tiny_world()
    >>> request = request_for(data, [3])
    >>> pool = pool_in_order(request, [[0, 3, 6]])  # two of four users have song 0, one song 3, nobody song 6
    >>> novelty = Novelty(weight=0.5)
    >>> novelty.rank(novelty.fit(data, np.random.default_rng(0)), request, pool).tolist()
    [0.5, 0.625, 0.5]
    """

    name: ClassVar[str] = "novelty"

    weight: float = param(0.2, ge=0, le=1, doc="How much novelty counts: 0 keeps the order, 1 goes by novelty alone.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoveltyState:
        """Count each item's users; deterministic."""
        return self._counted(data)

    def update(self, state: NoveltyState, data: Dataset, new: Dataset) -> NoveltyState:
        """Equal to a refit: counting anew is cheap."""
        return self._counted(data)

    def rank(self, state: NoveltyState, request: Request, pool: Pool) -> Floats32:
        """The weighted mean of score and novelty: float32 [N], within 0..1."""
        score, novelty = self._weighed(state, pool)
        return as_scores(score + novelty)

    def terms(self, state: NoveltyState, request: Request, pool: Pool) -> Mapping[str, Floats64]:
        """`score`, (1 - weight) * s, and `novelty`, weight * n."""
        score, novelty = self._weighed(state, pool)
        return {"score": frozen(score), "novelty": frozen(novelty)}

    def _weighed(self, state: NoveltyState, pool: Pool) -> tuple[Floats64, Floats64]:
        return _weighed(pool, min_max_in_rows(pool.row, state.bits[pool.item], flat=0.0), self.weight)

    def _counted(self, data: Dataset) -> NoveltyState:
        return NoveltyState(frozen(self_information(data)))


@dataclass(frozen=True)
class PopularityPenaltyState:
    """`users` int64 [items]: how many users each item has, at least 1."""

    users: Ints64


@dataclass(frozen=True)
class PopularityPenalty(Ranker[PopularityPenaltyState]):
    """Takes off what an item owes to its popularity: score = s / (p_i / p_max)^power.

    s is the row's score, scaled to 0..1 by (s - min) / (max - min) within the row (1 each where it is the same
    throughout), p_i the share of users who have an event of item i, whatever its weight, and p_max that of the row's
    most popular item, which keeps its s. It is the weight popularity^-power of Steck (2011, "Item popularity and
    recommendation accuracy"), by which a hit counts the more the rarer the item is; `power: 0` keeps the order. An item
    without an event counts as if one user had it.

    It multiplies: of two items that are as good the rarer one wins, and nothing wins by being rare alone, since the
    row's last by s stays at 0. `novelty` adds, on a scale of logarithms.

    >>> from nbarec.testing.worlds import pool_of, request_for, tiny_world
    >>> data = tiny_world()
    >>> request = request_for(data, [3])
    >>> pool = pool_of(request, {"latent": [{0: 3.0, 3: 2.9, 6: 1.0}]})  # two users have song 0, one song 3
    >>> pool = pool.with_score("latent", pool.scores[:, 0])
    >>> penalty = PopularityPenalty(power=1.0)
    >>> penalty.rank(penalty.fit(data, np.random.default_rng(0)), request, pool).round(2).tolist()
    [1.0, 1.899999976158142, 0.0]
    """

    name: ClassVar[str] = "popularity_penalty"

    power: float = param(0.5, ge=0, le=4, doc="How strongly popularity lowers a score; 0: not at all.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> PopularityPenaltyState:
        """Count each item's users; deterministic."""
        return PopularityPenaltyState(frozen(users_of_items(data)[0]))

    def update(self, state: PopularityPenaltyState, data: Dataset, new: Dataset) -> PopularityPenaltyState:
        """Equal to a refit: counting anew is cheap."""
        return PopularityPenaltyState(frozen(users_of_items(data)[0]))

    def rank(self, state: PopularityPenaltyState, request: Request, pool: Pool) -> Floats32:
        """The score over the power of the relative popularity: float32 [N], at least 0."""
        score, relative = self._scaled(state, pool)
        return as_scores(score / relative**self.power)

    def terms(self, state: PopularityPenaltyState, request: Request, pool: Pool) -> Mapping[str, Floats64]:
        """`score`, which is s, and `rarity`: what being less popular than the row's most popular item adds to it."""
        score, relative = self._scaled(state, pool)
        return two_terms("score", score, "rarity", score / relative**self.power)

    def _scaled(self, state: PopularityPenaltyState, pool: Pool) -> tuple[Floats64, Floats64]:
        """s and p_i / p_max: float64 [N] each."""
        users = Runs.of(pool.row, state.users[pool.item].astype(np.float64))
        return min_max_in_rows(pool.row, pool.score, flat=1.0), users.value / users.high[users.run]


@dataclass(frozen=True)
class Recency(Ranker[NoState]):
    """Favours what is new: score = (1 - weight) * s + weight * 2^(-age / half_life).

    s is the row's score, scaled to 0..1 by (s - min) / (max - min) within the row (0 each where it is the same
    throughout). The age of an item is the request's `now` less its date in the column `by`; the decay is that of Ding
    and Li (2005, for ratings). A date still to come counts as age 0, and an item without a date has the freshness
    `missing`. Freshness is not scaled: in a row of old items it hardly counts.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> data = tiny_world()
    >>> request = request_for(data, [3])
    >>> pool = pool_in_order(request, [[1, 0, 4]])  # released 400, 10 and 5 days ago
    >>> recency = Recency(weight=0.5, half_life=Duration("10d"))
    >>> recency.rank(recency.fit(data, np.random.default_rng(0)), request, pool).round(3).tolist()
    [0.5, 0.375, 0.3540000021457672]
    """

    name: ClassVar[str] = "recency"

    by: str | None = param(
        None, doc="A date column of the catalogue, written `released` or `item.released`; by default its only one."
    )
    half_life: Duration = param(Duration("30d"), ge=1, doc="The age at which an item is half as fresh as a new one.")
    weight: float = param(0.2, ge=0, le=1, doc="How much freshness counts: 0 keeps the order, 1 goes by it alone.")
    missing: float = param(0.0, ge=0, le=1, doc="The freshness of an item without a date.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn. Raises ConfigError where the catalogue has no such date column, or which one is open."""
        date_column(data.full_catalog(), self.by, self.name)
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        """The weighted mean of score and freshness: float32 [N], within 0..1."""
        score, freshness = self._weighed(request, pool)
        return as_scores(score + freshness)

    def terms(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, Floats64]:
        """`score`, (1 - weight) * s, and `freshness`, weight * 2^(-age / half_life)."""
        score, freshness = self._weighed(request, pool)
        return {"score": frozen(score), "freshness": frozen(freshness)}

    def _weighed(self, request: Request, pool: Pool) -> tuple[Floats64, Floats64]:
        dates = date_column(request.catalog, self.by, self.name).seconds[pool.item]
        # In float64, where no two moments are too far apart to subtract.
        age = np.maximum(request.now[pool.row].astype(np.float64) - dates.astype(np.float64), 0.0)
        freshness = np.where(dates == MISSING_DATE, self.missing, np.exp2(-age / self.half_life))
        return _weighed(pool, freshness, self.weight)


def _weighed(pool: Pool, value: Floats64, weight: float) -> tuple[Floats64, Floats64]:
    """(1 - weight) * scaled score and weight * value: float64 [N] each. `value` is float64 [N]."""
    return (1 - weight) * min_max_in_rows(pool.row, pool.score, flat=0.0), weight * value


@hookimpl
def nbarec_rankers() -> Iterable[type[Ranker[Any]]]:
    """The rankers of this module."""
    return [Novelty, PopularityPenalty, Recency]
