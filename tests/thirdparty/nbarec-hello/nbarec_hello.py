"""A plugin for nbarec: the ranker `hello`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from nbarec.arrays import Floats32, Floats64, Ints32, Ints64, frozen
from nbarec.batch import Candidates, Pool, Request
from nbarec.components import CandidateGenerator, Evidence, NoState, Ranker, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.hookspecs import hookimpl
from nbarec.kernels import NOT_PROPOSED, exclude, top_of_dense
from nbarec.tables import NumberColumn, Table


@dataclass(frozen=True)
class Hello(Ranker[NoState]):
    """score(u, i) = the score so far + weight * (x_i - min) / (max - min): a bonus for an item with a large number x_i.

    min and max are those of u's row. An item without a number gets no bonus, and neither do the items of a row in
    which they all have the same number. Before any ranker an entry's score is the sum of its reciprocal ranks.

    >>> from nbarec.testing.worlds import pool_of, request_for, tiny_world
    >>> request = request_for(tiny_world(), [4])
    >>> pool = pool_of(request, {"some": [{0: 0.9, 3: 0.8, 7: 0.7}]})  # tempo 90, 140, unknown; scores 1, 1/2, 1/3
    >>> Hello(by="tempo", weight=0.25).rank(NoState(), request, pool).tolist()
    [1.0, 0.75, 0.3333333432674408]
    """

    name: ClassVar[str] = "hello"
    by: str = param("tempo", doc="The number column of the items.")
    weight: float = param(1.0, ge=0, le=1e6, doc="The bonus of the item with the largest number of a row.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn. Raises ConfigError where `by` is no number column of the items."""
        numbers(data.full_catalog(), self.by)
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        """One score an entry of the pool: float32 [N]."""
        return frozen((pool.score + self.bonus(request, pool)).astype(np.float32))

    def terms(self, state: NoState, request: Request, pool: Pool) -> dict[str, Floats64]:
        """What `rank` adds up, by name: float64 [N] each."""
        return {"so far": pool.score.astype(np.float64), self.by: self.bonus(request, pool)}

    def bonus(self, request: Request, pool: Pool) -> Floats64:
        """What each entry gets on top: float64 [N]."""
        value = numbers(request.catalog, self.by)[pool.item]
        return scaled_in_rows(value, pool) * self.weight


def numbers(catalog: Table, name: str) -> Floats64:
    """The number column of this name: float64 [items], NaN where it is missing."""
    column = catalog.columns.get(name)
    if not isinstance(column, NumberColumn):
        there = ", ".join(name for name, column in catalog.columns.items() if isinstance(column, NumberColumn))
        raise ConfigError(f"by is {name!r}; it must be a number column of the items: {there or 'there is none'}")
    return column.values


def scaled_in_rows(value: Floats64, pool: Pool) -> Floats64:
    """Each row's values from 0, its smallest, to 1, its largest; 0 where missing or all the same: float64 [N]."""
    low, high = np.full(pool.rows, np.inf), np.full(pool.rows, -np.inf)
    np.fmin.at(low, pool.row, value)
    np.fmax.at(high, pool.row, value)
    width = (high - low)[pool.row]
    spread = (width > 0) & ~np.isnan(value)
    scaled = np.zeros(len(pool))
    np.divide(value - low[pool.row], width, out=scaled, where=spread)
    return scaled


@hookimpl
def nbarec_rankers() -> list[type[Hello]]:
    """The rankers of this plugin."""
    return [Hello]


HOUR = 3600


@dataclass(frozen=True)
class ThisHourState:
    """`plays` float64 [items, 24]: how often each item was taken in each hour of the day (UTC)."""

    plays: Floats64


@dataclass(frozen=True)
class ThisHour(CandidateGenerator[ThisHourState]):
    """Proposes what is taken at this time of the day: score = the item's events in the hour (UTC) of the request.

    Events of negative weight, such as a skip, do not count. An item without any other at that hour is not proposed.

    >>> from nbarec.testing.worlds import NOON, request_for, tiny_world
    >>> data = tiny_world()  # whose events all happened at the same time of the day
    >>> component = ThisHour()
    >>> state = component.fit(data, np.random.default_rng(0))
    >>> proposed = component.generate(state, request_for(data, [4, 4], now=[NOON, NOON + HOUR]), limit=3)
    >>> proposed.indptr.tolist(), proposed.item.tolist(), proposed.score.tolist()
    ([0, 3, 3], [0, 1, 2], [3.0, 1.0, 1.0])
    """

    name: ClassVar[str] = "this_hour"

    def fit(self, data: Dataset, rng: np.random.Generator) -> ThisHourState:
        """Count the events of each item and hour."""
        return ThisHourState(frozen(plays_by_hour(data)))

    def generate(self, state: ThisHourState, request: Request, limit: int) -> Candidates:
        """The items taken most at this hour that are not excluded, best first: at most `limit` a row."""
        plays = state.plays[:, hour_of(request.now)].T
        scores = np.where(plays > 0, plays, NOT_PROPOSED)
        return top_of_dense(exclude(scores, request.excluded), limit)

    def evidence(self, state: ThisHourState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """The whole score, as one part that names the hour."""
        hour = hour_of(request.now[row])
        return Evidence.whole([f"{at}:00 UTC" for at in hour], state.plays[item, hour], "it is often played at {}")

    def update(self, state: ThisHourState, data: Dataset, new: Dataset) -> ThisHourState:
        """The counts and those of the new events: the same as a refit."""
        plays = plays_by_hour(new)
        plays[: len(state.plays)] += state.plays
        return ThisHourState(frozen(plays))

    def item_vectors(self, state: ThisHourState) -> Floats32:
        """The share of each hour in the item's events: float32 [items, 24]; zeros for an item without any."""
        total = state.plays.sum(axis=1, keepdims=True)
        shares = np.divide(state.plays, total, out=np.zeros_like(state.plays), where=total > 0)
        return frozen(shares.astype(np.float32))


def hour_of(seconds: Ints64) -> Ints64:
    """The hour of the day, 0 to 23, in UTC."""
    return seconds // HOUR % 24


def plays_by_hour(data: Dataset) -> Floats64:
    """How many events of positive weight each item has in each hour of the day: float64 [items, 24]."""
    liked = data.events.where(data.events.weight > 0)
    plays = np.zeros((len(data.items), 24))
    np.add.at(plays, (liked.item, hour_of(liked.time)), 1)
    return plays


@hookimpl
def nbarec_candidate_generators() -> list[type[ThisHour]]:
    """The generators of this plugin."""
    return [ThisHour]
