"""Non-negative least squares and factorisation against slow, obvious references."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray, Floats64
from nbarec.sparse import Csr
from nbarec.work import Work, working
from nbarec_plugins import nonnegative
from nbarec_plugins.nonnegative import (
    FIRST_SWEEPS,
    LATEST,
    LONGER,
    LOOSER,
    SHORTER,
    STRETCH,
    factorise,
    improved_rows,
    nonnegative_rows,
    singular_start,
)
from nbarec_plugins.sparse_products import SparseProducts
from nbarec_plugins.sparse_rows import SparseRows

SEEDS = st.integers(0, 2**32 - 1)


def products(dense: AnyArray) -> SparseProducts:
    row, column = np.nonzero(dense)
    matrix = Csr.from_pairs(row, column, None, dense.shape)
    values = dense[row, column].astype(np.float64)
    return SparseProducts.of(SparseRows.from_csr(matrix, np.ones(matrix.nnz, bool), values))


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
                if normal[k, k] > 0:
                    found[row, k] = max(0.0, (right[row, k] - others) / normal[k, k])
    return found


def objective(dense: Floats64, users: Floats64, items: Floats64, ridge: float) -> float:
    """What is minimised whatever the length of the items' columns."""
    lengths = (users**2).sum(axis=0) @ (items**2).sum(axis=0)
    return float(((dense - users @ items.T) ** 2).sum() / 2 + ridge * lengths / 2)


def normal_of(factors: Floats64, ridge: float) -> Floats64:
    return factors.T @ factors + ridge * np.diag((factors**2).sum(axis=0))


def factorised_slowly(
    dense: Floats64, items: Floats64, ridge: float, iterations: int
) -> tuple[Floats64, Floats64, list[float]]:
    """Sweep by sweep, with every row and factor by itself; columns of the items of length 1 at the end."""
    users = ahead_users = swept(
        np.zeros((len(dense), items.shape[1])), dense @ items, normal_of(items, ridge), FIRST_SWEEPS
    )
    ahead_items, best, losses = items, (users, items), [objective(dense, users, items, ridge)]
    share, most, plain = STRETCH, 1.0, True
    for _ in range(iterations - 1):
        further = 0.0 if plain else share
        found = swept(ahead_items, dense.T @ ahead_users, normal_of(ahead_users, ridge), 1)
        ahead_items, items = np.maximum(found + further * (found - items), 0), found
        found = swept(ahead_users, dense @ ahead_items, normal_of(ahead_items, ridge), 1)
        loss = objective(dense, found, ahead_items, ridge)
        if loss > losses[-1]:
            users, items = ahead_users, ahead_items = best
            share, most, plain = share / SHORTER, share, True
            continue
        best = found, ahead_items
        losses.append(loss)
        ahead_users, users = np.maximum(found + further * (found - users), 0), found
        share, most, plain = min(LONGER * share, most), min(LOOSER * most, 1.0), False
    length = np.linalg.norm(best[1], axis=0)
    return best[0] * length, best[1] / length, losses


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


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 5))
def test_one_place_at_a_time_leads_to_the_same(seed: int, width: int) -> None:
    """The way out of circles, which hardly any row needs."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(8, width))
    normal, right = design.T @ design + 0.01 * np.eye(width), rng.normal(size=(6, width))
    wanted = nonnegative_rows(right, normal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nonnegative, "PATIENCE", -1)
        np.testing.assert_array_equal(nonnegative_rows(right, normal), wanted)
    np.testing.assert_allclose(wanted, [least_by_trying_all(row, normal) for row in right], rtol=1e-6, atol=1e-8)


def test_factors_that_are_the_same_or_nothing() -> None:
    """Any point of the flat valley will do; a factor without items gets nothing."""
    rng = np.random.default_rng(2)
    design = np.abs(rng.normal(size=(30, 4)))
    design = np.hstack([design, design[:, :2], np.zeros((30, 1))])
    normal, right = design.T @ design, rng.random((40, 30)) @ design
    found = nonnegative_rows(right, normal)
    single = nonnegative_rows(right[:, :4], normal[:4, :4])
    loss = ((found @ normal) * found).sum(axis=1) / 2 - (right * found).sum(axis=1)
    least = ((single @ normal[:4, :4]) * single).sum(axis=1) / 2 - (right[:, :4] * single).sum(axis=1)
    np.testing.assert_allclose(loss, least, rtol=1e-7)
    assert (found >= 0).all()
    np.testing.assert_array_equal(found[:, 6], 0.0)
    np.testing.assert_array_equal(nonnegative_rows(right, np.zeros((7, 7))), 0.0)
    assert nonnegative_rows(np.zeros((0, 7)), normal).shape == (0, 7)
    np.testing.assert_array_equal(nonnegative_rows(-right, normal), 0.0)


@pytest.mark.parametrize("work", [Work(workers=2), Work(workers=3), Work(memory=1 << 16)])
def test_workers_and_memory_change_no_bit(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    design = np.abs(rng.normal(size=(60, 9)))
    normal, right = design.T @ design, rng.random((300, 60)) @ design
    monkeypatch.setattr(nonnegative, "SWEPT_BYTES", 1 << 12)
    dense = products(plays(4, 300, 200))
    start = singular_start(dense, 9, np.random.default_rng(0))
    wanted = nonnegative_rows(right, normal), factorise(dense, start, 0.1, 12, 0.0)
    monkeypatch.setattr(nonnegative, "EXCHANGE_BYTES", 1 << 14)  # blocks of some rows
    with working(work):
        np.testing.assert_array_equal(nonnegative_rows(right, normal), wanted[0])
        found = factorise(dense, start, 0.1, 12, 0.0)
    np.testing.assert_array_equal(found.items, wanted[1].items)
    np.testing.assert_array_equal(found.users, wanted[1].users)


def test_sweeps_are_the_slow_ones() -> None:
    rng = np.random.default_rng(5)
    design = np.abs(rng.normal(size=(9, 4)))
    design[:, 2] = 0.0
    start, right, normal = rng.random((6, 4)), rng.normal(size=(6, 4)), design.T @ design
    found = improved_rows(start.astype(np.float32), right.astype(np.float32), normal, 3)
    np.testing.assert_allclose(found, swept(start, right, normal, 3), atol=1e-5)


@pytest.mark.parametrize("ridge", [0.0, 0.7])
def test_a_factorisation_is_the_slow_one(ridge: float) -> None:
    dense = plays(6, 14, 11)
    start = singular_start(products(dense), 3, np.random.default_rng(0))
    found = factorise(products(dense), start, ridge, 10, 0.0)
    users, items, losses = factorised_slowly(dense, start.astype(np.float64), ridge, 10)
    np.testing.assert_allclose(found.items, items, atol=1e-4)
    np.testing.assert_allclose(found.users, users, atol=1e-3)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    assert 5 < len(losses) < 10  # some steps led too far


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 8), st.integers(1, 30), st.integers(1, 20), st.floats(0.0, 5.0))
def test_the_loss_falls_and_nothing_is_negative(seed: int, width: int, users: int, items: int, ridge: float) -> None:
    dense = plays(seed, users, items)
    matrix = products(dense)
    start = singular_start(matrix, width, np.random.default_rng(seed))
    found = factorise(matrix, start, ridge, 12, 0.0)
    assert (np.diff(found.losses) <= 0).all()
    assert found.users.min(initial=0.0) >= 0
    assert found.items.min(initial=0.0) >= 0
    length = np.linalg.norm(found.items, axis=0)
    assert np.isclose(length, 1.0, atol=1e-5).all() | (length[length < 0.5] == 0).all()
    w, h = found.users.astype(np.float64), found.items.astype(np.float64)
    assert found.losses[-1] == pytest.approx(objective(dense, w, h, ridge), rel=1e-5, abs=1e-5 * (dense**2).sum())


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_where_it_ends_no_direction_leads_further_down(ridge: float) -> None:
    dense = plays(7, 40, 30)
    start = singular_start(products(dense), 4, np.random.default_rng(0))
    found = factorise(products(dense), start, ridge, 2000, 0.0)
    w, h = found.users.astype(np.float64), found.items.astype(np.float64)
    for one, other, matrix in ((w, h, dense), (h, w, dense.T)):
        right, normal = matrix @ other, normal_of(other, ridge)
        slope = (one @ normal - right) / np.abs(right).max()
        assert slope.min() > -1e-3
        assert np.abs(slope * one).max() < 1e-3 * one.max()


def test_stretched_steps_get_there_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = products(plays(11, 150, 100))
    start = singular_start(matrix, 6, np.random.default_rng(0))
    stretched = factorise(matrix, start, 0.1, 25, 0.0)
    monkeypatch.setattr(nonnegative, "STRETCH", 0.0)
    plain = factorise(matrix, start, 0.1, 50, 0.0)
    assert stretched.losses[-1] < plain.losses[-1]


def test_it_stops_where_little_is_left_to_gain() -> None:
    matrix = products(plays(8, 60, 40))
    start = singular_start(matrix, 5, np.random.default_rng(0))
    patient = factorise(matrix, start, 0.1, 200, 0.0)
    hasty = factorise(matrix, start, 0.1, 200, 1e-3)
    assert LATEST < len(hasty.losses) < 100
    losses = np.array(hasty.losses)
    falls = (losses[:-LATEST] - losses[LATEST:]) / losses[:-LATEST]
    assert (falls[:-1] > LATEST * 1e-3).all()
    assert falls[-1] <= LATEST * 1e-3
    assert hasty.losses == patient.losses[: len(hasty.losses)]


def test_the_start_is_the_positive_part_of_singular_vectors() -> None:
    dense = plays(9, 40, 15)
    left, _, right = np.linalg.svd(dense, full_matrices=False)
    wanted = []
    for u, v in zip(left.T[:6], right[:6], strict=True):
        pairs = [(np.maximum(sign * u, 0), np.maximum(sign * v, 0)) for sign in (1, -1)]
        part = max(pairs, key=lambda pair: np.linalg.norm(pair[0]) * np.linalg.norm(pair[1]))[1]
        wanted.append(part / np.linalg.norm(part))
    start = singular_start(products(dense), 6, np.random.default_rng(1))
    np.testing.assert_allclose(start, np.array(wanted).T, atol=2e-6)
    assert start[start > 0].min() > 1e-6


def test_a_start_from_less_than_there_are_factors() -> None:
    start = singular_start(products(plays(10, 2, 9, share=1.0)), 5, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(start, axis=0), [1, 1, 0, 0, 0], atol=1e-6)
    nothing = singular_start(products(np.zeros((0, 4))), 3, np.random.default_rng(0))
    np.testing.assert_array_equal(nothing, np.zeros((4, 3)))
