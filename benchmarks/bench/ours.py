"""The tasks of nbarec, as whoever uses its components from Python would write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.random  # here, not in the work that is measured: NumPy loads it when it is first used

from bench import quality
from bench.jobs import Figures, Job, Task
from bench.quality import PLACES
from bench.worlds import VERSION, World
from nbarec import Dataset, Model, Pipeline
from nbarec.arrays import Floats32, Ints64
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator
from nbarec.products import ItemIndex
from nbarec.sparse import Csr
from nbarec.testing.worlds import request_for
from nbarec.work import Work, working
from nbarec_plugins.als import Als, AlsState
from nbarec_plugins.item_cf import ItemCf, ItemCfState
from nbarec_plugins.user_cf import UserCf

R = TypeVar("R")
S = TypeVar("S")

NEIGHBORS = 100

OTHERS = NEIGHBORS - 1
"""Neighbours that are compared: implicit counts an item as the first of its own."""

FOLDED_IN = 2000
"""Users whose vectors are solved from their histories."""

ALS_OPTIONS = {"factors": 64, "iterations": 15, "alpha": 10, "regularization": 1, "cg_steps": 2}
"""What ALS is measured with unless a question says otherwise; names and meaning are implicit's, but for `cg_steps`."""

GROWING = """
nbarec: 1
data: {use: music_world}
engine: {workers: WORKERS}
candidates:
  - {use: item_cf, k: 200}
  - {use: user_cf, k: 200}
  - {use: als, k: 200, with: {factors: 64}}
  - {use: nmf, k: 200}
  - {use: popularity, k: 200}
rank:
  - {use: blend, with: {weights: {item_cf: 1, user_cf: 1, als: 1, nmf: 0.3, popularity: 0.1}}}
slate: {k: 20, fallback: popularity}
"""
"""The pipeline whose whole fit is measured as worlds grow; its data come from Python."""


def with_all_workers(task: Task, work: Callable[[], R]) -> Callable[[], R]:
    """The same work, by as many workers as the task may have."""

    def run() -> R:
        with working(Work(workers=task.workers)):
            return work()

    return run


def rng() -> np.random.Generator:
    """The same random numbers every time."""
    return np.random.default_rng(0)


def ready(world: World) -> Dataset:
    """The training data with their matrix: a pipeline builds it once for all its stages, and peers are given theirs."""
    data = world.dataset()
    data.events.matrix()
    return data


def served(task: Task, model: CandidateGenerator[S], state: S, data: Dataset) -> Figures:
    """How good the lists are that a generator gives to the tested users."""
    request = request_for(data, task.world.tested, k=PLACES)
    found = with_all_workers(task, lambda: model.generate(state, request, PLACES))()
    return quality.of_lists(quality.as_table(found), task.world)


def sparse_matrix(task: Task) -> Job[Csr]:
    """Sparse rows from pairs in random order."""
    world = task.world
    order = rng().permutation(len(world.train_user))
    user, item = world.train_user[order], world.train_item[order]
    shape = world.users, world.items
    run = with_all_workers(task, lambda: Csr.from_pairs(user, item, None, shape))
    return Job(run, lambda matrix: quality.of_matrix(matrix.indptr, matrix.indices, matrix.data))


def item_neighbours(task: Task) -> Job[ItemCfState]:
    """The 100 most similar items of every item by cosine."""
    data, model = ready(task.world), ItemCf(neighbors=NEIGHBORS)

    def figures(state: ItemCfState) -> Figures:
        return {**_similarity(state), **served(task, model, state, data)}

    return Job(with_all_workers(task, lambda: model.fit(data, rng())), figures)


def user_neighbours(task: Task) -> Job[ItemCfState]:
    """The 100 most similar users of every user by cosine: those of the items of the swapped world."""
    data, model = ready(task.world.swapped()), ItemCf(neighbors=NEIGHBORS)
    return Job(with_all_workers(task, lambda: model.fit(data, rng())), _similarity)


def _similarity(state: ItemCfState) -> Figures:
    rows = state.neighbours
    return quality.of_neighbours(rows.indptr, rows.column, rows.value, OTHERS)


def als_of(task: Task) -> Als:
    """ALS with the loss that implicit minimises: a pair that was chosen has the confidence alpha, any other 1."""
    options = {**ALS_OPTIONS, **task.options}
    return Als(
        factors=int(options["factors"]),
        iterations=int(options["iterations"]),
        regularization=float(options["regularization"]),
        confidence=float(options["alpha"]) - 1,
        unobserved=1.0,
        scaling=0.0,
        cg_steps=int(options["cg_steps"]),
    )


def als(task: Task) -> Job[AlsState]:
    """A fit of ALS."""
    data, model = ready(task.world), als_of(task)
    return Job(with_all_workers(task, lambda: model.fit(data, rng())), lambda state: served(task, model, state, data))


def sweeps_of_als(task: Task) -> Job[int]:
    """How many sweeps ALS takes until its recall reaches the option `goal`; all if it never does."""
    data, goal = ready(task.world), task.options["goal"]
    most = int({**ALS_OPTIONS, **task.options}["iterations"])

    def first() -> int:
        # A fit a number of sweeps, each from the start; one by one, as recall may also fall.
        for sweeps in range(1, most):
            model = als_of(Task(task.world, task.workers, task.cache, {**task.options, "iterations": sweeps}))
            if served(task, model, model.fit(data, rng()), data)["recall@20"] >= goal:
                return sweeps
        return most

    return Job(with_all_workers(task, first), lambda sweeps: {"iterations": sweeps})


def factors_file(task: Task) -> Path:
    """Where the vectors of a world are kept."""
    options = {**ALS_OPTIONS, **task.options}
    return task.cache / f"v{VERSION}" / f"{task.world.name}-als-{options['factors']}-{options['alpha']}.npz"


def factors_of(task: Task) -> tuple[Floats32, Floats32]:
    """The users' and items' vectors that `store_factors` has left in the cache."""
    with np.load(factors_file(task)) as arrays:
        return arrays["users"], arrays["items"]


def store_factors(task: Task) -> Job[None]:
    """Vectors of users and items by ALS, to the cache; anew in every run, as `fold_in` learns the same ones."""

    def run() -> None:
        path = factors_file(task)
        data, model = ready(task.world), als_of(task)
        state = model.fit(data, rng())
        users = model.user_vectors(state, request_for(data))
        unfinished = path.with_suffix(".new.npz")
        np.savez(unfinished, users=users, items=model.item_vectors(state))
        unfinished.replace(path)

    return Job(with_all_workers(task, run))


def top_items(task: Task) -> Job[Candidates]:
    """The 20 best items of every user, what he has left out; the items' index is built before, as a model holds it."""
    world, (users, items) = task.world, factors_of(task)
    index, vectors = ItemIndex.of(items), users.astype(np.float64)
    chosen = Csr.from_pairs(world.train_user, world.train_item, None, (world.users, world.items))
    return Job(
        with_all_workers(task, lambda: index.best(vectors, PLACES, chosen)),
        lambda found: quality.of_products(quality.as_table(found), users, items, world),
    )


def folded_in_users(world: World) -> Ints64:
    """The users whose vectors are solved anew: the same for both sides."""
    return np.sort(rng().choice(world.users, min(FOLDED_IN, world.users), replace=False))


def fold_in(task: Task) -> Job[Floats32]:
    """The vectors of users from their histories, by a fitted model."""
    data, model = ready(task.world), als_of(task)
    state = with_all_workers(task, lambda: model.fit(data, rng()))()
    rows, items = folded_in_users(task.world), model.item_vectors(state)
    request = request_for(data, rows)

    def figures(users: Floats32) -> Figures:
        alpha, ridge = ALS_OPTIONS["alpha"], ALS_OPTIONS["regularization"]
        return quality.of_user_vectors(users, items, rows, task.world, alpha, ridge)

    return Job(with_all_workers(task, lambda: model.user_vectors(state, request)), figures)


def like_minded(task: Task) -> Job[Candidates]:
    """What user_cf proposes to so many users, who are compared with all."""
    data, model = ready(task.world), UserCf()
    state = with_all_workers(task, lambda: model.fit(data, rng()))()
    rows = np.sort(rng().choice(task.world.users, min(task.whole("users"), task.world.users), replace=False))
    request: Request = request_for(data, rows, k=PLACES)
    return Job(with_all_workers(task, lambda: model.generate(state, request, PLACES)))


def whole_fit(task: Task) -> Job[Model]:
    """A pipeline of five generators, fitted."""
    pipeline, data = Pipeline.from_text(GROWING.replace("WORKERS", str(task.workers))), task.world.dataset()
    return Job(lambda: pipeline.fit(data))
