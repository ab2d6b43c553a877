"""Determinantal point process: the entries that are good and span the greatest volume together."""

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

DEPENDENT = 1e-6
"""An entry of whose unit vector no more than this, squared, stands out of the picks has no volume to add."""


@dataclass(frozen=True)
class Dpp(GreedyOrder):
    """Greedy maximum a posteriori set of a determinantal point process (Chen, Zhang, Zhou 2018).

    Fills each place with the entry that adds most to log det of the picks' part of the kernel
    L = Diag(exp(a s)) S Diag(exp(a s)), a = relevance / (2 (1 - relevance)): the greatest

        relevance * s(i) + (1 - relevance) * log(det S of the picks and i / det S of the picks)

    by their incremental Cholesky factor. s is the score, scaled in each row to 0 for the worst and 1 for the best of
    the first `among` entries. S(i, j) = (1 + cos(i, j)) / 2, their map of the cosine to 0..1, which is positive
    semidefinite: an opposite vector is the least alike, where the cosine itself would take it for a copy. cos is that
    of the vectors of the generator `vectors`, or of the features of the columns in `fields`, as `content` has them. An
    item without vector or features is orthogonal to every other.

    An entry whose ratio of determinants is at most 1e-6 is all but made of what is picked, such as a copy, and is
    never picked. Once only such are left, as at the latest with one pick more than the vectors have dimensions, the
    rest follows in the old order.

    Only the first `among` entries of a row move, and of these only as many as 2 k are picked; the others follow in
    their old order, and nothing is dropped. Ties go by the old place. A filter that puts entries at certain places
    belongs behind this one, which goes by the scores.

    >>> from nbarec.testing.worlds import pool_in_order, request_for, tiny_world
    >>> data = tiny_world()
    >>> pool = pool_in_order(request_for(data, [3]), [[0, 1, 3, 2, 5]])  # by ada, ada, bo, ada, cleo
    >>> spread = Dpp(relevance=0.5, fields={"artist": 1.0})
    >>> order = spread.select(spread.fit(data, np.random.default_rng(0)), request_for(data, [3]), pool)
    >>> pool.item[order].tolist()
    [0, 3, 5, 1, 2]
    """

    name: ClassVar[str] = "dpp"

    def gain(self, score: Floats64, alike: Windows, steps: int) -> Gain:
        """The logarithm of what the determinant is multiplied by, to the power 1 - relevance.

        The qualities exp(a s) are factored out of L and only enter as logarithms, so that none can overflow.
        """
        factor = np.zeros((*score.shape, steps))
        return _Volume(self.relevance * score, 1 - self.relevance, alike, np.ones(score.shape), factor)


@dataclass
class _Volume:
    """`relevant` float64 [rows, width]; `outside` float64 [rows, width], the squared part of each entry's unit vector
    outside the span of the picks; `factor` float64 [rows, width, steps], the rows of S's Cholesky factor."""

    relevant: Floats64
    diversity: float
    alike: Windows
    outside: Floats64
    factor: Floats64
    picks: int = 0

    def values(self) -> Floats64:
        """The gain in log det, weighed."""
        volume = np.full(self.outside.shape, NEVER)
        np.log(self.outside, out=volume, where=self.outside > DEPENDENT)
        return self.relevant + self.diversity * volume

    def add(self, picked: Ints64) -> None:
        """One more column of the Cholesky factor."""
        cosines = self.alike.cosines(picked)
        row = np.arange(len(picked))
        known = self.factor[:, :, : self.picks]
        explained = np.vecdot(known, known[row, picked][:, None])
        length = np.sqrt(self.outside[row, picked])[:, None]
        column = np.zeros(cosines.shape)
        # Where nothing is left to pick, something was picked in name only, and it may have no length.
        np.divide((1 + cosines) / 2 - explained, length, out=column, where=length > 0)
        self.factor[:, :, self.picks] = column
        self.outside = np.maximum(self.outside - column**2, 0.0)
        self.picks += 1


@hookimpl
def nbarec_post_filters() -> Iterable[type[PostFilter[GreedyState]]]:
    """The post-filters of this module."""
    return [Dpp]
