"""What diversifying post-filters share: a window of each row is filled anew, place by place, by the greatest gain."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nbarec.arrays import Bools, Floats64, Ints64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import PostFilter, param
from nbarec.data import Dataset
from nbarec.kernels import TIE
from nbarec.params import StageRef
from nbarec_plugins.attributes import Features, weights_of
from nbarec_plugins.item_space import NOBODY, FeatureSpace, ItemSpace, VectorSpace, Windows

CELLS_IN_BLOCK = 1 << 18
"""About how many float64 values of gathered windows are worked on at a time: 2 MB, which stay in the cache."""

NEVER = -np.inf
"""The gain of an entry that must not be picked."""


@dataclass(frozen=True)
class GreedyState:
    """The features that items are compared by; None where vectors of a generator take their place."""

    features: Features | None


class Gain(Protocol):
    """What each entry of a window would add to those that are picked; changes with every pick."""

    def values(self) -> Floats64:
        """The gain of each entry: float64 [rows, width], `NEVER` for one that adds nothing; a new array."""

    def add(self, picked: Ints64, cosines: Floats64) -> None:
        """Take the entries at places `picked` int64 [rows], whose `cosines` with all are float64 [rows, width]."""


@dataclass(frozen=True)
class GreedyOrder(PostFilter[GreedyState]):
    """Re-orders the first `among` entries of each row and drops nothing.

    The first 2 k places, k being the slate's length, are filled one after the other with the entry of the greatest
    gain; gains within 1e-9 of the greatest are ties and go by the old place. What is not picked follows in its old
    order: later post-filters may drop half of the picks and still leave a full slate of them.
    """

    relevance: float = param(
        0.8, ge=0, le=1, doc="What the score counts against diversity: 1 keeps the order, 0 ignores the score."
    )
    vectors: StageRef | None = param(None, doc="A generator whose item vectors tell how alike items are.")
    fields: Mapping[str, float] | None = param(
        None,
        gt=0,
        doc="Columns of the items table that tell how alike items are, and what to multiply each one's features by; "
        "all if neither this nor `vectors` is given.",
    )
    among: int = param(100, ge=1, doc="How many of the best entries of a row are re-ordered.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vectors is not None and self.fields is not None:
            raise ValueError("items are compared by `vectors` or by `fields`, not by both; drop one of them")

    def vectors_named(self) -> Iterable[str]:
        """The generator in `vectors`."""
        return () if self.vectors is None else (self.vectors,)

    def fit(self, data: Dataset, rng: np.random.Generator) -> GreedyState:
        """The features of the catalogue, as `content` has them; deterministic. Raises ConfigError where it lacks the
        columns."""
        if self.vectors is not None:
            return GreedyState(None)
        catalog = data.catalog
        return GreedyState(Features.of(catalog, weights_of(catalog, self.fields, self.name), tfidf=True))

    def update(self, state: GreedyState, data: Dataset, new: Dataset) -> GreedyState:
        """Equal to a refit: new events change nothing, new items join the catalogue."""
        return self.fit(data, np.random.default_rng(0))

    def select(self, state: GreedyState, request: Request, pool: Pool) -> Ints64:
        """All positions: int64 [N], the first `among` of each row in their new order."""
        order = np.arange(len(pool))
        lengths = np.minimum(np.diff(pool.indptr), self.among)
        rows = np.flatnonzero(lengths > 1)
        if self.relevance == 1 or not len(rows):
            return frozen(order)
        space, width = self._space(state, pool), int(lengths.max())
        steps = min(width, 2 * request.k)
        size = max(CELLS_IN_BLOCK // (space.cells(width) + width * steps), 1)
        for start in range(0, len(rows), size):  # a step a block of rows, which bounds the memory
            block = rows[start : start + size]
            at = _positions(pool.indptr[block], lengths[block], width)
            order[at[at != NOBODY]] = self._reordered(space, pool, at, steps)
        return frozen(order)

    @abstractmethod
    def gain(self, score: Floats64, steps: int) -> Gain:
        """The gain with nothing picked; `score` float64 [rows, width] from 0 to 1, at most `steps` picks to come."""

    def _space(self, state: GreedyState, pool: Pool) -> ItemSpace:
        if state.features is not None:
            return FeatureSpace(state.features)
        return VectorSpace(pool.vectors[str(self.vectors)])

    def _reordered(self, space: ItemSpace, pool: Pool, at: Ints64, steps: int) -> Ints64:
        """The positions `at` int64 [rows, width] without `NOBODY`, row by row in the new order."""
        there = at != NOBODY
        windows = space.windows(np.where(there, pool.item[at], NOBODY))
        gain = self.gain(_min_max(pool.score[at].astype(np.float64), there), steps)
        turn = _turns(gain, windows, there, steps)
        # Stable: what has no turn stays in its order, `NOBODY` last.
        places = np.argsort(turn, axis=1, kind="stable")
        return np.asarray(np.take_along_axis(at, places, axis=1)[there], np.int64)


def _positions(starts: Ints64, lengths: Ints64, width: int) -> Ints64:
    """The positions of each row's window: int64 [rows, width], `NOBODY` beyond its length."""
    place = np.arange(width)
    return np.where(place < lengths[:, None], starts[:, None] + place, NOBODY)


def _min_max(score: Floats64, there: Bools) -> Floats64:
    """(s - min) / (max - min) over the entries of each row that are `there`, 1 where all are equal."""
    low = np.min(score, axis=1, where=there, initial=np.inf)[:, None]
    span = np.max(score, axis=1, where=there, initial=-np.inf)[:, None] - low
    scaled = np.ones(score.shape)
    np.divide(score - low, span, out=scaled, where=there & (span > 0))
    return scaled


def _turns(gain: Gain, windows: Windows, there: Bools, steps: int) -> Ints64:
    """The step from 0 at which each entry is picked, `steps` if it is not: int64 [rows, width]."""
    turn = np.full(there.shape, steps)
    left = there.copy()
    row = np.arange(len(there))
    for step in range(steps):  # a step a place: what is picked next depends on all that were picked before
        values = np.where(left, gain.values(), NEVER)
        picked = _first_of_best(values)
        live = values[row, picked] > NEVER
        if not live.any():
            break
        turn[row[live], picked[live]] = step
        left[row[live], picked[live]] = False
        if step + 1 < steps:
            gain.add(picked, windows.cosines(picked))
    return turn


def _first_of_best(values: Floats64) -> Ints64:
    """The first place of each row that is within `TIE` of its largest value: int64 [rows]."""
    return np.asarray((values >= values.max(axis=1, keepdims=True) - TIE).argmax(axis=1), np.int64)
