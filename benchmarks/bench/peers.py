"""The tasks of the compiled peers, each by the public interface that its own documentation shows.

They are imported when a task begins: none has types, and none is needed but for what it is compared with.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from bench import decompositions, ours, quality
from bench.jobs import Figures, Job, Task
from bench.quality import PLACES
from bench.worlds import World
from nbarec.arrays import AnyArray

LOOSE = 0.005
"""What a recall may lack of another, as a share, and still count as the same."""

EQUAL_LOSS = 1e-4
"""What a loss may be above another, as a share, and still count as equal. Most of it stays whatever one does: on
Gowalla this is a thousandth of what is explained."""

BLOCK = 2000
"""Items whose similarities to all others scipy computes at a time."""


def module(name: str) -> Any:
    """A package without types; what it warns of when it is imported is not about us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


def matrix_of(world: World) -> Any:
    """The training pairs as scipy's sparse rows (users x items) of ones, as all peers take them."""
    ones = np.ones(len(world.train_user), np.float32)
    shape = world.users, world.items
    matrix = module("scipy.sparse").csr_matrix((ones, (world.train_user, world.train_item)), shape=shape)
    matrix.sort_indices()
    return matrix


def lists_of(model: Any, matrix: Any, world: World) -> Figures:
    """How good the lists are that a model of implicit gives to the tested users."""
    tested = world.tested
    best, _ = model.recommend(tested, matrix[tested], N=PLACES, filter_already_liked_items=True)
    return quality.of_lists(np.asarray(best, np.int64), world)


def sparse_matrix(task: Task) -> Job[Any]:
    """scipy's sparse rows from pairs in random order; sorted and without doubles, as ours are."""
    world, sparse = task.world, module("scipy.sparse")
    order = ours.rng().permutation(len(world.train_user))
    user, item = world.train_user[order], world.train_item[order]

    def run() -> Any:
        ones = np.ones(len(user), np.float32)
        matrix = sparse.csr_matrix((ones, (user, item)), shape=(world.users, world.items))
        matrix.sum_duplicates()
        matrix.sort_indices()
        return matrix

    return Job(run, lambda matrix: quality.of_matrix(matrix.indptr, matrix.indices, matrix.data))


def _cosine(task: Task) -> Any:
    return module("implicit.nearest_neighbours").CosineRecommender(K=ours.NEIGHBORS, num_threads=task.workers)


def _fitted(model: Any, matrix: Any) -> Any:
    model.fit(matrix, show_progress=False)
    return model


def _similarity(model: Any) -> Figures:
    rows = model.similarity
    return quality.of_neighbours(rows.indptr, rows.indices, rows.data, ours.OTHERS)


def item_neighbours(task: Task) -> Job[Any]:
    """implicit: the 100 most similar items of every item by cosine, itself among them."""
    matrix, model = matrix_of(task.world), _cosine(task)
    return Job(
        lambda: _fitted(model, matrix), lambda fitted: {**_similarity(fitted), **lists_of(fitted, matrix, task.world)}
    )


def user_neighbours(task: Task) -> Job[Any]:
    """implicit: the same of users."""
    matrix, model = matrix_of(task.world).T.tocsr(), _cosine(task)
    return Job(lambda: _fitted(model, matrix), _similarity)


def product_of_matrices(task: Task) -> Job[tuple[AnyArray, AnyArray, AnyArray]]:
    """scipy: X.T @ X of columns of length 1, block by block, and the 100 largest of each row."""
    matrix, sparse = matrix_of(task.world), module("scipy.sparse")

    def run() -> tuple[AnyArray, AnyArray, AnyArray]:
        length = np.sqrt(np.maximum(np.bincount(matrix.indices, minlength=matrix.shape[1]), 1))
        users = (matrix @ sparse.diags(1 / length)).tocsr()
        items = users.T.tocsr()
        starts = range(0, items.shape[0], BLOCK)
        blocks = [_largest_of_rows((items[start : start + BLOCK] @ users).tocsr()) for start in starts]
        counts, column, value = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return np.append(0, np.cumsum(counts)), column, value

    return Job(run, lambda found: quality.of_neighbours(*found, ours.OTHERS))


def _largest_of_rows(block: Any) -> tuple[AnyArray, AnyArray, AnyArray]:
    """The 100 largest entries of each row of a sparse matrix: how many, their columns, their values."""
    kept = []
    for first, last in zip(block.indptr[:-1], block.indptr[1:], strict=True):
        values = block.data[first:last]
        most = len(values) - ours.NEIGHBORS
        kept.append(first + (np.argpartition(values, most)[most:] if most > 0 else np.arange(len(values))))
    at = np.concatenate(kept)
    return np.array([len(row) for row in kept]), block.indices[at], block.data[at]


def _als_model(task: Task) -> Any:
    options = {**ours.ALS_OPTIONS, **task.options}
    return module("implicit.als").AlternatingLeastSquares(
        factors=int(options["factors"]),
        iterations=int(options["iterations"]),
        alpha=float(options["alpha"]),
        regularization=float(options["regularization"]),
        use_cg=not options.get("cholesky"),
        num_threads=task.workers,
        random_state=0,
    )


def als(task: Task) -> Job[Any]:
    """implicit: a fit of ALS by conjugate gradients, or exactly with the option `cholesky`."""
    matrix, model = matrix_of(task.world), _als_model(task)
    return Job(lambda: _fitted(model, matrix), lambda fitted: lists_of(fitted, matrix, task.world))


def sweeps_of_als(task: Task) -> Job[list[float]]:
    """implicit: how many sweeps it takes until the recall is nearly that after the last; and that recall, as `goal`."""
    matrix, model = matrix_of(task.world), _als_model(task)
    recalls: list[float] = []

    def look(_sweep: int, _seconds: float, _loss: float) -> None:
        recalls.append(lists_of(model, matrix, task.world)["recall@20"])

    def run() -> list[float]:
        model.fit(matrix, show_progress=False, callback=look)
        return recalls

    def figures(found: list[float]) -> Figures:
        goal = (1 - LOOSE) * found[-1]
        return {"goal": goal, "iterations": int(np.argmax(np.array(found) >= goal)) + 1}

    return Job(run, figures)


def top_items(task: Task) -> Job[Any]:
    """implicit: the 20 best items of every user by the same vectors, what he has left out."""
    world, (users, items) = task.world, ours.factors_of(task)
    matrix, model = matrix_of(world), _als_model(task)
    model.user_factors, model.item_factors = users, items
    every = np.arange(world.users)

    def run() -> Any:
        return model.recommend(every, matrix, N=PLACES, filter_already_liked_items=True)[0]

    return Job(run, lambda best: quality.of_products(np.asarray(best, np.int64), users, items, world))


def fold_in(task: Task) -> Job[Any]:
    """implicit: the vectors of users from their histories, for the same items."""
    world, (_, items) = task.world, ours.factors_of(task)
    matrix, model = matrix_of(world), _als_model(task)
    model.item_factors = items
    rows = ours.folded_in_users(world)
    histories, options = matrix[rows], ours.ALS_OPTIONS
    _ = model.YtY  # what a fitted model holds

    def figures(users: Any) -> Figures:
        return quality.of_user_vectors(users, items, rows, world, options["alpha"], options["regularization"])

    return Job(lambda: model.recalculate_user(rows, histories), figures)


def singular_values(task: Task) -> Job[AnyArray]:
    """scikit-learn: a randomised truncated singular value decomposition."""
    matrix, extmath = matrix_of(task.world), module("sklearn.utils.extmath")
    count = task.whole("components")
    return Job(
        lambda: np.asarray(extmath.randomized_svd(matrix, n_components=count, random_state=0)[1]),
        lambda values: quality.of_singular_values(values, task.world),
    )


def nmf(task: Task) -> Job[Any]:
    """scikit-learn: a non-negative factorisation by coordinate descent, until it stops by itself."""
    matrix = matrix_of(task.world)
    model = module("sklearn.decomposition").NMF(decompositions.TASTES, solver="cd", init="nndsvd", random_state=0)

    def run() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged in a tiny world
            model.fit_transform(matrix)
        return model

    def figures(fitted: Any) -> Figures:
        items = np.ascontiguousarray(fitted.components_.T, np.float32)
        found = decompositions.loss_of_tastes(ours.ready(task.world), items)
        return {**found, "goal": (1 + EQUAL_LOSS) * found["loss"], "iterations": int(fitted.n_iter_)}

    return Job(run, figures)


def _trained(task: Task, scorer: Callable[[], Any]) -> Job[Any]:
    data = module("lenskit.data").from_interactions_df(
        module("pandas").DataFrame({"user_id": task.world.train_user, "item_id": task.world.train_item})
    )
    model, options = scorer(), module("lenskit.training").TrainingOptions(rng=1)
    return Job(lambda: model.train(data, options))


def lenskit_item_neighbours(task: Task) -> Job[Any]:
    """LensKit: item neighbours of implicit feedback."""
    knn, most = module("lenskit.knn"), ours.NEIGHBORS
    return _trained(task, lambda: knn.ItemKNNScorer(max_nbrs=most, save_nbrs=most, feedback="implicit"))


def lenskit_als(task: Task) -> Job[Any]:
    """LensKit: ALS of implicit feedback."""
    factors, epochs = int(ours.ALS_OPTIONS["factors"]), int(ours.ALS_OPTIONS["iterations"])
    return _trained(task, lambda: module("lenskit.als").ImplicitMFScorer(embedding_size=factors, epochs=epochs))
