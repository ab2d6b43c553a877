"""Blend: one score from what several generators say of an item, with weights that may differ case by case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Floats32, Floats64, frozen
from nbarec.batch import Pool, Request
from nbarec.components import NoState, Ranker, param
from nbarec.data import Dataset
from nbarec.errors import ConfigError
from nbarec.expressions import Expression
from nbarec.hookspecs import hookimpl
from nbarec.params import check_params
from nbarec.scopes import PoolScope
from nbarec_plugins.list_values import min_max_scores, reciprocal_ranks, standardised_scores

LARGEST = 1_000_000
"""Largest weight and largest `k`: beyond it float32 scores no longer tell neighbouring ranks apart."""


@dataclass(frozen=True)
class Case:
    """Weights for some of the entries.

    An item case such as `item.events < 5` re-weighs some entries of a row while the others keep their weights. All
    still compete by the same plain weighted sum, with nothing rescaled: under `{alike: 1.0}` a new item that is first
    in `alike` gets as much as a weight of 1.0 can give, a well-known item what all its sources add up to.
    """

    when: Expression = param(doc="Which entries; an entry for which this is unknown is not one of them.")
    weights: Mapping[str, float] = param(
        ge=0, le=LARGEST, doc="Generator id: weight, in place of the blend's; a generator not listed weighs 0."
    )

    def __post_init__(self) -> None:
        check_params(self)
        if not self.weights:
            raise ValueError("weights must name at least one generator")


@dataclass(frozen=True)
class Blend(Ranker[NoState]):
    """score(u, i) = sum over generators g of weight_g * value_g(u, i).

    `value_g` comes from g's list for u, by `method`:

    * `reciprocal_rank`: 1 / (k + rank) (Cormack, Clarke and Buettcher 2009, with k = 60; k = 0 is plain 1 / rank);
      0 where g does not propose the item.
    * `min_max`: (s - min) / (max - min) (Fox and Shaw 1994; Lee 1997); 0 where g does not propose it.
    * `standardised`: (s - mean) / deviation, the population's (Montague and Aslam 2001), both of g's list for u. Where
      g does not propose the item, the list's lowest value: what a list leaves out is at best as good as its last entry,
      whereas 0, the list's mean, would put it above half of the list. With weights that are alike for all of a user's
      entries, taking the mean off changes no order: it is as if scores were divided by their list's deviation alone.

    A list whose scores are all the same gives 1 to what it proposes and 0 to the rest under both `min_max` and
    `standardised`, so that being proposed still counts.

    >>> import numpy as np
    >>> from nbarec.testing.worlds import pool_of, request_for, tiny_world
    >>> request = request_for(tiny_world(), [0])
    >>> pool = pool_of(request, {"latent": [{3: 0.9, 5: 0.8}], "alike": [{5: 0.7}]})
    >>> Blend(k=0, weights={"latent": 0.6, "alike": 0.4}).rank(NoState(), request, pool).round(2).tolist()
    [0.6000000238418579, 0.699999988079071]
    """

    name: ClassVar[str] = "blend"

    method: Literal["reciprocal_rank", "min_max", "standardised"] = param(
        "reciprocal_rank", doc="How a generator's list becomes values that can be added."
    )
    k: float = param(60.0, ge=0, le=LARGEST, doc="Of reciprocal_rank: the larger, the less the first places stand out.")
    weights: Mapping[str, float] = param(
        {},
        ge=0,
        le=LARGEST,
        doc="Generator id: weight. 1 for each where none is given; otherwise a generator not listed weighs 0.",
    )
    cases: tuple[Case, ...] = param(
        (), doc="Weights for some of the entries; for each entry the first case that holds replaces `weights` whole."
    )

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn."""
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        """The weighted sum: float32 [N]. Raises ConfigError where weights name what is no generator here."""
        total = np.zeros(len(pool))
        # One pass a generator, in their order: an entry's sum never depends on the shape of the batch.
        for _, share in self._shares(request, pool):
            total += share
        return frozen(total.astype(np.float32))

    def terms(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, Floats64] | None:
        """weight_g * value_g of each generator g, under its id; None where there is no generator."""
        return {source: frozen(share) for source, share in self._shares(request, pool)} or None

    def _shares(self, request: Request, pool: Pool) -> Iterator[tuple[str, Floats64]]:
        """Each generator's id, and what it adds to every entry's score: float64 [N]."""
        self._refuse_strangers(pool.sources)
        weights = self._weights(request, pool)
        for source, name in enumerate(pool.sources):
            yield name, self._share(pool, source, weights[source])

    def generators_named(self) -> Iterable[str]:
        """The generators that any of the weights speaks of."""
        return chain(self.weights, *(case.weights for case in self.cases))

    def _refuse_strangers(self, sources: tuple[str, ...]) -> None:
        if unknown := [source for source in dict.fromkeys(self.generators_named()) if source not in sources]:
            listed, there = ", ".join(map(repr, unknown)), ", ".join(sources) or "none"
            raise ConfigError(f"blend has weights for {listed}, but the generators here are: {there}")

    def _weights(self, request: Request, pool: Pool) -> Floats64:
        """The weight of each source: float64 [S], or, where there are cases, for every entry: float64 [S, N]."""
        usual = _by_source(self.weights, pool.sources) if self.weights else np.ones(len(pool.sources))
        if not self.cases:
            return usual
        weights = np.repeat(usual[:, None], len(pool), axis=1)
        scope = PoolScope(request, pool)
        # From the last case to the first, so that the first that holds has the last word.
        for case in reversed(self.cases):
            holds = case.when.truth(scope).holds
            weights[:, holds] = _by_source(case.weights, pool.sources)[:, None]
        return weights

    def _share(self, pool: Pool, source: int, weight: Floats64) -> Floats64:
        """What one generator adds: its `weight` times what it says of every entry, float64 [N]."""
        match self.method:
            case "reciprocal_rank":
                return reciprocal_ranks(pool.ranks[:, source], self.k, weight)
            case "min_max":
                return weight * min_max_scores(pool, source)
            case "standardised":
                return weight * standardised_scores(pool, source)


def _by_source(weights: Mapping[str, float], sources: tuple[str, ...]) -> Floats64:
    """One weight a source, 0 where it is not listed: float64 [S]."""
    return np.array([weights.get(source, 0.0) for source in sources], np.float64)


@hookimpl
def nbarec_rankers() -> Iterable[type[Ranker[NoState]]]:
    """The rankers of this module."""
    return [Blend]
