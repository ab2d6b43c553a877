"""Boost: entries that a rule speaks of get a better score, or a worse one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints64, rank_in_row, row_pointers
from nbarec.batch import Pool, Request
from nbarec.components import NoState, Ranker, param
from nbarec.data import Dataset
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.scopes import PoolScope
from nbarec_plugins.scaling import as_scores, two_terms

LARGEST = 1_000_000
"""Largest factor, and one over the least: beyond it float32 scores no longer tell neighbours apart."""

ROUNDING = 1e-9
"""0.58 of 50 places are 29, though their product in float64 lies just below."""


@dataclass(frozen=True)
class Boost(Ranker[NoState]):
    """Lifts the entries for which `where` is known to hold: a new artist, a licensing priority, an own label.

    * `multiply: m` makes a score s of at least 0 to s * m, and a negative one to s / m, so that it rises too; a
      score of 0 stays. The unit of the scores does not matter to it, but where their 0 lies does.
    * `add: a` makes it s + a, in units of the score that this stage gets. Behind a ranker whose scores lie in 0..1
      (`novelty`, `recency`) 0.1 is a nudge; behind a `blend` by reciprocal rank with its k = 60, where a first place
      with weight 1 is worth 1/61, it outdoes six first places. Before any ranker the score is the sum of 1 / rank. For
      an effect that no change upstream can alter, let a `weighted` of `score` scale it first.

    Below 1 and below 0 they lower the scores: a penalty, for every entry for which `where` holds.

    With `max_share` at most floor(max_share * k) entries of a row are lifted (none where that is 0), k being how many
    places the slate has: the best of those for which `where` holds, by the score that this stage gets; ties go by item
    position. The others of them keep their scores: what stands high by its own score is not pushed down, so a slate may
    hold more of them than that share, but the boost put no more there. A later filter that drops a lifted
    entry lifts no other.

    Several boosts can follow each other; each goes by the score that the one before it left.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> request = request_for(tiny_world(), [0], k=4)
    >>> pool = pool_in_order(request, [[3, 5, 4, 7, 2]])  # scores 1, 1/2, 1/3, 1/4, 1/5; songs 5 and 7 are by cleo
    >>> boost = Boost(where=Expression("item.artist == 'cleo'"), multiply=4.0, max_share=0.25)
    >>> boost.rank(NoState(), request, pool).round(2).tolist()
    [1.0, 2.0, 0.33000001311302185, 0.25, 0.20000000298023224]
    """

    name: ClassVar[str] = "boost"

    where: Expression = param(
        doc="Which entries, over `item.X`, `user.X`, `context.X`, `score`, feature columns and generators' scores; "
        "not where it is unknown."
    )
    multiply: float | None = param(
        None, ge=1 / LARGEST, le=LARGEST, doc="What to multiply the score by. Either this or `add`."
    )
    add: float | None = param(None, ge=-LARGEST, le=LARGEST, doc="What to add to the score, in its own units.")
    max_share: float | None = param(
        None, gt=0, le=1, doc="The largest share of the slate's places that may be lifted; no limit if left out."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.multiply is None) == (self.add is None):
            given = "neither" if self.multiply is None else "both"
            raise ValueError(f"a boost takes exactly one of multiply and add, and has {given}; give one of them")
        if self._lowers and self.max_share is not None:
            raise ValueError(
                "max_share limits what is lifted, and this boost lowers scores; leave max_share out, or give "
                "multiply above 1 or add above 0"
            )

    @property
    def _lowers(self) -> bool:
        return (self.add or 0) < 0 or (self.multiply or 1) < 1

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn."""
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        """The scores with those of the boosted entries changed: float32 [N].

        Raises ConfigError where `where` has a name that there is not.
        """
        return as_scores(self._boosted(request, pool))

    def terms(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, Floats64]:
        """`score`, as this stage gets it, and `boost`, what it adds: 0 for an entry that it does not lift."""
        return two_terms("score", pool.score.astype(np.float64), "boost", self._boosted(request, pool))

    def _boosted(self, request: Request, pool: Pool) -> Floats64:
        boosted = np.flatnonzero(self.where.truth(PoolScope(request, pool)).holds)
        if self.max_share is not None:
            boosted = _best(pool, boosted, math.floor(self.max_share * request.k + ROUNDING))
        score = pool.score.astype(np.float64)
        score[boosted] = self._changed(score[boosted])
        return score

    def _changed(self, score: Floats64) -> Floats64:
        if self.multiply is not None:
            return np.where(score < 0, score / self.multiply, score * self.multiply)
        return score + (self.add or 0.0)


def _best(pool: Pool, positions: Ints64, limit: int) -> Ints64:
    """The `limit` best of these entries in each row, by score; ties go by item position: int64."""
    order = np.lexsort((pool.item[positions], -pool.score[positions], pool.row[positions]))
    counts = np.bincount(pool.row[positions], minlength=pool.rows)
    return positions[order[rank_in_row(row_pointers(counts)) <= limit]]


@hookimpl
def nbarec_rankers() -> Iterable[type[Ranker[NoState]]]:
    """The rankers of this module."""
    return [Boost]
