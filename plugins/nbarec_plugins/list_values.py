"""What a generator's lists say of every entry of a pool, as numbers that can be added to those of other generators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats64, Ints32, Ints64, order_in_rows
from nbarec.batch import Pool
from nbarec_plugins.scaling import Runs


def reciprocal_ranks(ranks: Ints32, k: float, weight: Floats64) -> Floats64:
    """weight / (k + rank), 0 where the rank is: float64 [N]. `ranks` int32 [N]; one weight, or float64 [N].

    There are only as many values as ranks: they are computed once and read from a table.
    """
    values = np.zeros(ranks.max(initial=0) + 1)
    values[1:] = 1.0 / (k + np.arange(1, len(values)))
    return (values * weight).take(ranks) if weight.ndim == 0 else values.take(ranks) * weight


def min_max_scores(pool: Pool, source: int) -> Floats64:
    """(s - min) / (max - min) of each list of one generator, 1 in a flat one and 0 outside: float64 [N]."""
    lists = _Lists.of(pool, source)
    values = np.zeros(len(pool))
    values[lists.entry] = lists.scores.min_max(flat=1.0)
    return values


def standardised_scores(pool: Pool, source: int) -> Floats64:
    """(s - mean) / deviation of each list of one generator, the lowest of these outside: float64 [N].

    1 in a flat list and 0 outside; 0 throughout a row for which nothing is proposed.
    """
    lists = _Lists.of(pool, source)
    scores = lists.scores
    mean, deviation = scores.moments
    lowest = np.zeros(pool.rows)
    lowest[scores.group] = np.where(scores.flat, 0.0, (scores.low - mean) / deviation)
    values = lowest[pool.row]
    values[lists.entry] = scores.standardised(flat=1.0)
    return values


@dataclass(frozen=True)
class _Lists:
    """One generator's lists, row by row and best first, however the pool is sorted: where each proposal stands in the
    pool, `entry` int64, and its score, by list, `scores`."""

    entry: Ints64
    scores: Runs

    @classmethod
    def of(cls, pool: Pool, source: int) -> _Lists:
        ranks = pool.ranks[:, source]
        proposed = np.flatnonzero(ranks)
        entry = proposed[order_in_rows(pool.row[proposed], ranks[proposed])]
        return cls(entry, Runs.of(pool.row[entry], pool.scores[entry, source].astype(np.float64)))
