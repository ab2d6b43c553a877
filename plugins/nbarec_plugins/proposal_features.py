"""Proposal features: how far the generators agree on an entry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, Ints32, Ints64
from nbarec.batch import Pool, Request
from nbarec.components import FeatureProvider, NoState
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec_plugins.feature_columns import Lines, NamedFeatures, ratio
from nbarec_plugins.sparse_rows import sums_at

ROUNDING = 1e-9
"""A spread of less than this share of the largest score is rounding: all scores are equal."""


@dataclass(frozen=True)
class Proposals(NamedFeatures[NoState]):
    """Sums up what the generators say of each entry; n of them propose it, at ranks r from 1, with scores s.

    * `proposals_agreement` = n;
    * `proposals_best_rank` = max 1 / r, `proposals_fused` = sum of 1 / (60 + r) (reciprocal rank fusion: Cormack,
      Clarke, Buettcher 2009);
    * `proposals_score` = the mean of (s - mean) / standard deviation, both of the generator's scores in this row; 0 for
      a generator whose scores are all equal;
    * `proposals_rank_spread` = the standard deviation of ln r, unknown (NaN) where fewer than two propose it.

    Of an entry that nobody proposes (a shown item to learn from), all but the agreement is unknown.

    >>> from nbarec.testing.worlds import pool_of, request_for, tiny_world
    >>> request = request_for(tiny_world(), [0])
    >>> pool = pool_of(request, {"alike": [{3: 0.9, 4: 0.5}], "trending": [{4: 7.0}]})  # items 3 and 4
    >>> columns = Proposals().columns_for(NoState(), request, pool)
    >>> [columns[name].tolist() for name in ("proposals_agreement", "proposals_best_rank", "proposals_score")]
    [[1.0, 2.0], [1.0, 1.0], [1.0, -0.5]]
    """

    name: ClassVar[str] = "proposals"

    def lines(self) -> Lines:
        """What it tells of an entry."""
        return [
            ("proposals_agreement", "generators that propose the item"),
            ("proposals_best_rank", "best reciprocal rank that a generator gives the item"),
            ("proposals_fused", "reciprocal rank fusion of all generators"),
            ("proposals_score", "mean of the generators' scores, each standardised in the user's pool"),
            (
                "proposals_rank_spread",
                "how far generators that propose the item differ: standard deviation of log ranks",
            ),
        ]

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn."""
        return NoState()

    def values(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, Floats64]:
        """Sums over generators, in their order."""
        agreed, best, fused = np.zeros(len(pool)), np.zeros(len(pool)), np.zeros(len(pool))
        score, row = np.zeros(len(pool)), pool.row.astype(np.int64)
        # A step a generator: few.
        for ranks, scores in zip(pool.ranks.T, pool.scores.T, strict=True):
            said = ranks > 0
            agreed += said
            np.maximum(best, said / np.maximum(ranks, 1), out=best)
            fused += said / (60.0 + ranks)
            score += _standardised(row, scores, said, pool.rows)
        return {
            "proposals_agreement": agreed,
            "proposals_best_rank": np.where(agreed > 0, best, np.nan),
            "proposals_fused": np.where(agreed > 0, fused, np.nan),
            "proposals_score": ratio(score, agreed),
            "proposals_rank_spread": np.where(agreed > 1, _spread(pool.ranks.T, agreed), np.nan),
        }


def _spread(ranks: Ints32, agreed: Floats64) -> Floats64:
    """The standard deviation of the logarithms of the ranks above 0 of each entry: float64 [N]; `ranks` [S, N]."""
    mean, variance = np.zeros(len(agreed)), np.zeros(len(agreed))
    logs = np.log(np.maximum(ranks, 1))
    for log in logs:  # a step a generator; the logarithm of no rank is 0 here
        mean += log
    mean /= np.maximum(agreed, 1.0)
    for log, rank in zip(logs, ranks, strict=True):
        variance += (rank > 0) * (log - mean) ** 2
    return np.sqrt(variance / np.maximum(agreed, 1.0))


def _standardised(row: Ints64, scores: Floats32, said: Bools, rows: int) -> Floats64:
    """One generator's scores less their mean, in standard deviations, of each row: float64 [N], 0 where it says
    nothing, or the same of all."""
    value = np.where(said, scores, 0.0).astype(np.float64)
    count = np.bincount(row, weights=said, minlength=rows)
    away = np.where(said, value - ratio(sums_at(row, value, rows), count).take(row), 0.0)
    spread = np.sqrt(ratio(sums_at(row, away * away, rows), count)).take(row)
    largest = np.zeros(rows)
    np.maximum.at(largest, row, np.abs(value))
    real = said & (spread > ROUNDING * largest.take(row))
    return np.divide(away, spread, out=np.zeros(len(row)), where=real)


@hookimpl
def nbarec_feature_providers() -> Iterable[type[FeatureProvider[Any]]]:
    """The feature providers of this module."""
    return [Proposals]
