"""How sure a figure is: bootstrap intervals over users, each with all the values that he has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np

from nbarec.arrays import Floats64, Ints64, concat_ranges, row_pointers
from nbarec.blas import one_thread

DRAWS_IN_BLOCK = 1 << 20
"""Users drawn at once: bounds the memory, and is fixed, so that the draws depend on the seed alone."""

Interval = tuple[float, float]
Bounds = tuple[float, float]

UNBOUNDED: Bounds = (-np.inf, np.inf)


@dataclass(frozen=True)
class Resamples:
    """`count` samples of `users` users, drawn with replacement; the same ones each time they are asked for.

    Figures that share their resamples differ by what they measure and not by the draw (common random numbers).

    Where values are of requests, of which a user may have several, `of` int64 [rows] says whose each is, from 0 to
    below `users`, ascending and nobody left out. A user is then drawn with all of his requests, because they depend on
    each other: the cluster bootstrap (Davison and Hinkley 1997, section 3.8). Without it each row is a user.
    """

    users: int
    count: int
    seed: int
    of: Ints64 | None = None

    @classmethod
    def draw(cls, users: int, rng: np.random.Generator, count: int = 1000, *, of: Ints64 | None = None) -> Resamples:
        """Resamples seeded by the next number of `rng`. Raises ValueError unless `count` is at least 1."""
        if count < 1:
            raise ValueError(f"resamples must be at least 1, not {count}")
        return cls(users, count, int(rng.integers(2**63)), of)

    @classmethod
    def of_rows(cls, user: Ints64, rng: np.random.Generator, count: int = 1000) -> Resamples:
        """Resamples of rows that belong to the users `user` int64 [rows], ascending and with gaps or without."""
        users, of = np.unique(user, return_inverse=True)
        return cls.draw(len(users), rng, count, of=of)

    @cached_property
    def counts(self) -> Ints64:
        """How many rows each user has: int64 [users]."""
        return np.ones(self.users, np.int64) if self.of is None else np.bincount(self.of, minlength=self.users)

    def sums(self, values: Floats64) -> Floats64:
        """Each user's sum of `values` float64 [rows, figures]: [users, figures]."""
        if self.of is None or not len(values):
            return values
        return np.asarray(np.add.reduceat(values, row_pointers(self.counts)[:-1], axis=0))

    def users_of(self, values: Floats64) -> Ints64:
        """How many users have a defined value of each figure, of `values` float64 [rows, figures]: int64 [figures]."""
        return np.asarray(np.count_nonzero(self.sums((~np.isnan(values)).astype(np.float64)), axis=0))

    def blocks(self) -> Iterator[Ints64]:
        """Positions of the drawn users, some resamples at a time: int64 [block, users]."""
        rng = np.random.default_rng(self.seed)
        size = max(DRAWS_IN_BLOCK // max(self.users, 1), 1)
        # A step a block of resamples, which bounds the memory.
        for start in range(0, self.count, size):
            yield rng.integers(0, max(self.users, 1), (min(size, self.count - start), self.users))

    def each(self) -> Iterator[Ints64]:
        """Positions of the rows of the drawn users, one resample at a time: int64 [rows]."""
        starts = row_pointers(self.counts)
        for block in self.blocks():
            if self.of is None:
                yield from block
            else:
                yield from (concat_ranges(starts[users], self.counts[users]) for users in block)


def mean_interval(values: Floats64, rng: np.random.Generator, resamples: int = 1000, level: float = 0.95) -> Interval:
    """Percentile bootstrap interval (Efron 1979) of the mean of the defined values, float64 [users]; NaN is undefined.

    Users are drawn with replacement, undefined ones too; (NaN, NaN) where fewer than two have a defined value, because
    a single one tells nothing of the spread.
    """
    low, high = mean_intervals(values[:, None], Resamples.draw(len(values), rng, resamples), level)[0]
    return float(low), float(high)


def mean_intervals(values: Floats64, resamples: Resamples, level: float = 0.95) -> Floats64:
    """`mean_interval` of each column of `values` float64 [rows, figures] over the same resamples: [figures, 2]."""
    means = np.where(resamples.users_of(values) > 1, resampled_means(values, resamples), np.nan)
    return percentile_intervals(means, level)


def percentile_intervals(figures: Floats64, level: float = 0.95) -> Floats64:
    """The middle `level` of each column of `figures` float64 [resamples, figures], undefined ones (NaN) left out:
    [figures, 2]; (NaN, NaN) where all are undefined."""
    intervals = np.full((figures.shape[1], 2), np.nan)
    defined = ~np.isnan(figures).all(axis=0)
    if defined.any():
        tails = [(1 - level) / 2, (1 + level) / 2]
        intervals[defined] = np.nanquantile(figures[:, defined], tails, axis=0).T
    return intervals


def resampled_means(values: Floats64, resamples: Resamples) -> Floats64:
    """The mean of the defined values of each column in each resample: float64 [resamples, figures].

    NaN where a resample has no user whose value is defined. `values` is float64 [rows, figures], a row a user or, of
    requests, several.
    """
    defined = ~np.isnan(values)
    filled = resamples.sums(np.where(defined, values, 0.0))
    of_users = resamples.sums(defined.astype(np.float64))
    gaps = np.flatnonzero((of_users != 1.0).any(axis=0))
    counted = of_users[:, gaps]
    means = []
    with one_thread():  # also what makes the last bits repeat
        for drawn in resamples.blocks():
            times = _times_drawn(drawn)
            total = times @ filled
            users = np.full(total.shape, float(resamples.users))
            if len(gaps):
                users[:, gaps] = times @ counted
            means.append(np.divide(total, users, out=np.full(total.shape, np.nan), where=users > 0))
    return np.concatenate(means)


def standard_interval(
    estimate: float, figures: Floats64, *, level: float = 0.95, bounds: Bounds = UNBOUNDED
) -> Interval:
    """estimate +- z x bootstrap standard error (Efron and Tibshirani 1986), clipped to `bounds`.

    For figures of all users together, such as coverage: a resample repeats users, so it covers fewer items and a
    percentile interval would miss the estimate. `figures` float64 [resamples] has the figure of each, NaN undefined;
    50 to 200 will do. (NaN, NaN) where the estimate or every figure is undefined.
    """
    figures = figures[~np.isnan(figures)]
    if np.isnan(estimate) or not len(figures):
        return float("nan"), float("nan")
    error = NormalDist().inv_cdf((1 + level) / 2) * float(figures.std(ddof=1 if len(figures) > 1 else 0))
    low, high = bounds
    return max(estimate - error, low), min(estimate + error, high)


def _times_drawn(drawn: Ints64) -> Floats64:
    """How often each user is in each resample: float64 [block, users]."""
    times = np.empty(drawn.shape)
    # A step a resample: its counts stay in the cache, which makes it twice as fast as a block's at once.
    for at, users in enumerate(drawn):
        times[at] = np.bincount(users, minlength=drawn.shape[1])
    return times
