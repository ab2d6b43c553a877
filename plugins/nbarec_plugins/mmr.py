"""Maximal marginal relevance: each next entry is good, and unlike those before it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, Ints64
from nbarec.batch import Pool
from nbarec.components import PostFilter
from nbarec.hookspecs import hookimpl
from nbarec.kernels import TIE
from nbarec_plugins.greedy_order import GreedyOrder, GreedyState
from nbarec_plugins.item_space import ItemSpace, VectorSpace, Windows
from nbarec_plugins.windows import NEVER, Gain, windows_of

ROUNDING = 2.0**-24
"""The largest relative error of a float32 operation."""

OTHER_ROUNDINGS = 8
"""At least as many as a gain takes besides those of the products."""

LEAST_SQUARE = 1e-25
"""Squared lengths between this and its inverse are as exact in float32 as other numbers are."""


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

    def fill(self, order: Ints64, rows: Ints64, space: ItemSpace, pool: Pool, most: int) -> Ints64:
        """Where items are vectors: by the cosines of all pairs of a window at once.

        A product of matrices takes a tenth of the time of as many products of vectors, and half of that in float32.
        Its errors are bounded: a row in which each pick stands out by more than they can explain has been decided.
        """
        if not isinstance(space, VectorSpace):
            return rows
        factors, doubtful = space.vectors.shape[1], [np.empty(0, np.int64)]
        # A float32 is half a cell: for each entry its vector and its cosines with all others.
        for window in windows_of(pool, rows, self.among, lambda width: width * (factors + width) // 2):  # by blocks
            item = window.items(pool).reshape(window.at.shape)
            vectors, usual = _of_length((1 - self.relevance) ** 0.5, space.vectors, item)
            relevant = np.where(window.there, self.relevance * window.scores(pool), NEVER).astype(np.float32)
            turn, lead = _likely_turns(relevant, vectors, min(window.width, most))
            order[window.at[window.there]] = window.in_turn(turn)
            clear = usual & (lead > TIE + 2 * _error(factors, 1 - self.relevance))
            doubtful.append(window.row[~clear])
        return np.concatenate(doubtful)


def _of_length(length: float, vectors: Floats32, item: Ints64) -> tuple[Floats32, Bools]:
    """The vectors of windows of items, all of one length or 0: float32 [rows, width, d]; and of which rows float32
    holds the squares of their own lengths: bool [rows]."""
    taken = np.take(vectors, item, axis=0, mode="wrap")
    with np.errstate(over="ignore", under="ignore"):
        square = np.vecdot(taken, taken)
    held = (square > LEAST_SQUARE) & (square < 1 / LEAST_SQUARE)
    usual = np.ones(len(item), bool)
    if not held.all():
        row, place = np.nonzero(~held)
        usual[row[taken[row, place].any(axis=1)]] = False  # all others are vectors of zeros
        square[~held] = np.inf
    taken *= (np.float32(length) / np.sqrt(square))[..., None]
    return taken, usual


def _likely_turns(relevant: Floats32, vectors: Floats32, steps: int) -> tuple[Ints64, Floats32]:
    """The turns by float32 gains, int64 [rows, width], and the least lead of a pick over the next best of its row.

    `relevant` float32 [rows, width], -inf where there is no entry; `vectors` float32 [rows, width, d], whose products
    are what the gain of one loses by the other.
    """
    rows, width = relevant.shape
    products = np.matmul(vectors, vectors.transpose(0, 2, 1)).reshape(rows * width, width)
    first = np.arange(rows) * width
    picked = np.empty((steps, rows), np.int64)
    best, second = np.empty((steps, rows), np.float32), np.empty((steps, rows), np.float32)
    left, gain = relevant.copy(), relevant.copy()
    every_left, every_gain = left.reshape(-1), gain.reshape(-1)
    closest, latest = np.full_like(relevant, NEVER), np.empty_like(relevant)
    # A step a place: what is picked next depends on all that were picked before. (`clip` writes to `out` at once.)
    for step in range(steps):
        pick = np.add(first, gain.argmax(axis=1), out=picked[step])
        every_gain.take(pick, out=best[step], mode="clip")
        every_left[pick] = every_gain[pick] = NEVER
        np.maximum.reduce(gain, axis=1, out=second[step])
        products.take(pick, axis=0, out=latest, mode="clip")
        np.maximum(closest, latest, out=closest)
        np.subtract(left, closest, out=gain)
    live = best > NEVER
    turn = np.full(rows * width, steps)
    turn[picked[live]] = np.nonzero(live)[0]
    lead = np.where(live, best, np.inf) - second
    return turn.reshape(rows, width), lead.min(axis=0)


def _error(factors: int, diversity: float) -> float:
    """How far a float32 gain can be from the exact one, for vectors of so many factors.

    A product of d factors is off by at most d roundings of what its factors' sizes add up to, which is at most 1 for
    unit vectors (Higham 2002, "Accuracy and stability of numerical algorithms", section 3.1); so is each length that
    they were divided by, by half as many.
    """
    roundings = 2 * factors + OTHER_ROUNDINGS
    return (diversity * roundings + OTHER_ROUNDINGS) * ROUNDING


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
