"""Maximal marginal relevance: each next entry is good, and unlike those before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats64, Ints64
from nbarec.components import PostFilter
from nbarec.hookspecs import hookimpl
from nbarec_plugins.greedy_order import GreedyOrder, GreedyState
from nbarec_plugins.item_space import Windows
from nbarec_plugins.windows import NEVER, Gain


@dataclass(frozen=True)
class Mmr(GreedyOrder):
    """Fills each place with the entry of the greatest marginal relevance (Carbonell, Goldstein 1998):

        relevance * s(i) - (1 - relevance) * max over the picked j of cos(i, j)

    s is the score, scaled in each row to 0 for the worst and 1 for the best of the first `among` entries; the first
    pick is the entry of the best score. cos is the cosine of the items' vectors: those of the generator `vectors`, or
    the features of the columns in `fields`, as `content` has them. An item without vector or features has cosine 0
    with every other.

    Only the first `among` entries of a row move, and of these only as many as 2 k are picked; the others follow in
    their old order, and nothing is dropped. Ties go by the old place. A filter that puts entries at certain places
    belongs behind this one, which goes by the scores.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> data = tiny_world()
    >>> pool = pool_in_order(request_for(data, [3]), [[0, 1, 3, 2, 5]])  # by ada, ada, bo, ada, cleo
    >>> spread = Mmr(relevance=0.3, fields={"artist": 1.0})
    >>> order = spread.select(spread.fit(data, np.random.default_rng(0)), request_for(data, [3]), pool)
    >>> pool.item[order].tolist()
    [0, 3, 5, 1, 2]
    """

    name: ClassVar[str] = "mmr"

    def gain(self, score: Floats64, alike: Windows, steps: int) -> Gain:
        """The marginal relevance."""
        return _MarginalRelevance(self.relevance * score, 1 - self.relevance, alike, np.full(score.shape, NEVER))


@dataclass
class _MarginalRelevance:
    """`relevant` float64 [rows, width]; `closest` float64 [rows, width], the largest cosine with a picked entry."""

    relevant: Floats64
    diversity: float
    alike: Windows
    closest: Floats64
    picks: int = 0

    def values(self) -> Floats64:
        """Relevance less redundancy, of which there is none before the first pick."""
        return self.relevant - self.diversity * self.closest if self.picks else self.relevant

    def add(self, picked: Ints64) -> None:
        """One more entry to be unlike."""
        self.picks += 1
        np.maximum(self.closest, self.alike.cosines(picked), out=self.closest)


@hookimpl
def nbarec_post_filters() -> Iterable[type[PostFilter[GreedyState]]]:
    """The post-filters of this module."""
    return [Mmr]
