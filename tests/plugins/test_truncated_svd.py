"""The largest singular triplets, against `numpy.linalg.svd` and matrices whose triplets are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbarec.arrays import AnyArray, Floats64
from nbarec.sparse import Csr
from nbarec.work import Work, working
from nbarec_plugins import truncated_svd as module
from nbarec_plugins.sparse_products import SparseProducts
from nbarec_plugins.sparse_rows import SparseRows
from nbarec_plugins.truncated_svd import BLOCK, Triplets, truncated_svd

SEEDS = st.integers(0, 2**32 - 1)


def products(dense: AnyArray) -> SparseProducts:
    row, column = np.nonzero(dense)
    matrix = Csr.from_pairs(row, column, None, dense.shape)
    return SparseProducts.of(SparseRows.from_csr(matrix, np.ones(matrix.nnz, bool), dense[row, column]))


def found_in(dense: Floats64, count: int, seed: int = 0, tolerance: float = 1e-6) -> Triplets:
    return truncated_svd(products(dense), count, np.random.default_rng(seed), tolerance)


def random_matrix(seed: int, rows: int, columns: int, share: float = 0.3) -> Floats64:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((rows, columns)) < share, rng.normal(size=(rows, columns)), 0.0)


def check(found: Triplets, dense: Floats64, count: int, close: float = 1e-5) -> None:
    """The values are the largest, and the vectors are orthonormal, belong to them and hold all of the matrix that
    `count` triplets can: so they are right wherever values differ."""
    values = np.linalg.svd(dense, compute_uv=False)[:count]
    size = values.max(initial=0.0)
    kept = len(found.value)
    assert found.left.shape == (len(dense), kept)
    assert found.right.shape == (dense.shape[1], kept)
    np.testing.assert_allclose(found.value, values[:kept], atol=close * size)
    assert (values[kept:] <= 1e-5 * size).all()
    assert (np.diff(found.value) <= 0).all()
    for vectors in (found.left, found.right):
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(kept), atol=1e-3)
    np.testing.assert_allclose(dense @ found.right, found.left * found.value, atol=30 * close * max(size, 1e-30))
    largest = np.abs(found.right).argmax(axis=0)
    assert (found.right[largest, np.arange(kept)] > 0).all()
    assert [one.dtype.str[1:] for one in (found.left, found.value, found.right)] == ["f4", "f8", "f4"]


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.sampled_from([0.05, 0.3, 1.0]))
def test_small_matrices_of_any_shape(seed: int, rows: int, columns: int, count: int, share: float) -> None:
    """With empty rows, of a rank below `count`, with no entry at all, and of one row."""
    dense = random_matrix(seed, rows, columns, share)
    check(found_in(dense, count, seed), dense, count)


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 6), st.booleans())
def test_a_low_rank_ends_early(seed: int, rank: int, tall: bool) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(90, rank)) @ rng.normal(size=(rank, 60))
    dense = dense if tall else dense.T
    found = found_in(dense, 20, seed)
    assert len(found.value) == rank
    check(found, dense, 20)


@pytest.mark.parametrize("shape", [(700, 400), (400, 700)])
def test_a_matrix_larger_than_the_basis(shape: tuple[int, int]) -> None:
    dense = random_matrix(3, *shape, share=0.05)
    dense[:, :40] *= np.geomspace(20, 1, 40)  # some patterns stand out
    check(found_in(dense, 15), dense, 15)
    rough = found_in(dense, 15, tolerance=1e-2)
    values = np.linalg.svd(dense, compute_uv=False)[:15]
    assert (rough.value**2).sum() > 0.97 * (values**2).sum()


def test_the_basis_grows_no_further_than_it_has_to() -> None:
    dense = random_matrix(4, 600, 600, share=0.05)
    dense[:, :10] *= 50
    basis = module._Basis(products(dense).forward, products(dense).backward, 10)
    basis.grow(np.random.default_rng(0), 1e-3)
    assert basis.size <= 3 * BLOCK
    vectors = basis.vectors[: basis.size]
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(basis.size), atol=1e-5)
    np.testing.assert_allclose(
        basis.form[:96, :96], vectors @ dense @ dense.T @ vectors.T, atol=1e-4 * basis.form.max()
    )


def test_more_copies_of_a_value_than_a_block_has_vectors() -> None:
    """A normalised matrix of many small groups has the value 1 once for each: powers of one block can't tell."""
    groups, rest = 2 * BLOCK, 300
    dense = np.zeros((2 * groups + rest, 2 * groups + rest))
    for group in range(groups):
        dense[2 * group : 2 * group + 2, 2 * group : 2 * group + 2] = 0.5
    dense[2 * groups :, 2 * groups :] = random_matrix(5, rest, rest, 0.02) * 0.1
    wanted = np.linalg.svd(dense, compute_uv=False)[: groups + 10]
    found = found_in(dense, groups + 10, tolerance=5e-3)
    np.testing.assert_allclose(found.value[:groups], 1.0, atol=1e-5)
    np.testing.assert_allclose(found.value, wanted, atol=0.02)


def test_all_values_the_same() -> None:
    found = found_in(2.0 * np.eye(300), 80)
    np.testing.assert_allclose(found.value, np.full(80, 2.0), rtol=1e-6)
    np.testing.assert_allclose(2.0 * found.right, found.left * found.value, atol=1e-5)


def test_small_values_keep_their_digits() -> None:
    """Down to a hundred-thousandth of the largest: their squares are lost in single precision."""
    rng = np.random.default_rng(6)
    left, right = np.linalg.qr(rng.normal(size=(80, 12))).Q, np.linalg.qr(rng.normal(size=(50, 12))).Q
    values = np.geomspace(1.0, 1e-5, 12)
    found = found_in((left * values) @ right.T, 12)
    assert len(found.value) == 12
    np.testing.assert_allclose(found.value, values, rtol=0.05)
    np.testing.assert_allclose(found.value[:6], values[:6], rtol=1e-3)


def test_scaling_values_scales_values() -> None:
    dense = random_matrix(7, 60, 30)
    one, other = found_in(dense, 5), found_in(1e4 * dense, 5)
    np.testing.assert_allclose(other.value, 1e4 * one.value, rtol=1e-6)
    np.testing.assert_allclose(other.right, one.right, atol=1e-5)


def test_workers_change_no_bit_and_the_seed_hardly_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 100)
    monkeypatch.setattr("nbarec_plugins.gram.PART_ROWS", 100)
    dense = random_matrix(8, 900, 500, share=0.05)
    with working(Work()):
        wanted = found_in(dense, 20, tolerance=5e-3)
    for workers in (2, 3):
        with working(Work(workers=workers)):
            found = found_in(dense, 20, tolerance=5e-3)
        for one, other in ((found.left, wanted.left), (found.value, wanted.value), (found.right, wanted.right)):
            assert one.tobytes() == other.tobytes()
    np.testing.assert_allclose(found_in(dense, 20, seed=1).value, found_in(dense, 20).value, rtol=1e-2)


def test_nothing_at_all() -> None:
    for shape in ((0, 5), (5, 0), (3, 4)):
        found = found_in(np.zeros(shape), 3)
        assert found.left.shape == (shape[0], 0)
        assert found.right.shape == (shape[1], 0)
        assert found.value.shape == (0,)
