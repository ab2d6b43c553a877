"""Gradient boosting (Friedman 2001; with second derivatives: Chen and Guestrin 2016): trees one after the other, each
for what those before it leave of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nbarec.arrays import AnyArray, Bools, Bytes, Floats32, Floats64, Ints64, frozen
from nbarec.progress import track
from nbarec_plugins.feature_bins import HIGHEST, Bins, quantile_bins
from nbarec_plugins.histogram_trees import Growth, Shape, grow, quantised
from nbarec_plugins.ranking_losses import Loss
from nbarec_plugins.tree_values import Trees, expectations, on_grid

FEWEST_USERS = 20
"""With fewer none is kept apart: what so few say of a tree is chance."""


@dataclass(frozen=True)
class Boosting:
    """`trees` at most, whose leaves give `learning_rate` of the best step; each is grown from a share of the entries
    (`subsample`: Friedman 2002) and of the features (`columns`). Where `patience` is above 0, the share `apart` of the
    users is not learnt from, and boosting ends when so many trees in a row do not lower their loss."""

    growth: Growth = field(default_factory=Growth)
    trees: int = 100
    learning_rate: float = 0.1
    bins: int = 255
    subsample: float = 1.0
    columns: float = 1.0
    patience: int = 0
    apart: float = 0.1


LossOf = Callable[[Bools], Loss]
"""The loss of the entries chosen by a mask bool [N]."""


def kept_apart(user: AnyArray, loss_of: LossOf, how: Boosting, rng: np.random.Generator) -> Bools:
    """Which entries are not learnt from but say when it is enough: bool [N], all those of a share of the users, of whom
    `user` [N] tells which each entry is of. None where there are few users, or where one of the two parts would have
    nothing to tell."""
    nobody = np.zeros(len(user), bool)
    users = np.unique(user)
    if how.patience == 0 or len(users) < FEWEST_USERS:
        return nobody
    apart = np.isin(user, users[drawn(len(users), how.apart, rng)])
    return apart if loss_of(apart).tells and loss_of(~apart).tells else nobody


def boosted(values: Floats32, apart: Bools, loss_of: LossOf, how: Boosting, rng: np.random.Generator) -> Trees:
    """Trees for `values` float32 [N, P], NaN where unknown, of all entries but those kept `apart` bool [N]: these say
    which of the trees is the last, if there are any. No trees where no split lowers the loss."""
    bins = quantile_bins(values, how.bins, rng)
    if bins.features == 0 or not len(values):
        return _trees(bins, [], [], loss_of(~apart).start() if len(values) else 0.0, how)
    found = bins.bins(values)
    learning = _Learning.of(found[:, ~apart] if apart.any() else found, bins, loss_of(~apart), how)
    judge = _Learning.of(found[:, apart], bins, loss_of(apart), how) if apart.any() else None
    start = float(on_grid(np.array(learning.loss.start())))
    learning.margin += start
    if judge is not None:
        judge.margin += start
    return _trees(bins, *_grown(learning, judge, how, rng), start, how)


def _grown(
    learning: _Learning, judge: _Learning | None, how: Boosting, rng: np.random.Generator
) -> tuple[list[Shape], list[Floats64]]:
    """The trees and the expected value at each of their nodes: as many as are best for the entries kept apart."""
    shapes: list[Shape] = []
    expected: list[Floats64] = []
    best, lowest = 0, np.inf if judge is None else judge.loss.value(judge.margin)
    with track("trees", how.trees) as advance:
        for _ in range(how.trees):  # a step a tree: each needs what the one before left
            tree, nodes = learning.step(rng)
            advance(1)
            if tree is None:
                if min(how.columns, how.subsample) < 1:
                    continue  # of others there may be something to learn
                break
            shapes.append(tree)
            expected.append(nodes)
            if judge is None:
                best = len(shapes)
                continue
            judge.margin += nodes[-(2**how.growth.depth) :].take(tree.leaves_of(judge.bins))
            value = judge.loss.value(judge.margin)
            if value < lowest:
                best, lowest = len(shapes), value
            elif len(shapes) - best >= how.patience:
                break
    return shapes[:best], expected[:best]


@dataclass
class _Learning:
    """Entries with their bins uint8 [P, n] and the margin that they have so far."""

    bins: Bytes
    width: int
    loss: Loss
    how: Boosting
    margin: Floats64

    @classmethod
    def of(cls, bins: Bytes, cut: Bins, loss: Loss, how: Boosting) -> _Learning:
        return cls(bins, cut.width, loss, how, np.zeros(bins.shape[1]))

    def step(self, rng: np.random.Generator) -> tuple[Shape | None, Floats64]:
        """Grow a tree and add it to the margins; None where no split lowers the loss."""
        features, entries = self.bins.shape
        gradient, hessian = self.loss.slopes(self.margin)
        rows = drawn(entries, self.how.subsample, rng)
        packed = quantised(gradient, hessian, rng)
        chosen = drawn(features, self.how.columns, rng)
        tree = grow(self.bins, self.width, rows, packed, chosen, self.how.growth)
        if not (tree.bin >= 0).any():
            return None, np.empty(0)
        leaves = 2**self.how.growth.depth
        of_all = tree.leaf if len(rows) == entries else tree.leaves_of(self.bins)
        gradients = np.bincount(tree.leaf, weights=gradient[rows], minlength=leaves)
        hessians = np.bincount(tree.leaf, weights=hessian[rows], minlength=leaves)
        steps = -gradients / np.maximum(hessians + self.how.growth.l2, 1e-300)
        values = on_grid(self.how.learning_rate * steps)
        self.margin += values.take(of_all)
        return tree, expectations(values, np.bincount(of_all, minlength=leaves))


def drawn(count: int, share: float, rng: np.random.Generator) -> Ints64:
    """Positions of this share of so many, at least of one, ascending: int64."""
    if share >= 1:
        return np.arange(count)
    return np.sort(rng.choice(count, max(1, round(share * count)), replace=False))


def _trees(bins: Bins, shapes: list[Shape], expected: list[Floats64], start: float, how: Boosting) -> Trees:
    """The trees by values instead of bins."""
    nodes = 2**how.growth.depth - 1
    if not shapes:
        nothing = np.zeros((0, nodes), np.int32)
        return Trees(nothing, nothing.astype(np.float32), np.zeros((0, 2 * nodes + 1)), start, bins.features)
    feature = np.stack([shape.feature for shape in shapes])
    last = np.stack([shape.bin for shape in shapes])
    right = np.stack([shape.missing_right for shape in shapes])
    column = feature + bins.features * right
    return Trees(
        frozen(column.astype(np.int32)),
        frozen(_thresholds(bins, feature, last)),
        frozen(np.stack(expected)),
        start,
        bins.features,
    )


def _thresholds(bins: Bins, feature: Ints64, last: Ints64) -> Floats32:
    """The largest value of the last bin that goes left: HIGHEST where that is every known one, infinity where it is
    all: float32 of the shape of both."""
    cuts = np.diff(bins.starts)[feature]
    at = np.minimum(bins.starts[:-1][feature] + np.maximum(last - 1, 0), max(len(bins.edges) - 1, 0))
    edges = bins.edges[at] if len(bins.edges) else np.full(feature.shape, HIGHEST, np.float32)
    found = np.where(last > cuts, HIGHEST, edges)
    return np.where(last < 0, np.float32(np.inf), found).astype(np.float32)
