"""Training of logistic regression on numbers and slots: its loss, its slopes, and where it is least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, Ints32, Ints64
from nbarec.progress import track
from nbarec.work import in_shards
from nbarec_plugins.lbfgs import least_point

AT_ONCE = 1 << 14
"""Entries of a block: their numbers and heights stay in the cache. Sums go over fixed blocks, whoever works."""

MOST_STEPS = 200
ENOUGH = 1e-6
"""It ends when about half this, in nats of the loss of all entries together, is left to gain."""


@dataclass(frozen=True)
class Scales:
    """Of each of P numbers: `mean` and `deviation` float64 [P] over the entries in which it is known, the latter 1
    where it does not vary, and `missing` float64 [P], the share of those in which it is not. The first two are numbers
    of float32: what entries are scaled by in training, in float32, is what they are scaled by when served."""

    mean: Floats64
    deviation: Floats64
    missing: Floats64

    @classmethod
    def of(cls, numbers: Floats32) -> Scales:
        """Of `numbers` float32 [N, P], NaN where unknown."""
        found = [_moments(numbers[:, at]) for at in range(numbers.shape[1])]  # a step a column
        mean, deviation, missing = np.array(found, np.float64).reshape(-1, 3).T
        return cls(mean, deviation, missing)

    @property
    def gaps(self) -> Ints64:
        """Which numbers are known in some entries and unknown in others, so that this may tell something."""
        return np.flatnonzero((self.missing > 0) & (self.missing < 1))

    def scaled(self, numbers: Floats32) -> Floats32:
        """The numbers by mean and deviation, 0 where unknown, and of those with gaps a 1 where they are unknown:
        float32 [N, P + how many have gaps], row after row."""
        gaps = self.gaps
        scaled = np.empty((len(numbers), len(self.mean) + len(gaps)), np.float32)
        standard = scaled[:, : len(self.mean)]
        np.subtract(numbers, self.mean.astype(np.float32), out=standard)
        standard /= self.deviation.astype(np.float32)
        unknown = np.isnan(standard)
        standard[unknown] = 0.0
        scaled[:, len(self.mean) :] = unknown[:, gaps]
        return scaled


@dataclass(frozen=True)
class Coefficients:
    """`base`, one coefficient a number per deviation, `number` float64 [P], one for its being unknown, `unknown`
    float64 [P], 0 where it never or always is, and those of the levels of each slot."""

    base: float
    number: Floats64
    unknown: Floats64
    slots: tuple[Floats64, ...]


def trained(
    numbers: Floats32,
    scales: Scales,
    levels: Sequence[Ints32],
    widths: Sequence[int],
    label: Floats32,
    hit_weight: float,
    ridge: float,
) -> Coefficients:
    """The coefficients w and constant b that minimise

        sum_e c_e ln(1 + exp(-(2 y_e - 1) h_e)) + ridge / 2 |w|^2,   h_e = b + w . x_e

    x_e being the entry's scaled numbers, the 1s of those that are unknown and of its level in each slot (`levels` int32
    [N] each, of so many `widths`), c_e `hit_weight` where the label is 1, else 1. By L-BFGS, in coordinates in which
    the loss bends about equally.
    """
    shards = range(0, len(label), AT_ONCE)
    blocks = list(in_shards(lambda at, _shared: scales.scaled(numbers[at : at + AT_ONCE]), shards))
    weight = np.where(label > 0.5, hit_weight, 1.0)
    spans = np.append(0, np.cumsum([1 + blocks[0].shape[1], *widths]))
    loss = _Loss(blocks, levels, label > 0.5, weight, spans, ridge)
    with track("logistic regression", MOST_STEPS) as advance:
        point = _least(loss, lambda: advance(1))
    first, unknown = 1 + len(scales.mean), np.zeros(len(scales.mean))
    unknown[scales.gaps] = point[first : spans[1]]
    slots = tuple(point[begin:end] for begin, end in pairwise(spans[1:].tolist()))
    return Coefficients(float(point[0]), point[1:first], unknown, slots)


def _least(loss: _Loss, told: Callable[[], object]) -> Floats64:
    """Where the loss is least: float64 [d]."""
    share = float(loss.weight[loss.hit].sum() / loss.weight.sum())
    root = np.sqrt(loss.bends(share * (1 - share)))

    def function(at: Floats64) -> tuple[float, Floats64]:
        value, slope = loss.slopes(at / root)
        return value, slope / root

    start = np.zeros(len(root))
    start[0] = root[0] * (np.log(share) - np.log1p(-share))  # the best constant where it is alone
    return least_point(function, start, enough=ENOUGH, most_steps=MOST_STEPS, told=told) / root


@dataclass(frozen=True)
class _Loss:
    """The loss at a point: the constant, coefficients of dense columns, those of each slot; `spans` is where each of
    them begins."""

    blocks: list[Floats32]
    levels: Sequence[Ints32]
    hit: Bools
    weight: Floats64
    spans: Ints64
    ridge: float

    def bends(self, curve: float) -> Floats64:
        """About how much the loss bends in each coordinate, `curve` being p (1 - p) of a typical entry: float64 [d]."""
        squares = np.zeros(self.blocks[0].shape[1])
        for block in self.blocks:  # a step a block
            squares += np.einsum("ij,ij->j", block, block, dtype=np.float64)
        widths = np.diff(self.spans[1:]).tolist()
        each = zip(self.levels, widths, strict=True)
        counts = [np.bincount(level, weights=self.weight, minlength=width) for level, width in each]
        bends = np.concatenate([[self.weight.sum()], squares, *counts]) * curve
        bends[1:] += self.ridge
        return bends

    def slopes(self, point: Floats64) -> tuple[float, Floats64]:
        """The loss and its first derivatives, float64 [d]."""
        spans = self.spans.tolist()
        own = [point[first:last] for first, last in pairwise(spans)]
        dense, off = own[0][1:].astype(np.float32), np.empty(len(self.hit))

        def block(number: int, _shared: object) -> tuple[float, Floats64]:
            span = slice(number * AT_ONCE, (number + 1) * AT_ONCE)
            height = (self.blocks[number] @ dense).astype(np.float64)
            height += point[0]
            for coefficients, level in zip(own[1:], self.levels, strict=True):  # a step a slot
                height += coefficients.take(level[span])
            lost, off[span] = _lost(height, self.hit[span], self.weight[span])
            return lost, (off[span].astype(np.float32) @ self.blocks[number]).astype(np.float64)

        def slot(number: int, _shared: object) -> Floats64:
            summed = np.bincount(self.levels[number], weights=off, minlength=len(own[number + 1]))
            return summed.astype(np.float64, copy=False)

        total, first = 0.0, np.zeros(len(dense))
        for lost, slope in in_shards(block, range(len(self.blocks))):
            total += lost
            first += slope
        slopes = np.concatenate([[off.sum()], first, *in_shards(slot, range(len(self.levels)))])
        slopes[1:] += self.ridge * point[1:]
        return total + self.ridge / 2 * float(point[1:] @ point[1:]), slopes


def _lost(height: Floats64, hit: Bools, weight: Floats64) -> tuple[float, Floats64]:
    """What entries with these log-odds lose in all, and how much more each loses a unit higher up: float64 [N]."""
    small = np.exp(-np.abs(height))
    chance = np.where(height >= 0, 1.0, small) / (1.0 + small)
    lost = np.log1p(small) + np.maximum(np.where(hit, -height, height), 0.0)
    return float(weight @ lost), weight * (chance - hit)


def _moments(column: Floats32) -> tuple[float, float, float]:
    known = column[~np.isnan(column)].astype(np.float64)
    if not len(known):
        return 0.0, 1.0, 1.0
    mean, deviation = float(np.float32(known.mean())), float(np.float32(known.std()))
    flat = known.min() == known.max() or deviation == 0
    return mean, 1.0 if flat else deviation, 1.0 - len(known) / len(column)
