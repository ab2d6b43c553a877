"""Learned rankers as a pipeline has them: learning from the entries of many requests, and single requests.

Options: of learning `rows` and `features`; of requests how many `users` the made-up world has that is learnt from, and
how many `requests` are timed; of both `trees`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.boosted_trees import DEPTH, POOL, Examples, auc, examples
from bench.jobs import Figures, Job, Task
from nbarec import Model, Pipeline
from nbarec.arrays import Floats32, Ints64, frozen, mix64, row_pointers
from nbarec.batch import Pool, Slate
from nbarec.columns import Columns
from nbarec.components import Example
from nbarec.testing.worlds import request_for, tiny_world
from nbarec.work import Work, working
from nbarec_plugins.gbdt import Gbdt
from nbarec_plugins.learned import Learned, LearnedState
from nbarec_plugins.logistic import Logistic

CONFIG = Path(__file__).parents[1] / "ranking_pipeline.yaml"

BATCH = 500
"""Requests of an example."""

TESTED = 20_000
"""Entries that quality is measured by."""

WARM_UP = 10
"""Requests before the clock starts."""

FEATURES = ["*", "item.genre", "user.country", "context.device"]
"""What each ranker knows of an entry: all columns of the providers, and three categories."""

HELD_OUT = {"split": "last_fraction", "fraction": 0.2, "relevant": "seconds >= 30", "users": 600}
"""Whose last events the rankers of requests learn from."""

KEPT = 0.2
"""The share of the entries that nobody listened to that they learn from."""

LABELS = {
    "listen": {"relevant": "seconds >= 30"},
    "add": {"relevant": "kind in [like, playlist_add]", "weight": 2},
    "skip": {"relevant": "seconds < 10", "weight": -0.5},
}
"""What `multi` weighs."""

MOMENT: Mapping[str, str | int] = {"device": "mobile", "hour": 8}
"""The context of every request."""


def examples_of(known: Examples) -> Iterator[Example]:
    """The same entries as the examples that a ranker gets: requests of POOL entries each, BATCH of them at a time, with
    the columns `f0`, `f1`, ... in their pools. Each request is a user of its own."""
    data = tiny_world()
    for start in range(0, len(known.label), BATCH * POOL):  # a step an example
        some = slice(start, start + BATCH * POOL)
        label = known.label[some].astype(np.float32)
        rows = -(-len(label) // POOL)
        request = request_for(data, np.full(rows, -1))
        key = mix64(np.arange(start, start + rows, dtype=np.uint64))
        yield Example(replace(request, key=frozen(key)), _pool(known.values[some]), frozen(label))


def _pool(values: Floats32) -> Pool:
    """A pool with these features, float32 [N, P], which no generator said anything of."""
    entries = len(values)
    row = np.arange(entries) // POOL
    nothing: Ints64 = np.empty((0, entries), np.int64)
    return Pool(
        indptr=frozen(row_pointers(np.bincount(row))),
        row=frozen(row.astype(np.int32)),
        item=frozen((np.arange(entries) % POOL).astype(np.int32)),
        sources=(),
        proposals=Columns({"scores": nothing.astype(np.float32), "ranks": nothing.astype(np.int32)}),
        features={f"f{at}": frozen(column) for at, column in enumerate(values.T)},
        score=frozen(np.zeros(entries, np.float32)),
    )


def _learning(task: Task, ranker: Learned[Any]) -> Job[LearnedState[Any]]:
    """Everything that the ranker does with its examples: they are joined, and most of them learnt from; the others
    calibrate and judge. The figures are AUC on other requests, and how many entries were learnt from."""
    data, known = tiny_world(), list(examples_of(examples(task.whole("rows"), task.whole("features"), 0)))

    def run() -> LearnedState[Any]:
        with working(Work(workers=task.workers)):
            return ranker.learn(known, data, np.random.default_rng(0))

    def figures(state: LearnedState[Any]) -> Figures:
        others = examples(TESTED, task.whole("features"), 1)
        found = [ranker.rank(state, one.request, one.pool) for one in examples_of(others)]
        return {"auc": auc(others.label, np.concatenate(found).astype(np.float64)), "entries": state.entries}

    return Job(run, figures)


def logistic_learning(task: Task) -> Job[LearnedState[Any]]:
    """`logistic` with its defaults."""
    return _learning(task, Logistic())


def gbdt_learning(task: Task) -> Job[LearnedState[Any]]:
    """`gbdt`: all trees, of six levels."""
    return _learning(task, Gbdt(trees=task.whole("trees"), depth=DEPTH, patience=0))


def parameters(ranker: str, trees: int) -> Mapping[str, object]:
    """The parameters of the ranker of requests: its own defaults, but for what all of them are given."""
    learning: dict[str, object] = {"features": FEATURES, "negatives": KEPT}
    if ranker == "multi":
        return {"held_out": HELD_OUT, "model": "logistic", "with": learning, "labels": LABELS}
    if ranker == "gbdt":
        learning |= {"trees": trees, "depth": DEPTH, "patience": 0}
    return {**learning, "held_out": HELD_OUT}


def fitted(task: Task, ranker: str) -> Model:
    """The pipeline of the config with this ranker."""
    chosen = {"rank.chance.use": ranker, "rank.chance.with": parameters(ranker, task.whole("trees"))}
    return Pipeline.from_yaml(CONFIG, {**chosen, "data.users": task.whole("users")}).fit()


def _requests(task: Task, ranker: str) -> Job[list[Slate]]:
    """Single requests, one after the other. The figures are medians: milliseconds of all feature providers, of the
    ranker, of both together, and of the whole request; what a tenth of the requests needs for both at most, which other
    work on the machine hardly changes; and how many entries were ranked."""
    model = fitted(task, ranker)
    everybody = model.data.users.take(np.arange(len(model.data.users)))
    asked = np.random.default_rng(0).integers(0, len(everybody), WARM_UP + task.whole("requests")).tolist()
    for user in asked[:WARM_UP]:
        model.recommend([everybody[user]], context=MOMENT)
    took: list[float] = []

    def run() -> list[Slate]:
        slates = []
        for user in asked[WARM_UP:]:  # a step a request
            start = time.perf_counter()
            slates.append(model.recommend([everybody[user]], context=MOMENT))
            took.append(time.perf_counter() - start)
        return slates

    def figures(slates: list[Slate]) -> Figures:
        features, rank = (np.array([_seconds(slate, step) for slate in slates]) for step in ("features", "rank"))
        entries = [stage.entries_in for slate in slates for stage in slate.trace.stages if stage.step == "rank"]
        parts = {"features": features, "rank": rank, "both": features + rank, "request": np.array(took)}
        told = {name: 1e3 * float(np.median(seconds)) for name, seconds in parts.items()}
        told["tenth"] = 1e3 * float(np.percentile(features + rank, 10))
        return {**told, "entries": float(np.mean(entries))}

    return Job(run, figures)


def _seconds(slate: Slate, step: str) -> float:
    """Of all stages that did this step."""
    return sum(stage.seconds for stage in slate.trace.stages if stage.step == step)


def logistic_requests(task: Task) -> Job[list[Slate]]:
    """Ranked by `logistic`."""
    return _requests(task, "logistic")


def fm_requests(task: Task) -> Job[list[Slate]]:
    """Ranked by `fm`."""
    return _requests(task, "fm")


def gbdt_requests(task: Task) -> Job[list[Slate]]:
    """Ranked by `gbdt`."""
    return _requests(task, "gbdt")


def multi_requests(task: Task) -> Job[list[Slate]]:
    """Ranked by `multi`: three labels, a `logistic` each."""
    return _requests(task, "multi")
