"""A first plugin for nbarec: `newest_first` proposes items by date, `favourite_first` adds a bonus for a favourite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from nbarec.arrays import Floats32, Ints64, frozen
from nbarec.batch import Candidates, Pool, Request
from nbarec.components import CandidateGenerator, NoState, Ranker, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.hookspecs import hookimpl
from nbarec.kernels import NOT_PROPOSED, exclude, top_of_dense
from nbarec.params import Duration
from nbarec.tables import MISSING_DATE, CategoryColumn, DateColumn, Table

DAY = 86_400

C = TypeVar("C", DateColumn, CategoryColumn)


@dataclass(frozen=True)
class NewestState:
    """`moment` int64 [items]: the date of each item in seconds since 1970 UTC; the smallest int64 is missing."""

    moment: Ints64


@dataclass(frozen=True)
class NewestFirst(CandidateGenerator[NewestState]):
    """The items with the latest date, whatever the history: score = -(age in days at the time of the request).

    An item without a date, or with one that is still to come, is not proposed.

    >>> from nbarec.testing.worlds import request_for, tiny_world
    >>> data = tiny_world()
    >>> newest = NewestFirst(by="released", within="30d")
    >>> state = newest.fit(data, np.random.default_rng(0))
    >>> proposed = newest.generate(state, request_for(data, [4]), limit=3)
    >>> proposed.item.tolist(), proposed.score.tolist()
    ([4, 0, 2], [-5.0, -10.0, -20.0])
    """

    name: ClassVar[str] = "newest_first"
    by: str = param("released", doc="The date column of the items.")
    within: Duration | None = param(None, gt=0, doc="The age up to which items are proposed; any if left out.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NewestState:
        """Look up the dates. Raises ConfigError where `by` is no date column of the items."""
        return NewestState(_column(self.name, data.catalog, self.by, DateColumn).seconds)

    def generate(self, state: NewestState, request: Request, limit: int) -> Candidates:
        """The newest items that are not excluded, best first; dates within a second or two are ties."""
        dated = state.moment != MISSING_DATE
        age = request.now[:, None] - np.where(dated, state.moment, 0)[None, :]
        allowed = dated & (age >= 0)
        if self.within is not None:
            allowed &= age <= self.within
        scores = np.where(allowed, -age / DAY, NOT_PROPOSED)
        return top_of_dense(exclude(scores, request.excluded), limit)


@dataclass(frozen=True)
class FavouriteFirst(Ranker[NoState]):
    """score(u, i) = the score so far + `bonus` if i has u's favourite value in the column `by`.

    The favourite is the value with the most events of positive weight in the history; of equals, the first by name.
    Without history there is none, and scores stay. Before any ranker an entry's score is the sum of its reciprocal
    ranks, so that with a single generator a bonus of 1 puts all favourites first.

    >>> from nbarec.testing.worlds import pool_of, request_for, tiny_world
    >>> request = request_for(tiny_world(), [0])  # this user played the artist ada alone, songs 0 to 2
    >>> pool = pool_of(request, {"fresh": [{4: 0.9, 2: 0.8}]})
    >>> pool.item.tolist(), FavouriteFirst(by="artist").rank(NoState(), request, pool).tolist()
    ([2, 4], [1.5, 1.0])
    """

    name: ClassVar[str] = "favourite_first"
    by: str = param("genre", doc="The category column of the items.")
    bonus: float = param(1.0, ge=0, le=1e6, doc="How much is added to the score of a favourite.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn. Raises ConfigError where `by` is no category column of the items."""
        _column(self.name, data.catalog, self.by, CategoryColumn)
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        """One score an entry: float32 [N]."""
        column = _column(self.name, request.catalog, self.by, CategoryColumn)
        liked = _favourites(request, column)[pool.row] == column.codes[pool.item]
        return frozen((pool.score + self.bonus * liked).astype(np.float32))


def _favourites(request: Request, column: CategoryColumn) -> Ints64:
    """The favourite level of each row: int64 [B]; -2, which no item has, where there is none."""
    history, levels = request.history, max(len(column.levels), 1)
    code = column.codes[history.item].astype(np.int64)
    counted = (history.weight > 0) & (code >= 0)
    pair, events = np.unique(history.row[counted] * levels + code[counted], return_counts=True)
    row, level = pair // levels, pair % levels
    best_first = np.lexsort((level, -events, row))
    rows, first = np.unique(row[best_first], return_index=True)
    favourites = np.full(len(request), -2)
    favourites[rows] = level[best_first][first]
    return favourites


def _column(component: str, catalog: Table, name: str, kind: type[C]) -> C:
    """The column `name`, which must be of this kind."""
    found = catalog.columns.get(name)
    if not isinstance(found, kind):
        words = "date" if kind is DateColumn else "category"
        fitting = [known for known, column in catalog.columns.items() if isinstance(column, kind)]
        there = ", ".join(fitting) or "none"
        raise ConfigError(f"{component}: by is {name!r}; it must be a {words} column of the items: {there}")
    return found


@hookimpl
def nbarec_candidate_generators() -> list[type[NewestFirst]]:
    """The generators of this plugin."""
    return [NewestFirst]


@hookimpl
def nbarec_rankers() -> list[type[FavouriteFirst]]:
    """The rankers of this plugin."""
    return [FavouriteFirst]
