"""What diversifying post-filters share: a window of each row is filled anew, place by place, by the greatest gain."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats64, Ints64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import PostFilter, param
from nbarec.data import Dataset
from nbarec.params import StageRef
from nbarec_plugins.attributes import Features, weights_of
from nbarec_plugins.item_space import FeatureSpace, ItemSpace, VectorSpace, Windows
from nbarec_plugins.windows import Gain, turns, windows_of


@dataclass(frozen=True)
class GreedyState:
    """The features that items are compared by; None where vectors of a generator take their place."""

    features: Features | None


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
        rows = np.flatnonzero(np.diff(pool.indptr) > 1)
        if self.relevance == 1 or not len(rows):
            return frozen(order)
        space, most = self.space(state, pool), 2 * request.k
        rows = self.fill(order, rows, space, pool, most)
        for window in windows_of(pool, rows, self.among, lambda width: space.cells(width) + width * most):  # by blocks
            steps = min(window.width, most)
            alike = space.windows(window.items(pool).reshape(window.at.shape))
            turn = turns(self.gain(window.scores(pool), alike, steps), window.there, steps)
            order[window.at[window.there]] = window.in_turn(turn)
        return frozen(order)

    def fill(self, order: Ints64, rows: Ints64, space: ItemSpace, pool: Pool, most: int) -> Ints64:
        """Re-order the windows of some rows, where a quicker way leaves no doubt of `most` picks, and return the other
        rows, int64: all, unless there is one. `order` int64 [N] is changed."""
        return rows

    @abstractmethod
    def gain(self, score: Floats64, alike: Windows, steps: int) -> Gain:
        """The gain with nothing picked; `score` float64 [rows, width] from 0 to 1, at most `steps` picks to come, and
        `alike` tells the cosines of a picked entry with all."""

    def space(self, state: GreedyState, pool: Pool) -> ItemSpace:
        """Where items are compared."""
        if state.features is not None:
            return FeatureSpace(state.features)
        return VectorSpace(pool.vectors[str(self.vectors)])
