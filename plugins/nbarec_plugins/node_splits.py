"""The best split of every node of a level, from sums of gradients and hessians by bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from nbarec.arrays import AnyArray, Bools, Floats64, Ints64

Sums: TypeAlias = Floats64
"""float64 [2, A, F, width], whole numbers: of A nodes and F features the gradients, and the hessians, in each bin."""

NOISE = 1e-10
"""A gain below this share of what a node scores is rounding."""


@dataclass(frozen=True)
class Split:
    """Of A nodes: `gain` float64, 0 where there is no split; `feature` int64; the last `bin` int64 that goes left; and
    whether unknown values go right."""

    gain: Floats64
    feature: Ints64
    bin: Ints64
    missing_right: Bools

    @property
    def found(self) -> Bools:
        """Which nodes have a split."""
        return self.gain > 0

    @classmethod
    def none(cls, nodes: int) -> Split:
        """No split anywhere."""
        nothing = np.zeros(nodes, np.int64)
        return cls(np.zeros(nodes), nothing, nothing, np.zeros(nodes, bool))


def best_splits(sums: Sums, limits: tuple[Ints64, float, float, float]) -> Split:
    """The best split of each node; `feature` counts from the first of these sums.

    Where the sums of a side are G and H, it scores G^2 / (H + l2), and a split gains what both sides score more than
    the node (twice the loss: Chen and Guestrin 2016, equation 7). Of equal gains the first feature and the lowest bin
    count, and unknown values on the right. `limits`: entries of every node int64 [A], 0 where none is wanted; the least
    of a leaf; l2; the least gain.
    """
    entries, least_entries, l2, least_gain = limits
    known = np.cumsum(sums[..., 1:], axis=-1)
    missing, total = sums[..., :1], known[..., -1:] + sums[..., :1]
    score = _score(total[0, :, 0, 0], total[1, :, 0, 0], l2)
    # Entries of a leaf are told from its share of the node's hessian, as in LightGBM: they need no sums of their own.
    least = np.where(entries > 0, np.maximum(least_entries * total[1, :, 0, 0] / np.maximum(entries, 1), 1.0), np.inf)
    gain, at = _best_bins(known, total, l2, least)
    with_missing, at_too = _with_missing_left(known, missing, total, l2, least)
    left = with_missing > gain
    gain, at = np.where(left, with_missing, gain), np.where(left, at_too, at)
    feature = gain.argmax(axis=1)
    node = np.arange(len(feature))
    gained = gain[node, feature] - score
    kept = gained > np.maximum(least_gain, NOISE * score)
    chosen = at[node, feature]
    right = _missing_right(missing[1, node, feature, 0], known[1, node, feature, chosen], total[1, :, 0, 0])
    missing_right = np.where(missing[1, node, feature, 0] > 0, ~left[node, feature], right)
    return Split(np.where(kept, gained, 0.0), feature, chosen + 1, missing_right)


def best_of(shards: Sequence[Split], features: Sequence[Ints64]) -> Split:
    """The best of the splits that shards of features found; of equal gains the first."""
    best = np.stack([shard.gain for shard in shards]).argmax(axis=0)
    node = np.arange(len(best))

    def chosen(values: list[AnyArray]) -> AnyArray:
        return np.asarray(np.stack(values)[best, node])

    return Split(
        chosen([shard.gain for shard in shards]),
        chosen([of[shard.feature] for shard, of in zip(shards, features, strict=True)]),
        chosen([shard.bin for shard in shards]),
        chosen([shard.missing_right for shard in shards]),
    )


def _best_bins(left: Floats64, total: Floats64, l2: float, least: Floats64) -> tuple[Floats64, Ints64]:
    """The best score of both sides together, and the bin after which to cut: [A, F], -inf where no cut is allowed."""
    right = total - left
    score = _score(left[0], left[1], l2)
    score += _score(right[0], right[1], l2)
    allowed = left[1] >= least[:, None, None]
    allowed &= right[1] >= least[:, None, None]
    score[~allowed] = -np.inf
    at = score.argmax(axis=-1)
    return np.take_along_axis(score, at[..., None], axis=-1)[..., 0], at


def _with_missing_left(
    known: Floats64, missing: Floats64, total: Floats64, l2: float, least: Floats64
) -> tuple[Floats64, Ints64]:
    """The same with unknown values on the left, for the features that have any."""
    some = np.flatnonzero(missing[1].any(axis=(0, 2)))
    gain, at = np.full(known.shape[1:3], -np.inf), np.zeros(known.shape[1:3], np.int64)
    if len(some):
        left = known[:, :, some] + missing[:, :, some]
        gain[:, some], at[:, some] = _best_bins(left, total[:, :, some], l2, least)
    return gain, at


def _missing_right(missing: Floats64, left: Floats64, total: Floats64) -> Bools:
    """Where no unknown value was seen, those to come go with the heavier side."""
    return np.asarray(total - missing - left > left)


def _score(gradient: Floats64, hessian: Floats64, l2: float) -> Floats64:
    return np.asarray(gradient * gradient / np.maximum(hessian + l2, 1e-300))
