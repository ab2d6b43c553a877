"""Weighted: several objectives as one score."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import AnyArray, Floats32, Floats64, frozen, order_in_rows
from nbarec.batch import Pool, Request
from nbarec.components import NoState, Ranker, param
from nbarec.data import FLOAT32_LIMIT, Dataset
from nbarec.errors import ConfigError
from nbarec.hookspecs import hookimpl
from nbarec_plugins.scaling import Runs, as_scores

LARGEST = 1_000_000
"""Largest size of a weight: beyond it float32 scores no longer tell neighbours apart by the other columns."""


@dataclass(frozen=True)
class Weighted(Ranker[NoState]):
    """Several objectives in one score (scalarisation: Miettinen 1999).

    Each column c of the pool is scaled within its row to x_c, and these are combined:

    * `combine: sum`: the sum of weight_c * x_c. A negative weight makes a column a cost.
    * `combine: product`: the weighted geometric mean, the product of x_c^(weight_c / sum of weights). An entry that has
      0 in a column of positive weight gets 0: it must be good in everything. A negative value counts as 0.

    A name is `score` (what the ranker before gave), the id of an earlier ranker, a feature column of numbers or flags,
    or the id of a generator, in this order where one name is several of these.

    `scale` says what x is within the row:

    * `min_max`: (c - min) / (max - min).
    * `standardised`: (c - mean) / deviation, the population's. Not for a product: below the mean it is negative.
    * `rank`: the share of the row's other entries that have less.
    * `none`: c itself.

    A value that is missing, as a generator's score of what it did not propose, counts as the least that the column has
    in the row. A column that is the same throughout the row (under `none`: missing throughout) tells nothing and leaves
    the order to the others: 0 in a sum, 1 in a product.

    >>> from nbarec.testing.worlds import pool_of, request_for, tiny_world
    >>> request = request_for(tiny_world(), [0])
    >>> pool = pool_of(request, {"latent": [{3: 1.0, 5: 0.75, 7: 0.5}], "trending": [{5: 20.0, 7: 30.0}]})
    >>> Weighted(weights={"latent": 0.5, "trending": 0.5}).rank(NoState(), request, pool).tolist()
    [0.5, 0.25, 0.5]
    >>> product = Weighted(weights={"latent": 1, "trending": 1}, scale="none", combine="product")
    >>> (product.rank(NoState(), request, pool) ** 2).round().tolist()
    [20.0, 15.0, 15.0]
    """

    name: ClassVar[str] = "weighted"

    weights: Mapping[str, float] = param(
        ge=-LARGEST, le=LARGEST, doc="Column: weight, below 0 (for a sum alone) where less is better."
    )
    scale: Literal["min_max", "standardised", "rank", "none"] = param(
        "min_max", doc="How the values of a column become comparable within a row."
    )
    combine: Literal["sum", "product"] = param("sum", doc="Whether one column can make up for another, or not.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any(self.weights.values()):
            raise ValueError("weights must give at least one column a weight other than 0")
        if self.combine == "product":
            self._check_product()

    def _check_product(self) -> None:
        if self.scale == "standardised":
            raise ValueError(
                "combine: product needs values of at least 0, and scale: standardised gives negative ones; "
                "take min_max, rank or none, or combine: sum"
            )
        if costs := [name for name, weight in self.weights.items() if weight < 0]:
            raise ValueError(
                f"combine: product takes no negative weight, as {', '.join(costs)} has; take combine: sum for costs"
            )

    def fit(self, data: Dataset, rng: np.random.Generator) -> NoState:
        """Nothing to learn."""
        return NoState()

    def rank(self, state: NoState, request: Request, pool: Pool) -> Floats32:
        """The combined score: float32 [N]. Raises ConfigError where a name is no column of the pool, or one of text."""
        is_sum = self.combine == "sum"
        combined = np.zeros(len(pool)) if is_sum else np.ones(len(pool))
        total = sum(self.weights.values())
        # A step a column, in the order of `weights`: an entry's score never depends on the shape of the batch.
        for name, weight in self.weights.items():
            value = self._scaled(pool, _column(pool, name))
            if is_sum:
                combined += weight * value
            else:
                combined *= np.maximum(value, 0.0) ** (weight / total)
        return as_scores(combined)

    def terms(self, state: NoState, request: Request, pool: Pool) -> Mapping[str, Floats64] | None:
        """weight_c * x_c of each column c, under its name; None for a product, which has factors and no terms.

        Where a sum is beyond float32's range, all its terms are scaled down with it.
        """
        if self.combine == "product":
            return None
        terms = {name: weight * self._scaled(pool, _column(pool, name)) for name, weight in self.weights.items()}
        total = sum(terms.values(), np.zeros(len(pool)))
        held = FLOAT32_LIMIT / np.maximum(np.abs(total), FLOAT32_LIMIT)
        return {name: frozen(values * held) for name, values in terms.items()}

    def _scaled(self, pool: Pool, column: Floats64) -> Floats64:
        """One column within its rows: float64 [N]. `column` float64 [N] may hold NaN."""
        neutral = 0.0 if self.combine == "sum" else 1.0
        value = _filled(pool, column, neutral)
        match self.scale:
            case "none":
                return value
            case "min_max":
                return Runs.of(pool.row, value).min_max(neutral)
            case "standardised":  # by item, so that no sum depends on the order of the pool
                order = order_in_rows(pool.row, pool.item)
                scaled = Runs.of(pool.row[order], value[order]).standardised(neutral)
            case "rank":
                order = np.lexsort((value, pool.row))
                scaled = _share_below(Runs.of(pool.row[order], value[order]), neutral)
        in_place = np.empty(len(pool))
        in_place[order] = scaled
        return in_place


def _column(pool: Pool, name: str) -> Floats64:
    """The numbers that stand under this name: float64 [N], NaN where missing, within the range of float32."""
    if name == "score":
        return _numbers(name, pool.score)
    if name in pool.features:
        return _numbers(name, pool.features[name])
    if name in pool.sources:
        return _numbers(name, pool.scores[:, pool.sources.index(name)])
    known = ["score", *pool.features, *pool.sources]
    near = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {near[0]!r}?" if near else "name one of these"
    raise ConfigError(
        f"weighted has a weight for {name!r}, which is no earlier ranker, feature column or generator here; there are "
        f"{', '.join(known)}; {advice}"
    )


def _numbers(name: str, values: AnyArray) -> Floats64:
    if values.dtype.kind not in "biuf":
        raise ConfigError(
            f"weighted has a weight for {name!r}, which holds texts; it needs a column of numbers or flags"
        )
    return np.clip(values.astype(np.float64), -FLOAT32_LIMIT, FLOAT32_LIMIT)


def _filled(pool: Pool, column: Floats64, neutral: float) -> Floats64:
    """The column with the row's least value where it is missing, `neutral` where the whole row is: float64 [N]."""
    known = np.flatnonzero(~np.isnan(column))
    runs = Runs.of(pool.row[known], column[known])
    least = np.full(pool.rows, neutral)
    least[runs.group] = runs.low
    filled = least[pool.row]
    filled[known] = column[known]
    return filled


def _share_below(runs: Runs, flat: float) -> Floats64:
    """The share of its group's other values that lie below each value, `flat` in a flat group: float64 [N].

    The values of each group ascend.
    """
    new = np.append(True, (np.diff(runs.run) > 0) | (np.diff(runs.value) > 0))[: len(runs.run)]
    first_equal = np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))
    starts = np.searchsorted(runs.run, np.arange(len(runs.group)))
    others = np.bincount(runs.run, minlength=len(runs.group)) - 1
    below = first_equal - starts[runs.run]
    return np.where(runs.flat[runs.run], flat, below / np.maximum(others, 1)[runs.run])


@hookimpl
def nbarec_rankers() -> Iterable[type[Ranker[NoState]]]:
    """The rankers of this module."""
    return [Weighted]
