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
from nbarec.events import Events
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec_plugins.best_overlaps import best_overlaps
from nbarec_plugins.contenders import Strength
from nbarec_plugins.meetings import evidence_of_product
from nbarec_plugins.neighbours import Measure, Signal, Similarity
from nbarec_plugins.overlaps import ratios
from nbarec_plugins.pair_weighting import Weighting
from nbarec_plugins.row_products import Product, Term
from nbarec_plugins.sparse_rows import SparseRows

Score = Literal["sum", "mean"]
Keep = Literal["source", "target"]

_TERMS: Mapping[Score, tuple[Term, ...]] = {
    "sum": (np.multiply,),
    "mean": (np.multiply, lambda _weight, similarity: np.abs(similarity)),
}

_SCORES: Mapping[Score, Strength] = {
    "sum": lambda met: met.sums[0],
    "mean": lambda met: ratios(met.sums[0], met.sums[1]),
}

_ONLY_WITH: Mapping[str, tuple[Similarity, object]] = {
    "alpha": ("conditional", 0.0),
    "source": ("cosine", 0.5),
    "weighting": ("cosine", "none"),
}
"""Parameters that say something with one similarity alone, and the value that they have with others."""


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
    similar (Deshpande, Karypis 2004), or with `keep: target` over the `neighbors` items i that are most similar to j;
    with `score: mean` divided by the sum of |similarity(i -> j)| over the same i. A pair's events are combined into one
    weight first. Pairs of weight 0 say nothing; negative weights count against. An item is proposed where that sum is
    positive: more speaks for it than against it. So a history without items that others share yields nothing.
    `neighbours.Measure` defines the similarities, and `pair_weighting.weighted` what `weighting` makes of the weights
    that they compare; a history's weights are as they are.

    >>> data = Dataset.from_arrays(["ann", "ann", "bob", "bob"], ["tea", "milk", "tea", "milk"])
    >>> ItemCf(neighbors=1).fit(data, np.random.default_rng(0)).neighbours.column.tolist()
    [1, 0]
    """

    name: ClassVar[str] = "item_cf"
    similarity: Similarity = param(
        "cosine", doc="How alike two items are. adjusted_cosine, pearson: for ratings, better with some shrink."
    )
    neighbors: int = param(100, ge=1, doc="How many of the most similar items each item keeps.")
    keep: Keep = param("source", doc="Whether each item of a history keeps `neighbors`, or each item to be scored.")
    shrink: float = param(0.0, ge=0, doc="Similarities of n common users are multiplied by n / (n + shrink).")
    source: float = param(0.5, ge=0, le=1, doc="cosine only: 0.5 is symmetric; more favours what many users have.")
    weighting: Weighting = param(
        "none", doc="cosine only: how much a pair says; tfidf, bm25: less where users have much."
    )
    alpha: float = param(0.0, ge=0, le=1, doc="conditional only: how much an item's own popularity is discounted.")
    score: Score = param("sum", doc="sum favours items like many in the history; mean estimates a weight.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (only, unused) in _ONLY_WITH.items():
            if getattr(self, name) != unused and self.similarity != only:
                raise ValueError(f"{name} has no part in {self.similarity}; leave it out, or use similarity: {only}")

    def _signal(self, events: Events) -> Signal:
        return Signal.of(events, self.similarity, self.weighting)

    def _kept(self, signal: Signal, items: Ints64) -> SparseRows:
        """What each of `items` int64 [M] keeps: rows of neighbours that it leads to, or that lead to it."""
        measure = Measure(self.similarity, self.shrink, self.alpha, self.source)
        return measure.nearest(signal, items, self.neighbors, inward=self.keep == "target")

    def _turned(self, rows: SparseRows) -> SparseRows:
        """From what each item keeps to what each item of a history leads to, and back."""
        return rows.transpose() if self.keep == "target" else rows

    def fit(self, data: Dataset, rng: np.random.Generator) -> ItemCfState:
        """The most similar items of every item; deterministic."""
        signal = self._signal(data.events)
        return ItemCfState(self._turned(self._kept(signal, np.arange(data.events.n_items))), signal.digest())

    def update(self, state: ItemCfState, data: Dataset, new: Dataset) -> ItemCfState:
        """Equal to a refit, to the bit; recomputes the items that new events touch and those they share users with.

        What is touched is found by comparing digests, so anything that changes an old weight (decay against a later
        clock, say) is seen as well; where it changes all, all is recomputed.
        """
        signal = self._signal(data.events)
        digest = signal.digest()
        before = np.zeros(len(digest), np.int64)
        before[: len(state.digest)] = state.digest
        changed = digest != before
        old = self._turned(state.neighbours)
        linked = old.row_of[changed[old.column]]
        stale = np.unique(np.concatenate([np.flatnonzero(changed), signal.near(np.flatnonzero(changed)), linked]))
        fresh = self._kept(signal, stale)
        return ItemCfState(self._turned(old.replaced(stale, fresh, len(digest))), digest)

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
