"""Linear weights that tell the entries that users chose from the others: by least squares, and by logistic regression.

The sums of either go over fixed blocks of entries, so that the memory there is changes no bit of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints64
from nbarec_plugins.nonnegative import nonnegative_rows

SUMMED_AT_ONCE = 1 << 16
"""Entries whose products are summed by one matrix product."""

MOST_STEPS = 100
"""Newton steps: half a dozen do, unless the entries can be told apart without a fault."""

SMALLEST_STEP = 2.0**-30
"""Steps are halved until the loss falls, and given up below this share."""

GAIN = 1e-12
"""A step that lowers the loss by less than this share of it is the last."""


@dataclass(frozen=True)
class Entries:
    """`values` float32 [N, F]: features of entries; `label` float32 [N], 0 or 1; `user` int64 [N], ascending: whose
    pool each entry is of."""

    values: Floats32
    label: Floats32
    user: Ints64

    def blocks(self) -> Iterator[tuple[Floats64, Floats64]]:
        """Values and labels, a fixed number of entries at a time."""
        for start in range(0, len(self.label), SUMMED_AT_ONCE):  # a step a block: what bounds the memory
            block = slice(start, start + SUMMED_AT_ONCE)
            yield self.values[block].astype(np.float64), self.label[block].astype(np.float64)

    @property
    def centred(self) -> Entries:
        """The same with each user's means taken off: what tells a user's entries from each other alone."""
        values = np.empty_like(self.values)
        for feature in range(values.shape[1]):  # a step a feature: each needs arrays of the entries' length
            values[:, feature] = self._centred(self.values[:, feature])
        return Entries(values, self._centred(self.label).astype(np.float32), self.user)

    def _centred(self, column: Floats32) -> Floats64:
        means = np.bincount(self.user, weights=column) / np.maximum(np.bincount(self.user), 1)
        return np.asarray(column - means[self.user])


def least_squares(entries: Entries, ridge: float) -> Floats64:
    """The w >= 0 that minimises sum_e (y_e - c_user - w . x_e)^2 + ridge sum_f (w_f s_f)^2: float64 [F].

    Each user has a constant of his own, which taking off his means does away with (the within estimator: Mundlak 1978).
    s_f is the deviation of feature f from these means. Exact: see `nonnegative_rows`.
    """
    centred = entries.centred
    width = centred.values.shape[1]
    normal, right = np.zeros((width, width)), np.zeros(width)
    for values, label in centred.blocks():
        normal += values.T @ values
        right += label @ values
    scale = _scale(normal.diagonal(), len(centred.label))
    scaled = normal / np.outer(scale, scale) + ridge * np.eye(width)
    return np.asarray(nonnegative_rows((right / scale)[None], scaled)[0] / scale)


def logistic(entries: Entries, ridge: float, *, negative: bool) -> tuple[Floats64, float]:
    """The w, float64 [F], and the constant b that minimise

        sum_e ln(1 + exp(-(2 y_e - 1) (b + w . x_e))) + ridge / 2 sum_f (w_f s_f)^2

    with w >= 0 unless they may be `negative`; s_f is the deviation of feature f. By Newton steps, each the exact
    minimum of the loss's second-order model under the same bounds (Lee, Sun, Saunders 2014), halved until the loss
    falls.
    """
    mean, scale = _moments(entries)
    fitting = _Logistic(entries, mean, scale, ridge)
    point = np.zeros(len(scale) + 1)
    share = float(np.clip(entries.label.mean(dtype=np.float64), 1e-6, 1 - 1e-6))
    point[-1] = np.log(share / (1 - share))  # the best constant
    loss = fitting.loss(point)
    # One step a model of the loss around the point before.
    for _ in range(MOST_STEPS):
        wanted = _minimum(*fitting.slopes(point), point, negative=negative)
        point, before = _towards(wanted, point, loss, fitting.loss), loss
        loss = fitting.loss(point)
        if before - loss <= GAIN * before:
            break
    weights = point[:-1] / scale
    return weights, float(point[-1] - weights @ mean)


@dataclass(frozen=True)
class _Logistic:
    """The loss at a point (w s, b'), b' being the constant of values with their means taken off."""

    entries: Entries
    mean: Floats64
    scale: Floats64
    ridge: float

    def loss(self, point: Floats64) -> float:
        total = self.ridge / 2 * float(point[:-1] @ point[:-1])
        for values, label in self.entries.blocks():
            height = self._scaled(values) @ point
            total += float(np.logaddexp(0.0, np.where(label > 0.5, -height, height)).sum())
        return total

    def slopes(self, point: Floats64) -> tuple[Floats64, Floats64]:
        """First and second derivatives: float64 [F + 1], [F + 1, F + 1]."""
        held = np.append(np.full(len(point) - 1, self.ridge), 0.0)
        first, second = held * point, np.diag(held)
        for values, label in self.entries.blocks():
            scaled = self._scaled(values)
            chance = 0.5 * (1.0 + np.tanh(0.5 * (scaled @ point)))
            first += (chance - label) @ scaled
            second += (scaled * (chance * (1.0 - chance))[:, None]).T @ scaled
        return first, second

    def _scaled(self, values: Floats64) -> Floats64:
        return np.column_stack([(values - self.mean) / self.scale, np.ones(len(values))])


def _minimum(first: Floats64, second: Floats64, point: Floats64, *, negative: bool) -> Floats64:
    """Where the second-order model around `point` is least: the last coordinate, the constant, is free of bounds."""
    right = second @ point - first
    if negative:
        return np.asarray(np.linalg.lstsq(second, right)[0], np.float64)
    # For any w the best constant is (right_b - second_b . w) / second_bb: put in, it leaves w alone.
    across, own = second[:-1, -1], max(float(second[-1, -1]), np.finfo(np.float64).tiny)
    reduced = second[:-1, :-1] - np.outer(across, across) / own
    weights = nonnegative_rows((right[:-1] - across * (right[-1] / own))[None], reduced)[0]
    return np.append(weights, (right[-1] - across @ weights) / own)


def _towards(wanted: Floats64, point: Floats64, loss: float, loss_at: Callable[[Floats64], float]) -> Floats64:
    """As far from `point` to where the model is least as lowers the loss; `point` where nothing does."""
    share = 1.0
    # A step a halving.
    while share > SMALLEST_STEP:
        reached = point + share * (wanted - point)
        if loss_at(reached) < loss:
            return reached
        share /= 2
    return point


def _moments(entries: Entries) -> tuple[Floats64, Floats64]:
    """Mean and deviation of each feature: float64 [F] each."""
    width, count = entries.values.shape[1], max(len(entries.label), 1)
    total, squares = np.zeros(width), np.zeros(width)
    for values, _ in entries.blocks():
        total += values.sum(axis=0)
    mean = total / count
    for values, _ in entries.blocks():
        squares += ((values - mean) ** 2).sum(axis=0)
    return mean, _scale(squares, count)


def _scale(squares: Floats64, count: int) -> Floats64:
    """Deviations from sums of squares; 1 for a feature that is always the same."""
    deviation = np.sqrt(squares / max(count, 1))
    return np.where(deviation > 0, deviation, 1.0)
