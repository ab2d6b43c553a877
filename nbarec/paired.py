"""Whether two runs differ by more than chance: tests on the differences of the same users' values.

All figures share their draws, so that they differ by what they measure and not by the draw (common random numbers).

>>> tests = paired_tests(np.array([[0.1], [0.3], [0.2], [0.0], [0.4]]), np.random.default_rng(0))
>>> round(tests[0].difference, 3), tests[0].permutation
(0.2, 0.125)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats64, Ints64
from nbarec.blas import one_thread
from nbarec.statistics import DRAWS_IN_BLOCK, Interval, Resamples, percentile_intervals, resampled_means

RESAMPLES = 10_000
TIE = 1e-9
"""Figures nearer than this part of the mean absolute difference are equal: sums in another order differ by rounding."""


@dataclass(frozen=True)
class PairedTest:
    """One figure's mean `difference` over the pairs of so many `users`, its 95% interval, and two p-values, both
    two-sided.

    NaN is undefined: everything without a pair, interval and `bootstrap` with a single one, which tells nothing of
    the spread.
    """

    users: int
    difference: float
    ci95: Interval
    bootstrap: float
    permutation: float


@dataclass(frozen=True)
class SignFlips:
    """`count` draws of which of the `users` pairs swap sides, each with probability 1/2; the same ones each time they
    are asked for. Where there are no more than `count` ways, they are all ways, once each."""

    users: int
    count: int
    seed: int

    @property
    def are_all(self) -> bool:
        """Whether these are all 2^users ways, which makes the test exact."""
        return self.users < self.count.bit_length()

    def blocks(self) -> Iterator[Floats64]:
        """1 where a pair swaps sides and 0 where not, some draws at a time: float64 [block, users]."""
        size = max(DRAWS_IN_BLOCK // max(self.users, 1), 1)
        total = 2**self.users if self.are_all else self.count
        rng = np.random.default_rng(self.seed)
        # A step a block of draws, which bounds the memory.
        for start in range(0, total, size):
            stop = min(start + size, total)
            yield self._ways(start, stop) if self.are_all else self._drawn(rng, stop - start)

    def _ways(self, start: int, stop: int) -> Floats64:
        bits = np.arange(start, stop)[:, None] >> np.arange(self.users)
        return (bits & 1).astype(np.float64)

    def _drawn(self, rng: np.random.Generator, rows: int) -> Floats64:
        packed = rng.integers(0, 256, (rows, -(-self.users // 8)), np.uint8)
        return np.unpackbits(packed, axis=1, count=self.users).astype(np.float64)


def paired_tests(
    differences: Floats64, rng: np.random.Generator, resamples: int = RESAMPLES, *, of: Ints64 | None = None
) -> list[PairedTest]:
    """One test a column of `differences`, float64 [users, figures]: second run less first, NaN where either is
    undefined.

    Where rows are requests, of which a user has several, `of` int64 [rows] says whose each is, ascending from 0 with
    nobody left out: a user's requests depend on each other, so they are drawn together and change their signs together.

    * Interval: percentile bootstrap of the mean difference, users drawn with replacement (Efron and Tibshirani 1993).
    * `bootstrap`: how often |mean* - mean| >= |mean| in the resamples: the same bootstrap, moved to where the null
      hypothesis of no difference holds (Efron and Tibshirani 1993, chapter 16).
    * `permutation`: how often |mean*| >= |mean| where each difference keeps or changes its sign by the toss of a coin,
      as it may where the runs are alike (Fisher 1935; drawn at random: Noreen 1989).

    A p-value is (1 + times) / (1 + draws); where all ways to give signs are gone through, times / ways, exactly.
    Raises ValueError unless there is at least one resample.
    """
    drawn = Resamples.draw(len(differences) if of is None else int(of.max(initial=-1)) + 1, rng, resamples, of=of)
    flips = SignFlips(drawn.users, resamples, int(rng.integers(2**63)))
    defined = ~np.isnan(differences)
    rows, users = defined.sum(axis=0), drawn.users_of(differences)
    filled = np.where(defined, differences, 0.0)
    mean = _over(filled.sum(axis=0), rows)
    tie = TIE * _over(np.abs(filled).sum(axis=0), rows)
    means = np.where(users > 1, resampled_means(differences, drawn), np.nan)
    columns = (
        users.tolist(),
        mean.tolist(),
        map(tuple, percentile_intervals(means).tolist()),
        _bootstrap(means, mean, tie).tolist(),
        _permutation(drawn.sums(filled), flips, mean * rows, tie * rows).tolist(),
    )
    return [PairedTest(*column) for column in zip(*columns, strict=True)]


def _bootstrap(means: Floats64, mean: Floats64, tie: Floats64) -> Floats64:
    """p-values [figures] from the resampled means [resamples, figures], of which NaN are left out."""
    times = (np.abs(means - mean) >= np.abs(mean) - tie).sum(axis=0)
    draws = (~np.isnan(means)).sum(axis=0)
    return np.where(draws > 0, (1 + times) / (1 + draws), np.nan)


def _permutation(filled: Floats64, flips: SignFlips, total: Floats64, tie: Floats64) -> Floats64:
    """p-values [figures] from the differences [users, figures], undefined ones 0, and their totals [figures]."""
    times, draws = np.zeros(len(total)), 0
    with one_thread():
        for swapped in flips.blocks():  # a step a block of draws, which bounds the memory
            times += (np.abs(total - 2 * (swapped @ filled)) >= np.abs(total) - tie).sum(axis=0)
            draws += len(swapped)
    found = times / draws if flips.are_all else (1 + times) / (1 + draws)
    return np.where(np.isnan(total), np.nan, found)


def holm(p_values: Floats64) -> Floats64:
    """p-values corrected for being several: float64 [tests]; NaN is no test.

    The i-th smallest of m becomes the largest of (m - j + 1) p_(j) over j <= i, at most 1 (Holm 1979): whoever rejects
    where it is at most 5% makes any wrong rejection with a probability of at most 5%, however the tests depend on
    each other.
    """
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    corrected = np.full(len(p_values), np.nan)
    left = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * left), 1.0)
    return corrected


def _over(total: Floats64, count: np.ndarray) -> Floats64:
    """total / count, NaN where the count is 0."""
    return np.asarray(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
