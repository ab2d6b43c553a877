"""Item-based collaborative filtering: items like those in the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Ints32, Ints64
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec_plugins.best_overlaps import best_overlaps
from nbarec_plugins.contenders import Strength
from nbarec_plugins.meetings import evidence_of_product
from nbarec_plugins.neighbours import Measure, Signal, Similarity
from nbarec_plugins.overlaps import ratios
from nbarec_plugins.row_products import Product, Term
from nbarec_plugins.sparse_rows import SparseRows

Score = Literal["sum", "mean"]

_TERMS: Mapping[Score, tuple[Term, ...]] = {
    "sum": (np.multiply,),
    "mean": (np.multiply, lambda _weight, similarity: np.abs(similarity)),
}

_SCORES: Mapping[Score, Strength] = {
    "sum": lambda met: met.sums[0],
    "mean": lambda met: ratios(met.sums[0], met.sums[1]),
}


@dataclass(frozen=True)
class ItemCfState:
    """`neighbours` holds each item's most similar items and how similar they are (items x items); `digest` int64
    [items] is a hash of the events that each item's similarities were computed from."""

    neighbours: SparseRows
    digest: Ints64


@dataclass(frozen=True)
class ItemCf(CandidateGenerator[ItemCfState]):
    """Scores item j by its similarity to the items i of the history (Sarwar, Karypis, Konstan, Riedl 2001).

    score(j) = sum over i of similarity(i -> j) weight(i), over the items i that have j among their `neighbors` most
    similar (Deshpande, Karypis 2004); with `score: mean` divided by the sum of |similarity(i -> j)| over the same i.
    A pair's events are combined into one weight first. Pairs of weight 0 say nothing; negative weights count against.
    An item is proposed where that sum is positive: more speaks for it than against it. So a history without items
    that others share yields nothing. `neighbours.Measure` defines the similarities.

    >>> data = Dataset.from_arrays(["ann", "ann", "bob", "bob"], ["tea", "milk", "tea", "milk"])
    >>> ItemCf(neighbors=1).fit(data, np.random.default_rng(0)).neighbours.column.tolist()
    [1, 0]
    """

    name: ClassVar[str] = "item_cf"
    similarity: Similarity = param(
        "cosine", doc="How alike two items are. adjusted_cosine, pearson: for ratings, better with some shrink."
    )
    neighbors: int = param(100, ge=1, doc="How many of the most similar items each item keeps.")
    shrink: float = param(0.0, ge=0, doc="Similarities of n common users are multiplied by n / (n + shrink).")
    alpha: float = param(0.0, ge=0, le=1, doc="conditional only: how much an item's own popularity is discounted.")
    score: Score = param("sum", doc="sum favours items like many in the history; mean estimates a weight.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha and self.similarity != "conditional":
            raise ValueError(f"alpha has no part in {self.similarity}; leave it out, or use similarity: conditional")

    @property
    def _measure(self) -> Measure:
        return Measure(self.similarity, self.shrink, self.alpha)

    def fit(self, data: Dataset, rng: np.random.Generator) -> ItemCfState:
        """The most similar items of every item; deterministic."""
        signal = Signal.of(data.events, self.similarity)
        every = np.arange(data.events.n_items)
        return ItemCfState(self._measure.nearest(signal, every, self.neighbors), signal.digest())

    def update(self, state: ItemCfState, data: Dataset, new: Dataset) -> ItemCfState:
        """Equal to a refit, to the bit; recomputes the items that new events touch and those they share users with.

        What is touched is found by comparing digests, so anything that changes an old weight (decay against a later
        clock, say) is seen as well; where it changes all, all is recomputed.
        """
        signal = Signal.of(data.events, self.similarity)
        digest = signal.digest()
        before = np.zeros(len(digest), np.int64)
        before[: len(state.digest)] = state.digest
        changed = digest != before
        old = state.neighbours
        linked = old.row_of[changed[old.column]]
        stale = np.unique(np.concatenate([np.flatnonzero(changed), signal.near(np.flatnonzero(changed)), linked]))
        fresh = self._measure.nearest(signal, stale, self.neighbors)
        return ItemCfState(old.replaced(stale, fresh, len(digest)), digest)

    def generate(self, state: ItemCfState, request: Request, limit: int) -> Candidates:
        """Items with more evidence for than against, best first."""
        product = Product(_read(request), state.neighbours.strips, _TERMS[self.score])
        return best_overlaps(product, _SCORES[self.score], request.excluded, limit)

    def evidence(self, state: ItemCfState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each item i of the history adds: similarity(i -> j) weight(i), with `score: mean` divided as the score.

        Exact also for items that are not proposed: their parts add up to what the formula gives, 0 without a part. What
        disliked items say for an item, by being unlike it, is in the rest.
        """
        return evidence_of_product(
            _read(request), state.neighbours, row, item, limit, "you chose {}", mean=self.score == "mean"
        )


def _read(request: Request) -> SparseRows:
    """The pairs of the history that say something: (B x items)."""
    weight = request.history.pair_weights()
    return SparseRows.from_csr(request.history.matrix(), weight != 0, weight)


@hookimpl
def nbarec_candidate_generators() -> list[type[ItemCf]]:
    """The generators of this module."""
    return [ItemCf]
