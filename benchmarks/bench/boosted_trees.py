"""Gradient-boosted trees on both sides: what is learnt from, and tasks that fit and predict.

Options of every task: `rows`, `features`, `trees`; of predictions also the `batch`, and how `often` it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from bench.jobs import Figures, Job, Task
from nbarec.arrays import Bools, Floats32, Floats64, Ints64
from nbarec.work import Work, working
from nbarec_plugins.boosting import Boosting, boosted
from nbarec_plugins.histogram_trees import Growth
from nbarec_plugins.ranking_losses import LambdaRank, LogLoss, Loss
from nbarec_plugins.tree_values import Trees

DEPTH, LEAST, L2, RATE, CUT = 6, 20, 1.0, 0.1, 10
"""Of both sides: levels of splits, entries in a leaf, pull of leaves towards 0, learning rate, k of NDCG."""

TOP = 30
"""Places whose pairs LambdaRank learns from: LightGBM's default."""

POOL = 100
"""Entries of one request."""

TESTED = 100_000
"""Entries that quality is measured by."""


@dataclass(frozen=True)
class Examples:
    """`values` float32 [N, P], 5% of them unknown, `label` float64 [N], and requests of POOL entries each."""

    values: Floats32
    label: Floats64

    @property
    def group(self) -> Ints64:
        """Which request each entry is of."""
        return np.arange(len(self.label)) // POOL


def examples(rows: int, features: int, seed: int) -> Examples:
    """Entries of which about one in six is chosen. A quarter of the features is skewed, a quarter has few values; the
    log-odds are made of bends, steps and products of twelve of them, and of what is chance to all entries of a
    request."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, features)).astype(np.float32)
    values[:, 1::4] = np.exp(values[:, 1::4])
    values[:, 2::4] = np.round(values[:, 2::4])
    told = values[:, np.arange(12) % features].astype(np.float64)
    odds = np.sin(2 * told[:, 0]) + np.log(told[:, 1]) * 0.5 + 0.4 * told[:, 2] * (told[:, 3] > 0)
    odds += 0.6 * np.abs(told[:, 4]) + (told[:, 5] > 1.5) * told[:, 7] + 0.2 * told[:, 6] * told[:, 8]
    odds += 0.15 * told[:, 9:12].sum(axis=1) + np.repeat(rng.normal(size=-(-rows // POOL)), POOL)[:rows] - 3.2
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float64)
    values[rng.random(values.shape, np.float32) < 0.05] = np.nan
    return Examples(np.asfortranarray(values), label)


def auc(label: Floats64, score: Floats64) -> float:
    """The chance that a chosen entry stands above another (Mann and Whitney 1947), ties counting half."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    ones = float(label.sum())
    return float((middle[place] @ label - ones * (ones + 1) / 2) / (ones * (len(label) - ones)))


def fitted(task: Task, known: Examples, loss: str) -> Trees:
    """Our trees."""

    def loss_of(chosen: Bools) -> Loss:
        if loss == "auc":
            return LogLoss(known.label[chosen])
        return LambdaRank(known.label[chosen], known.group[chosen], TOP)

    how = Boosting(Growth(DEPTH, LEAST, L2), trees=task.whole("trees"), learning_rate=RATE)
    with working(Work(workers=task.workers)):
        return boosted(known.values, np.zeros(len(known.label), bool), loss_of, how, np.random.default_rng(0))


def peer_fitted(task: Task, known: Examples) -> Any:
    """scikit-learn's trees. It takes as many threads as OMP_NUM_THREADS says, or as there are cores."""
    how = {"max_depth": DEPTH, "max_leaf_nodes": 2**DEPTH, "min_samples_leaf": LEAST, "l2_regularization": L2}
    model = import_module("sklearn.ensemble").HistGradientBoostingClassifier(
        max_iter=task.whole("trees"), learning_rate=RATE, early_stopping=False, **how
    )
    return model.fit(known.values, known.label)


def light_fitted(task: Task, known: Examples, loss: str) -> Any:
    """LightGBM's trees."""
    lightgbm = import_module("lightgbm")
    how = {"max_depth": DEPTH, "num_leaves": 2**DEPTH, "min_child_samples": LEAST, "reg_lambda": L2, "verbose": -1}
    how |= {"n_estimators": task.whole("trees"), "n_jobs": task.workers, "learning_rate": RATE}
    if loss == "auc":
        return lightgbm.LGBMClassifier(**how).fit(known.values, known.label)
    sizes = np.bincount(known.group)
    return lightgbm.LGBMRanker(**how).fit(known.values, known.label.astype(np.int64), group=sizes)


def _known(task: Task) -> Examples:
    return examples(task.whole("rows"), task.whole("features"), 0)


def _quality(task: Task, loss: str, score: Callable[[Any, Floats32], Floats64]) -> Callable[[Any], Figures]:
    def figures(model: Any) -> Figures:
        tested = examples(TESTED, task.whole("features"), 1)
        found = np.asarray(score(model, tested.values), np.float64)
        if loss == "auc":
            return {"auc": auc(tested.label, found)}
        return {f"ndcg@{CUT}": 1 - LambdaRank(tested.label, tested.group, CUT).value(found)}

    return figures


def _our_score(model: Trees, values: Floats32) -> Floats64:
    return model.margins(values)


def _odds(model: Any, values: Floats32) -> Floats64:
    return np.asarray(model.decision_function(values))


def _light_odds(model: Any, values: Floats32) -> Floats64:
    return np.asarray(model.predict(values, raw_score=True))


def our_fit(task: Task) -> Job[Any]:
    """Log loss."""
    known = _known(task)
    return Job(lambda: fitted(task, known, "auc"), _quality(task, "auc", _our_score))


def peer_fit(task: Task) -> Job[Any]:
    """Log loss by scikit-learn."""
    import_module("sklearn.ensemble")  # before the clock starts
    known = _known(task)
    return Job(lambda: peer_fitted(task, known), _quality(task, "auc", _odds))


def light_fit(task: Task) -> Job[Any]:
    """Log loss by LightGBM."""
    import_module("lightgbm")  # before the clock starts
    known = _known(task)
    return Job(lambda: light_fitted(task, known, "auc"), _quality(task, "auc", _light_odds))


def our_rank(task: Task) -> Job[Any]:
    """LambdaRank."""
    known = _known(task)
    return Job(lambda: fitted(task, known, "ndcg"), _quality(task, "ndcg", _our_score))


def light_rank(task: Task) -> Job[Any]:
    """LambdaRank by LightGBM."""
    import_module("lightgbm")  # before the clock starts
    known = _known(task)
    return Job(lambda: light_fitted(task, known, "ndcg"), _quality(task, "ndcg", _light_odds))


def our_predict(task: Task) -> Job[Any]:
    """Margins of a batch."""
    model = fitted(task, _known(task), "auc")
    return _asked(task, lambda values: model.margins(values))


def peer_predict(task: Task) -> Job[Any]:
    """Margins of a batch by scikit-learn."""
    model = peer_fitted(task, _known(task))
    return _asked(task, lambda values: np.asarray(model.decision_function(values)))


def _asked(task: Task, margins: Callable[[Floats32], Floats64]) -> Job[Any]:
    """The same batch as often as the task says."""
    values = examples(task.whole("batch"), task.whole("features"), 1).values
    often = task.whole("often")

    def run() -> Floats64:
        with working(Work(workers=task.workers)):
            for _ in range(often):  # a step a request
                found = margins(values)
        return found

    return Job(run)
