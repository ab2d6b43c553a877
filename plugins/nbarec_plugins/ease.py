"""EASE: the linear autoencoder of items with a zero diagonal, in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nbarec.arrays import Floats32, Floats64, Ints32, Ints64, concat_ranges, frozen, row_blocks, row_pointers
from nbarec.batch import Candidates, Request
from nbarec.components import CandidateGenerator, param
from nbarec.data import Dataset
from nbarec.evidence import Evidence
from nbarec.hookspecs import hookimpl
from nbarec.kernels import NOT_PROPOSED, exclude, top_of_dense
from nbarec.progress import track
from nbarec.scored_pairs import stacked
from nbarec.work import current, in_shards
from nbarec_plugins.degree_scaling import check_memory, weighted_pairs
from nbarec_plugins.history_terms import strongest_terms
from nbarec_plugins.meetings import chosen
from nbarec_plugins.sparse_products import PaddedRows
from nbarec_plugins.sparse_rows import SparseRows, sums_at

SIDE = 256
"""Rows and columns of a block of the factorisation: large enough that nearly all work is products of blocks."""

PAIRS = 1 << 20
"""Pairs of items of one user that are added up at a time: 8 MB an array."""

SCORES_BYTES = 1 << 25
"""What the scores of the rows that are searched together may take."""

BYTES_A_PAIR = 12
"""Bytes that two items take in the fit: 8 for the inverse, 4 for the weights."""


@dataclass(frozen=True)
class EaseState:
    """`weights` B float32 [items, items]: row j is what an item j of the history adds to each score; its diagonal is
    zero."""

    weights: Floats32


@dataclass(frozen=True)
class Ease(CandidateGenerator[EaseState]):
    """Scores an item by the weights with which all others predict it best (EASE: Steck 2019).

    Let x_ui be a pair's weight to the power of `power`, keeping its sign, and 0 where there is no pair. The items x
    items matrix B with a zero diagonal that minimises |X - X B|^2 + `regularization` |B|^2 is

        B = I - P diag(1 / diag P),    P = (X'X + regularization I)^-1,    score_ui = sum over j of x_uj B_ji,

    exact, by a Cholesky decomposition in double precision. It takes 12 bytes for each pair of items and time with the
    cube of the items: the fit says so before it starts, and refuses where that is more than `engine.memory`.
    `spectral_ease` is the same model for catalogues of any size.

    There is no randomness, and a user's scores come from the history that was sent. Only items of positive score are
    proposed: none to a user without a history, and none that nobody has.

    >>> drinks = {"ann": "tea milk", "bob": "tea milk", "cat": "rum cola", "dan": "rum cola", "eve": "tea"}
    >>> pairs = [(user, item) for user, listed in drinks.items() for item in listed.split()]
    >>> data = Dataset.from_arrays(*zip(*pairs))
    >>> model = Ease(regularization=1)
    >>> state = model.fit(data, np.random.default_rng(0))
    >>> from nbarec.testing.worlds import request_for
    >>> data.items.take(model.generate(state, request_for(data, [4]), limit=3).item)
    ['milk']
    """

    name: ClassVar[str] = "ease"
    regularization: float = param(
        300.0, gt=0, doc="How much weights are drawn to 0; more for sparse data, and in proportion to the users."
    )
    power: float = param(0.0, ge=0, le=1, doc="Weights are raised to it: 1 as they are, 0 all the same but for signs.")

    def fit(self, data: Dataset, rng: np.random.Generator) -> EaseState:
        """The weights of these events; deterministic. Raises ConfigError where they don't fit the memory budget."""
        items = data.events.n_items
        check_memory(self.name, f"{items:,} x {items:,} items", BYTES_A_PAIR * items * items, "spectral_ease instead")
        matrix = _gram(weighted_pairs(data.events, self.power))
        matrix[np.diag_indices(items)] += self.regularization
        with track("inverting items x items", 3 * len(_blocks(items))) as advance:
            for _ in _inverted(matrix):  # a step a block, three times over
                advance(1)
        return EaseState(frozen(_weights(matrix)))

    def update(self, state: EaseState, data: Dataset, new: Dataset) -> EaseState:
        """The weights of all events, as a refit has them: every weight depends on every event.

        Nothing new changes nothing.
        """
        if not len(new.events) and len(state.weights) == data.events.n_items:
            return state
        return self.fit(data, np.random.default_rng(0))

    def generate(self, state: EaseState, request: Request, limit: int) -> Candidates:
        """Items of positive score, best first."""
        history, items = weighted_pairs(request.history, self.power), len(state.weights)
        step = max(1, current().block_bytes(SCORES_BYTES) // (8 * max(items, 1)))

        def best(first: int, _: object) -> Candidates:
            rows = np.arange(first, min(first + step, len(request)))
            # Each row by itself, in double precision: no bit depends on the rows beside it.
            scores: Floats64 = PaddedRows.of(history.take_rows(rows), np.float64).times(state.weights)
            scores[scores <= 0] = NOT_PROPOSED
            return top_of_dense(exclude(scores, request.excluded.take_rows(rows)), limit)

        # A step a block of rows: what bounds the memory.
        return stacked(in_shards(best, range(0, len(request), step)))

    def evidence(self, state: EaseState, request: Request, row: Ints32, item: Ints32, limit: int = 3) -> Evidence:
        """What each item j of the history adds to the score of i, x_uj B_ji: exact, and together all of it. What
        disliked items say for an item, by being unlike it, is in the rest."""
        pairs = weighted_pairs(request.history, self.power)

        def amount(term: Ints64, of_item: Ints64) -> Floats64:
            return np.asarray(pairs.value[term] * state.weights[pairs.column[term], of_item], np.float64)

        pair, term, added, score = strongest_terms(pairs, row.astype(np.int64), item.astype(np.int64), limit, amount)
        at = chosen(pairs.value[term], added)
        return Evidence.strongest(pair[at], pairs.column[term[at]], added[at], score, limit, "you chose {}")


def _gram(pairs: SparseRows) -> Floats64:
    """X'X: float64 [items, items]."""
    by_item, items = pairs.transpose(), pairs.columns
    matrix = np.empty((items, items))
    reached = row_pointers(np.bincount(by_item.row_of, weights=pairs.counts[by_item.column], minlength=items))
    for first, last in row_blocks(reached, PAIRS):  # a step a block of items: what bounds the memory
        matrix[first:last] = _dense_product(by_item.take_rows(np.arange(first, last)), pairs)
    return matrix


def _dense_product(left: SparseRows, right: SparseRows) -> Floats64:
    """left @ right, dense float64 [left rows, right columns]; each entry is added up in the order of left's row."""
    counts = right.counts[left.column]
    at = concat_ranges(right.indptr[left.column], counts)
    cell = np.repeat(left.row_of * right.columns, counts)
    cell += right.column.take(at)
    value = np.repeat(left.value, counts)
    value *= right.value.take(at)
    return sums_at(cell, value, left.rows * right.columns).reshape(left.rows, right.columns)


def _blocks(size: int) -> list[slice]:
    return [slice(first, min(first + SIDE, size)) for first in range(0, size, SIDE)]


def _inverted(matrix: Floats64) -> Iterator[None]:
    """Put the inverse of a symmetric positive definite matrix [n, n] in its place.

    A = L L' (Cholesky), and A^-1 = L^-T L^-1, by blocks, so that nearly all work is products of matrices (Golub, Van
    Loan 2013, section 4.2). Only the blocks on and below the diagonal are read, and only those hold the inverse. Yields
    after each block of each pass.
    """
    for step in (_factorise, _invert_lower, _square_lower):
        for own in _blocks(len(matrix)):  # a step a block of rows or columns
            step(matrix, own)
            yield


def _factorise(matrix: Floats64, own: slice) -> None:
    """A block column of L, where those before are there; the inverse of L's block on the diagonal in its place, and
    zeros above."""
    below = slice(own.stop, len(matrix))
    matrix[own, own] = np.tril(np.linalg.inv(np.linalg.cholesky(matrix[own, own])))
    matrix[own, below] = 0
    matrix[below, own] = matrix[below, own] @ matrix[own, own].T
    for other in _blocks(len(matrix))[own.start // SIDE + 1 :]:  # a step a block column: the part below the diagonal
        rest = slice(other.start, len(matrix))
        matrix[rest, other] -= matrix[rest, own] @ matrix[other, own].T


def _invert_lower(matrix: Floats64, own: slice) -> None:
    """A block row of L^-1, where those above are there."""
    before = slice(0, own.start)
    matrix[own, before] = -matrix[own, own] @ (matrix[own, before] @ matrix[before, before])


def _square_lower(matrix: Floats64, own: slice) -> None:
    """A block row of L^-T L^-1, which takes L^-1 from that row on alone."""
    rest, until = slice(own.start, len(matrix)), slice(0, own.stop)
    matrix[own, until] = matrix[rest, own].T @ matrix[rest, until]


def _weights(inverse: Floats64) -> Floats32:
    """B of P float64 [n, n], of which the blocks on and below the diagonal are there: float32 [n, n]."""
    weights, divisor = np.empty(inverse.shape, np.float32), -np.diag(inverse)
    for own in _blocks(len(inverse)):  # a step a block of rows
        after = slice(own.stop, len(inverse))
        weights[own, : own.stop] = inverse[own, : own.stop] / divisor[: own.stop]
        weights[own, after] = inverse[after, own].T / divisor[after]
    np.fill_diagonal(weights, 0)
    return weights


@hookimpl
def nbarec_candidate_generators() -> list[type[Ease]]:
    """The generators of this module."""
    return [Ease]
