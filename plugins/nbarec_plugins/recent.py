"""Recent: new releases, newest first. It serves anybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, concat_ranges, frozen, row_pointers
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.evidence import Evidence
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.kernels import from_lists, reach
from nbarec.params import Duration
from nbarec.scopes import ItemScope
from nbarec.tables import MISSING_DATE
from nbarec_plugins.attributes import date_column
from nbarec_plugins.spans import ago

EVER = 2**62
"""No age in seconds is greater."""


@dataclass(frozen=True)
class RecentState:
    """The items that have a date, newest first, those of one date by position: `item` int32 [n]; `date` int64 [n],
    seconds since 1970 UTC."""

    item: Ints32
    date: Ints64


@dataclass(frozen=True)
class Recent(CandidateGenerator[RecentState]):
    """Proposes the newest items, whatever the history: score = 2^(-age / half_life), age = now - the item's date.

    `now` is the request's. An item that is not out yet (dated after `now`), is older than `within`, or has no date is
    never proposed. The score is exponential decay as in Ding and Li (2005, for ratings); a blend by rank does not look
    at it. The order goes by the date itself, to the second: dates are exact, so even where scores are as good as 0
    (after thirty half-lives and more) the newer item comes first. Items of the same date go by position.

    It needs no event, so an item can be found on the day it comes out, by users without a history too. For rules that
    depend on the user (`user.country in item.regions`) use the post-filter `require`.

    >>> from nbarec.testing.worlds import request_for, tiny_world
    >>> data = tiny_world()
    >>> recent = Recent(within=Duration("30d"), half_life=Duration("10d"))
    >>> state = recent.fit(data, np.random.default_rng(0))
    >>> found = recent.generate(state, request_for(data, [4]), 10)  # released 5, 10, 20 and 30 days ago
    >>> found.item.tolist(), found.score.tolist()[1:]
    ([4, 0, 2, 3], [0.5, 0.25, 0.125])
    """

    name: ClassVar[str] = "recent"

    by: str | None = param(
        None, doc="A date column of the catalogue, written `released` or `item.released`; by default its only one."
    )
    within: Duration | None = param(None, ge=0, doc="The greatest age, such as 90d; any if left out.")
    half_life: Duration = param(Duration("30d"), ge=1, doc="The age at which the score is half that of a new item.")
    where: Expression | None = param(
        None, doc="Which items, over `item.X`, where this is known to hold when the stage is fitted; all if left out."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> RecentState:
        """Sort the catalogue by date; deterministic. Raises ConfigError where it has no such date column, or which one
        is meant is open, and where `where` does not fit the items."""
        return self._sorted(data)

    def update(self, state: RecentState, data: Dataset, new: Dataset) -> RecentState:
        """Equal to a refit: sorting anew is cheap."""
        return self._sorted(data)

    def generate(self, state: RecentState, request: Request, limit: int) -> Candidates:
        """The newest items that are out, newest first."""
        moments, which = np.unique(request.now, return_inverse=True)
        # Newest first, so what any moment allows is one run of the list.
        falling = -state.date
        start = np.searchsorted(falling, -moments, side="left")
        stop = np.searchsorted(falling, self._greatest_age() - moments, side="right")
        counts = np.minimum(stop - start, reach(request.excluded, limit))
        at = concat_ranges(start, counts)
        score = self._scores(np.repeat(moments, counts), state.date[at])
        lists = Candidates(row_pointers(counts), state.item[at], score.astype(np.float32))
        return from_lists(lists, which.reshape(-1), request.excluded, limit)

    def evidence(self, state: RecentState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """The whole score as one part, the item's age; none, and a score of 0, where it is not proposed for its date or
        by `where`."""
        place = np.full(request.n_items, -1)
        place[state.item] = np.arange(len(state.item))
        now, at = request.now[row], place[item]
        listed = np.flatnonzero(at >= 0)
        date = state.date[at[listed]]
        out = (date <= now[listed]) & (date >= now[listed] - self._greatest_age())
        pair, date = listed[out], date[out]
        score = np.zeros(len(item))
        score[pair] = self._scores(now[pair], date)
        return Evidence.strongest(pair, ago(now[pair] - date), score[pair], score, limit, "it came out {}")

    def _scores(self, now: Ints64, date: Ints64) -> Floats64:
        """What items of these dates are worth at these moments: float64, both in float64 first, where no two moments
        are too far apart to subtract."""
        age = now.astype(np.float64) - date.astype(np.float64)
        return np.asarray(np.exp2(-age / self.half_life))

    def _sorted(self, data: Dataset) -> RecentState:
        catalog = data.full_catalog()
        date = date_column(catalog, self.by, self.name).seconds
        proposed = date != MISSING_DATE
        if self.where is not None:
            proposed &= self.where.truth(ItemScope(catalog, data.as_of)).holds
        item = np.flatnonzero(proposed)
        item = item[np.argsort(-date[item], kind="stable")]
        return RecentState(frozen(item.astype(np.int32)), frozen(date[item]))

    def _greatest_age(self) -> int:
        """What `within` allows, in whole seconds, as ages are."""
        return EVER if self.within is None else int(min(self.within, float(EVER)))


@hookimpl
def nbarec_candidate_generators() -> list[type[Recent]]:
    """The generators of this module."""
    return [Recent]
