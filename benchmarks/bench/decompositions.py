"""The tasks of nbarec that take a matrix apart: non-negative factorisation and singular values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench import ours, quality
from bench.jobs import Figures, Job, Task
from nbarec import Dataset
from nbarec.arrays import Floats32
from nbarec.products import ItemIndex
from nbarec_plugins.nmf import Nmf, NmfState
from nbarec_plugins.sparse_products import SparseProducts
from nbarec_plugins.sparse_rows import SparseRows
from nbarec_plugins.truncated_svd import Triplets, truncated_svd

TASTES = 32
"""Factors of the non-negative factorisation."""

BLOCK = 1 << 18
"""Pairs whose vectors are gathered at a time."""


def nmf_of(iterations: int) -> Nmf:
    """The factorisation of scikit-learn: plain squared errors, nothing else."""
    return Nmf(factors=TASTES, iterations=iterations, tolerance=0.0, regularization=0.0, power=1.0, balance=0.0)


def nmf(task: Task) -> Job[NmfState]:
    """A non-negative factorisation in so many passes."""
    data, model = ours.ready(task.world), nmf_of(int(task.options.get("iterations", 100)))
    return Job(
        ours.with_all_workers(task, lambda: model.fit(data, ours.rng())),
        lambda state: loss_of_tastes(data, state.item_factors),
    )


def passes_of_nmf(task: Task) -> Job[int]:
    """How many passes it takes until the loss is at most the option `goal`; all that there may be if it never is."""
    data, goal, most = ours.ready(task.world), task.options["goal"], task.whole("iterations")

    def enough(passes: int) -> bool:
        state = nmf_of(passes).fit(data, ours.rng())
        return loss_of_tastes(data, state.item_factors)["loss"] <= goal

    return Job(ours.with_all_workers(task, lambda: fewest(enough, most)), lambda passes: {"iterations": passes})


def fewest(enough: Callable[[int], bool], most: int) -> int:
    """The smallest number up to `most` that is enough, where more is never worse, within a tenth; or `most`.

    Twice as many until it is enough, and then halves of what lies between: each try is a fit from the start.
    """
    short, long = 0, 1
    while not enough(long):
        if long >= most:
            return most
        short, long = long, min(2 * long, most)
    while long - short > max(1, long // 10):
        middle = (short + long) // 2
        short, long = (short, middle) if enough(middle) else (middle, long)
    return long


def singular_values(task: Task) -> Job[Triplets]:
    """The largest singular values and vectors, as many as the option `components`, from sparse rows."""
    matrix, count = task.world.dataset().events.matrix(), task.whole("components")
    rows = SparseRows.from_csr(matrix, np.ones(matrix.nnz, bool), matrix.data.astype(np.float64))
    return Job(
        ours.with_all_workers(task, lambda: truncated_svd(SparseProducts.of(rows), count, ours.rng())),
        lambda found: quality.of_singular_values(found.value, task.world),
    )


def loss_of_tastes(data: Dataset, items: Floats32) -> Figures:
    """What share of the matrix's squares is lost by the best non-negative loadings on `items` float32 [items, f].

    Solved anew for both sides by the same code, so that only what was learnt of the items counts.
    """
    gram = items.astype(np.float64).T @ items.astype(np.float64)
    state = NmfState(ItemIndex.of(items), np.ones(len(items)), gram, tuple(map(str, range(items.shape[1]))))
    loadings = nmf_of(1).loadings(state, data.events)
    matrix = data.events.matrix()
    row, told = matrix.row_of, 0.0
    for first in range(0, matrix.nnz, BLOCK):  # a step a block of pairs: what bounds the memory
        pairs = slice(first, first + BLOCK)
        told += float(np.einsum("nf,nf->", loadings[row[pairs]], items[matrix.indices[pairs]]))
    expected = float((loadings.T @ loadings * gram).sum())
    return {"loss": 1 - (2 * told - expected) / matrix.nnz}
