"""Non-negative least squares and factorisation against slow, obvious references."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray, Floats64
from nbarec.sparse import Csr
from nbarec_plugins import nonnegative
from nbarec_plugins.nonnegative import (
    INNER_SWEEPS,
    PIECE,
    factorise,
    improved_rows,
    nonnegative_rows,
    singular_start,
    times_dense,
)
from nbarec_plugins.sparse_rows import SparseRows

SEEDS = st.integers(0, 2**32 - 1)


def sparse(dense: AnyArray) -> SparseRows:
    row, column = np.nonzero(dense)
    matrix = Csr.from_pairs(row, column, None, dense.shape)
    return SparseRows.from_csr(matrix, np.ones(matrix.nnz, bool), dense[row, column].astype(np.float64))


def plays(seed: int, users: int, items: int, share: float = 0.4) -> Floats64:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((users, items)) < share, rng.integers(1, 10, (users, items)), 0).astype(np.float64)


def least_by_trying_all(right: Floats64, normal: Floats64) -> Floats64:
    """The least of w' normal w / 2 - right . w, w >= 0: of all sets of positive places, the best that is allowed."""
    best, found = 0.0, np.zeros(len(right))
    for count in range(1, len(right) + 1):
        for chosen in combinations(range(len(right)), count):
            at = np.array(chosen)
            values = np.linalg.solve(normal[np.ix_(at, at)], right[at])
            size = values @ normal[np.ix_(at, at)] @ values / 2 - right[at] @ values
            if (values >= 0).all() and size < best:
                best, found = size, np.zeros(len(right))
                found[at] = values
    return found


def swept(found: Floats64, right: Floats64, normal: Floats64, sweeps: int) -> Floats64:
    found = found.copy()
    for _ in range(sweeps):
        for row in range(len(found)):
            for k in range(found.shape[1]):
                others = sum(normal[k, j] * found[row, j] for j in range(found.shape[1]) if j != k)
                found[row, k] = max(0.0, (right[row, k] - others) / normal[k, k])
    return found


def factorised_slowly(dense: Floats64, items: Floats64, ridge: float, iterations: int) -> tuple[Floats64, Floats64]:
    """Column by column, with the residual of the whole dense matrix."""
    users = np.zeros((len(dense), items.shape[1]))
    for iteration in range(iterations):
        for _ in range(INNER_SWEEPS if iteration else 0):
            for k in range(items.shape[1]):
                left = dense - users @ items.T + np.outer(users[:, k], items[:, k])
                column = np.maximum(left.T @ users[:, k], 0.0)
                items = items.copy()
                items[:, k] = column / np.linalg.norm(column)
        normal = items.T @ items + ridge * np.eye(items.shape[1])
        users = swept(users, dense @ items, normal, INNER_SWEEPS if iteration else 3 * INNER_SWEEPS)
    return users, items


def objective(dense: Floats64, users: Floats64, items: Floats64, ridge: float) -> float:
    return float(((dense - users @ items.T) ** 2).sum() / 2 + ridge * (users**2).sum() / 2)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 6), st.sampled_from([1, 3, PIECE]))
def test_a_sparse_product_is_the_dense_one(seed: int, width: int, piece: int) -> None:
    dense, right = plays(seed, 9, 12), np.random.default_rng(seed).normal(size=(12, width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nonnegative, "PIECE", piece)
        patch.setattr(nonnegative, "BLOCK_BYTES", 200)
        product = times_dense(sparse(dense), right)
        alone = np.concatenate([times_dense(sparse(dense[row : row + 1]), right) for row in range(9)])
    np.testing.assert_allclose(product, dense @ right, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(product, alone)


def test_long_and_empty_rows_add_up() -> None:
    dense = np.zeros((5, 3 * PIECE + 7))
    dense[1], dense[3, :5] = 1.0, 2.0
    right = np.random.default_rng(0).normal(size=(dense.shape[1], 3))
    np.testing.assert_allclose(times_dense(sparse(dense), right), dense @ right, atol=1e-11)
    np.testing.assert_array_equal(times_dense(sparse(dense[:1]), right), np.zeros((1, 3)))
    single = right.astype(np.float32)
    np.testing.assert_allclose(times_dense(sparse(dense), single), dense @ single.astype(np.float64), atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 5), st.floats(0.0, 1.0))
def test_non_negative_least_squares_is_the_best_of_all_sets(seed: int, width: int, ridge: float) -> None:
    rng = np.random.default_rng(seed)
    design = np.abs(rng.normal(size=(8, width)))
    normal = design.T @ design + (ridge + 1e-3) * np.eye(width)
    right = rng.normal(size=(6, width)) + 0.5
    found = nonnegative_rows(right, normal)
    wanted = np.array([least_by_trying_all(row, normal) for row in right])
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)


def test_no_direction_leads_further_down_for_many_factors() -> None:
    rng = np.random.default_rng(3)
    design = np.abs(rng.normal(size=(200, 40))) * (rng.random((200, 40)) < 0.3)
    normal, right = design.T @ design + 0.01 * np.eye(40), rng.random((50, 200)) @ design - 30.0
    found = nonnegative_rows(right, normal)
    slope = found @ normal - right
    size = np.abs(right).max()
    assert (found >= 0).all()
    assert 0 < np.count_nonzero(found) < found.size
    assert slope.min() > -1e-7 * size
    assert np.abs(slope * found).max() < 1e-7 * size * found.max()


def test_a_row_gets_the_same_bits_in_any_company() -> None:
    rng = np.random.default_rng(4)
    design = np.abs(rng.normal(size=(30, 7)))
    normal, right = design.T @ design, rng.random((400, 30)) @ design
    right[5] = 0.0
    together = nonnegative_rows(right, normal)
    alone = np.concatenate([nonnegative_rows(right[row : row + 1], normal) for row in range(0, 400, 7)])
    np.testing.assert_array_equal(together[::7], alone)
    np.testing.assert_array_equal(together[5], 0.0)


def test_sweeps_are_the_slow_ones() -> None:
    rng = np.random.default_rng(5)
    design = np.abs(rng.normal(size=(9, 4)))
    start, right, normal = rng.random((6, 4)), rng.normal(size=(6, 4)), design.T @ design
    np.testing.assert_allclose(improved_rows(start, right, normal, 3), swept(start, right, normal, 3), atol=1e-12)


@pytest.mark.parametrize("ridge", [0.0, 0.7])
def test_a_factorisation_is_the_slow_one(ridge: float) -> None:
    dense = plays(6, 14, 11)
    start = singular_start(sparse(dense), 3, np.random.default_rng(0))
    found = factorise(sparse(dense), start, ridge, 4, 0.0)
    users, items = factorised_slowly(dense, start, ridge, 4)
    np.testing.assert_allclose(found.items, items, atol=1e-9)
    np.testing.assert_allclose(found.users, users, atol=1e-8)
    assert found.losses[-1] == pytest.approx(objective(dense, users, items, ridge), rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 8), st.integers(1, 30), st.integers(1, 20), st.floats(0.0, 5.0))
def test_the_loss_falls_and_nothing_is_negative(seed: int, width: int, users: int, items: int, ridge: float) -> None:
    rows = sparse(plays(seed, users, items))
    start = singular_start(rows, width, np.random.default_rng(seed))
    found = factorise(rows, start, ridge, 12, 0.0)
    losses = np.array(found.losses)
    size = float(rows.value @ rows.value)
    assert (np.diff(losses) <= 1e-12 * size).all()
    assert found.users.min(initial=0.0) >= 0
    assert found.items.min(initial=0.0) >= 0
    length = np.linalg.norm(found.items, axis=0)
    assert np.isclose(length, 1.0, atol=1e-12).all() | (length[length < 0.5] == 0).all()
    dense = np.zeros((rows.rows, rows.columns))
    dense[rows.row_of, rows.column] = rows.value
    assert losses[-1] == pytest.approx(objective(dense, found.users, found.items, ridge), rel=1e-9, abs=1e-9 * size)


def test_it_stops_where_little_is_left_to_gain() -> None:
    rows = sparse(plays(8, 60, 40))
    start = singular_start(rows, 5, np.random.default_rng(0))
    patient = factorise(rows, start, 0.1, 200, 0.0)
    hasty = factorise(rows, start, 0.1, 200, 1e-3)
    assert 2 < len(hasty.losses) < 100
    falls = -np.diff(hasty.losses) / hasty.losses[:-1]
    assert (falls[:-1] > 1e-3).all()
    assert falls[-1] <= 1e-3
    assert hasty.losses == patient.losses[: len(hasty.losses)]


def test_the_start_is_the_positive_part_of_singular_vectors() -> None:
    dense = plays(9, 40, 15)
    left, _, right = np.linalg.svd(dense, full_matrices=False)
    wanted = []
    for u, v in zip(left.T[:6], right[:6], strict=True):
        pairs = [(np.maximum(sign * u, 0), np.maximum(sign * v, 0)) for sign in (1, -1)]
        part = max(pairs, key=lambda pair: np.linalg.norm(pair[0]) * np.linalg.norm(pair[1]))[1]
        wanted.append(part / np.linalg.norm(part))
    start = singular_start(sparse(dense), 6, np.random.default_rng(1))
    np.testing.assert_allclose(start, np.array(wanted).T, atol=1e-6)


def test_a_start_from_less_than_there_are_factors() -> None:
    start = singular_start(sparse(plays(10, 2, 9, share=1.0)), 5, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(start, axis=0), [1, 1, 0, 0, 0])
    nothing = singular_start(sparse(np.zeros((0, 4))), 3, np.random.default_rng(0))
    np.testing.assert_array_equal(nothing, np.zeros((4, 3)))
