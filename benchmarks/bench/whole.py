"""The tasks of whole pipelines: fitting one, serving everybody, single requests, loading a saved model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from bench import ours, quality
from bench.jobs import Figures, Job, Task
from bench.quality import PLACES
from bench.worlds import World, gowalla_folder
from nbarec import Model, Pipeline, load
from nbarec.arrays import Ints64
from nbarec.batch import Slate
from nbarec.ids import TextOrNumber
from nbarec.plugins import registry

CONFIG = Path(__file__).parents[1] / "gowalla_pipeline.yaml"

GROUPS = 5000
"""How many made-up groups the items are in."""

HISTORY = 20
"""Items that an unknown user brings."""

WARM_BATCHES = 1
"""Batches for each worker before the clock starts: workers stay with a model from its first call on."""

WARM_UP = 20
"""Requests before the clock starts."""


def model_folder(world: str, cache: Path) -> Path:
    """Where the fitted pipeline is kept."""
    return cache / f"{world}-model"


def pipeline_of(task: Task) -> Pipeline:
    """The pipeline over the files of the world, which are written to the cache where they are made up."""
    items = task.cache / f"{task.world.name}-items.csv"
    items.write_text(
        "item,group\n" + "".join(f"{item},g{item % GROUPS}\n" for item in range(task.world.items)), "utf-8"
    )
    events = gowalla_folder() / "train.csv.gz" if task.world.name == "gowalla" else _events_file(task)
    paths = {"data.events.path": str(events), "data.items.path": str(items)}
    return Pipeline.from_yaml(CONFIG, {**paths, "engine.workers": task.workers})


def _events_file(task: Task) -> Path:
    path = task.cache / f"{task.world.name}-events.csv"
    pairs = zip(task.world.train_user.tolist(), task.world.train_item.tolist(), strict=True)
    path.write_text("user_id,item_id\n" + "".join(f"{user},{item}\n" for user, item in pairs), "utf-8")
    return path


def fit(task: Task) -> Job[tuple[float, Model]]:
    """Read the files and fit every stage. The figures are seconds: of reading, and of each stage; it is then saved."""
    pipeline = pipeline_of(task)

    def run() -> tuple[float, Model]:
        start = time.perf_counter()
        data = pipeline.load()
        seconds = time.perf_counter() - start
        return seconds, pipeline.fit(data)

    def figures(fitted: tuple[float, Model]) -> Figures:
        seconds, model = fitted
        model.save(model_folder(task.world.name, task.cache))
        return {"reading": seconds, **{stage: one.seconds for stage, one in model.fitted.items()}}

    return Job(run, figures)


def saved_model(task: Task) -> Model:
    """The model that `fit` has left in the cache."""
    return load(model_folder(task.world.name, task.cache), verify=False)


def every_user(model: Model) -> list[TextOrNumber]:
    """The ids of all users."""
    return model.data.users.take(np.arange(len(model.data.users)))


def serve(task: Task) -> Job[Slate]:
    """Slates for all users at once. The figures: how many they are, quality, and seconds of each stage's steps, which
    are summed over workers."""
    model = saved_model(task)
    users = every_user(model)
    model.recommend(users[: WARM_BATCHES * task.workers * model.batch_size()], k=PLACES)  # starts its workers

    def figures(slate: Slate) -> Figures:
        steps = {f"{stage.stage} {stage.step}": stage.seconds for stage in slate.trace.stages}
        return {"users": len(slate), **quality.of_lists(_lists_of(slate, task.world), task.world), **steps}

    return Job(lambda: model.recommend(users, k=PLACES), figures)


def _lists_of(slate: Slate, world: World) -> Ints64:
    """The items of the tested users, by the world's numbers: int64 [tested users, 20], -1 where there is none."""
    items = np.array([*map(int, slate.ids.take(np.arange(len(slate.ids)))), -1])  # position -1 is the last
    row = np.full(world.users, -1)
    row[np.array(slate.users, np.int64)] = np.arange(len(slate))
    rows = row[world.tested]
    return np.where(rows[:, None] >= 0, items[slate.item[rows]], -1)


def known_users(task: Task) -> Job[list[float]]:
    """Single requests of users that the model knows."""
    model = saved_model(task)
    users = every_user(model)
    asked = ours.rng().integers(0, len(users), WARM_UP + task.whole("requests"))
    return _requests([partial(model.recommend, [users[at]], k=PLACES) for at in asked])


def unknown_users(task: Task) -> Job[list[float]]:
    """Single requests of users that nobody knows, who bring 20 items: some that one user of the world chose."""
    model, world, rng = saved_model(task), task.world, ours.rng()
    counts = np.bincount(world.train_user, minlength=world.users)
    many = np.flatnonzero(counts >= min(HISTORY, counts.max()))
    asked = []
    # A step a request: each brings a history of its own.
    for user in rng.choice(many, WARM_UP + task.whole("requests")):
        items = rng.permutation(world.train_item[world.train_user == user])[:HISTORY].tolist()
        asked.append(partial(model.recommend, history=items, k=PLACES))
    return _requests(asked)


def _requests(asked: Sequence[Callable[[], Slate]]) -> Job[list[float]]:
    """Each request in turn; the figures are percentiles of milliseconds."""
    for request in asked[:WARM_UP]:
        request()

    def run() -> list[float]:
        seconds = []
        for request in asked[WARM_UP:]:
            start = time.perf_counter()
            request()
            seconds.append(time.perf_counter() - start)
        return seconds

    def figures(seconds: list[float]) -> Figures:
        return {"p50": float(np.percentile(seconds, 50)) * 1e3, "p99": float(np.percentile(seconds, 99)) * 1e3}

    return Job(run, figures)


def loading(task: Task) -> Job[Model]:
    """Loading the saved model, with the option `verify` against all digests; plugins are imported before."""
    folder = model_folder(task.world.name, task.cache)
    registry()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    verify = bool(task.options.get("verify"))
    return Job(lambda: load(folder, verify=verify), lambda _model: {"megabytes": size / 1e6})
