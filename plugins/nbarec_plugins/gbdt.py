"""Gbdt: gradient-boosted trees that learn from what users did with the pools that they would have had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nbarec.arrays import Bools, Floats32, Floats64, frozen
from nbarec.components import Ranker, param
from nbarec.data import Dataset
from nbarec.hookspecs import hookimpl
from nbarec_plugins.boosting import Boosting, boosted, kept_apart
from nbarec_plugins.feature_bins import MOST_BINS, CategoryOrder, ordered_categories
from nbarec_plugins.feature_frames import Frame, Layout, Lesson
from nbarec_plugins.histogram_trees import Growth
from nbarec_plugins.learned import Learned, LearnedState
from nbarec_plugins.ranking_losses import LambdaRank, LogLoss, Loss
from nbarec_plugins.tree_values import Trees

TOLD = 20
"""Features that findings tell of at most."""


@dataclass(frozen=True)
class GbdtModel:
    """`trees` over the numbers of a frame and, after them, its categories as their places in `order`."""

    trees: Trees
    order: CategoryOrder

    def values(self, frame: Frame) -> Floats32:
        """What the trees ask for: see `values_of`."""
        return values_of(frame, self.order)


@dataclass(frozen=True)
class GbdtState(LearnedState[GbdtModel]):
    """What a Gbdt knows."""

    model: GbdtModel | None = None


@dataclass(frozen=True)
class Gbdt(Learned[GbdtModel]):
    """Gradient-boosted trees (Friedman 2001) from histograms, with second derivatives (Chen and Guestrin 2016):

        margin(x) = base + sum over trees t of v_t(leaf that x falls in)

    Each tree is grown for the gradients g and hessians h that the trees before it leave: of all splits of a node it
    takes the one with the largest G_l^2 / (H_l + l2) + G_r^2 / (H_r + l2), and a leaf's value is
    - learning_rate G / (H + l2). Numbers are cut into `bins` at quantiles; values that are not known go to the side
    where they lower the loss more. The levels of a category are put in the order of their mean label, drawn to that of
    all (`smooth`), and are then cut like numbers; a level that no tree was grown from is an unknown value.

    `loss` is what is lowered: `log_loss`, of each entry by itself, or `lambdarank`, the order within each request
    (Burges 2010), weighted by how much NDCG@`cut` changes. The score is the calibrated probability of either;
    uncalibrated (`none`, or fewer than 100 requests) that of `lambdarank` keeps the order, but is no probability.

    Boosting ends early, after the tree that is best for a tenth of the users, kept apart, once `patience` more trees
    did not make it better. Where that is none, or no request has entries of both kinds to put in order, nothing is
    learnt, and the earlier score stays.

    `terms` are Saabas's (2014): on an entry's way down a tree the mean of the entries below changes at each node, and
    the change is put down to the feature that the node asks for. They add up to the margin exactly.

    >>> from nbarec.components import Example
    >>> from nbarec.testing.worlds import pool_of, request_for, tiny_world
    >>> data = tiny_world()
    >>> request = request_for(data, [0, 1, 2])
    >>> right, noise = [{3: 2.0, 5: 1.0}] * 3, [{3: 2.0, 5: 1.0}, {3: 1.0, 5: 2.0}, {3: 1.0, 5: 2.0}]
    >>> pool = pool_of(request, {"right": right, "noise": noise})
    >>> example = Example(request, pool, np.array([1, 0, 1, 0, 1, 0], np.float32))
    >>> ranker = Gbdt(features=("right.score", "noise.score"), min_leaf=1, trees=30)
    >>> state = ranker.learn([example], data, np.random.default_rng(0))
    >>> (ranker.rank(state, request, pool) > 0.5).tolist()
    [True, False, True, False, True, False]
    """

    name: ClassVar[str] = "gbdt"

    loss: Literal["log_loss", "lambdarank"] = param("log_loss", doc="What the trees lower.")
    trees: int = param(100, ge=1, le=5000, doc="Trees at most.")
    depth: int = param(6, ge=1, le=8, doc="Splits between the root of a tree and a leaf at most.")
    learning_rate: float = param(0.1, gt=0, le=1, doc="Share of the best step that each tree takes.")
    min_leaf: float = param(20.0, ge=0, doc="Entries that a leaf needs, told from its share of the hessian.")
    l2: float = param(1.0, ge=0, doc="Pull of the leaves' values towards 0: added to the hessian.")
    min_gain: float = param(0.0, ge=0, doc="What a split must lower the sum of the loss by.")
    bins: int = param(MOST_BINS, ge=2, le=MOST_BINS, doc="Bins of each feature at most, without that of the unknown.")
    subsample: float = param(1.0, gt=0, le=1, doc="Share of the entries that each tree is grown from.")
    columns: float = param(1.0, gt=0, le=1, doc="Share of the features that each tree may ask for.")
    patience: int = param(20, ge=0, doc="Trees that may come without making it better; 0: no early end.")
    smooth: float = param(20.0, ge=0, doc="Entries of the mean of all that each level of a category is drawn by.")
    cut: int = param(30, ge=1, doc="lambdarank only: the k of NDCG@k; best above the k that counts.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == "lambdarank" and self.held_out.shown is not None:
            raise ValueError(
                "lambdarank learns the order within a request, and with held_out.shown each has a single item; "
                "write loss: log_loss, or leave shown out"
            )

    def fit(self, data: Dataset, rng: np.random.Generator) -> GbdtState:
        """What it serves with before there are examples."""
        return GbdtState()

    def train(self, lesson: Lesson, rng: np.random.Generator) -> GbdtModel | None:
        """The trees of these entries; None where there are none that would make it better."""
        label = lesson.label.astype(np.float64)

        def loss_of(chosen: Bools) -> Loss:
            if self.loss == "log_loss":
                return LogLoss(label[chosen])
            return LambdaRank(label[chosen], lesson.group[chosen], self.cut)

        apart = kept_apart(lesson.key.take(lesson.group), loss_of, self._how, rng)
        # Of the entries kept apart not even the order of levels may know the labels.
        order = ordered_categories(lesson.frame.codes[~apart], lesson.layout.sizes, label[~apart], self.smooth)
        trees = boosted(values_of(lesson.frame, order), apart, loss_of, self._how, rng)
        return GbdtModel(trees, order) if len(trees.column) else None

    def margins(self, model: GbdtModel, layout: Layout, frame: Frame) -> Floats64:
        """The sums of the leaves' values, exact in any batch: float64 [N]."""
        return model.trees.margins(model.values(frame))

    def parts(self, model: GbdtModel, layout: Layout, frame: Frame) -> Mapping[str, Floats64]:
        """What each feature adds, by name, those that no tree asks for left out; `base` is the trees' mean."""
        parts, start = model.trees.contributions(model.values(frame))
        names = (*layout.numbers, *layout.categories)
        asked = np.unique(model.trees.asked)
        told = {names[at]: frozen(parts[:, at].copy()) for at in asked.tolist()}
        return {"base": frozen(np.full(len(frame), start)), **told}

    def strongest(self, model: GbdtModel, layout: Layout) -> Mapping[str, float]:
        """How far each feature moves margins, the strongest first: see `Trees.moved`."""
        moved, names = model.trees.moved(), (*layout.numbers, *layout.categories)
        order = np.argsort(-moved, kind="stable")[:TOLD]
        return {names[at]: float(moved[at]) for at in order.tolist() if moved[at] > 0}

    @property
    def _how(self) -> Boosting:
        return Boosting(
            Growth(self.depth, self.min_leaf, self.l2, self.min_gain),
            trees=self.trees,
            learning_rate=self.learning_rate,
            bins=self.bins,
            subsample=self.subsample,
            columns=self.columns,
            patience=self.patience,
        )


def values_of(frame: Frame, order: CategoryOrder) -> Floats32:
    """Numbers, then categories as numbers: float32 [N, P + C], NaN where unknown, stored column after column."""
    return np.concatenate([frame.numbers.T, order.numbers(frame.codes).T]).T


@hookimpl
def nbarec_rankers() -> Iterable[type[Ranker[LearnedState[GbdtModel]]]]:
    """The rankers of this module."""
    return [Gbdt]
